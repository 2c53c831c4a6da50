"""The diffusion processes compared, each with the parametrisation, times and weight it is usually given.

With EDM's preconditioning, levels and weight every process is the same model, since all that counts then is
``x/α`` and ``σ/α``. What differs between VP, flow and EDM in practice is what is compared here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from scoregen.core.grid import Grid, karras_grid, uniform_grid
from scoregen.core.sde import EDM, SDE, VP, RectifiedFlow
from scoregen.core.weighting import (
    EDMWeight,
    LogNormalTimes,
    SNRWeight,
    Stratified,
    TimeSampler,
    UniformTimes,
    Weight,
)

# The shipped levels, in Å of the harmonic metric, in which the data have a standard deviation of 0.75.
SIGMA_DATA, SIGMA_MIN, SIGMA_MAX = 0.75, 0.005, 10.0
LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.3


@dataclass(frozen=True)
class Process:
    """How data become noise, and how that is learned and undone.

    Args:
        sde: the process.
        parametrisation: what the network's output means.
        times, weight: of the loss.
        grid: ``grid(steps)``, where the sampler stands.
    """

    sde: SDE
    parametrisation: str
    times: TimeSampler
    weight: Weight
    grid: Callable[[int], Grid]


def edm(sigma_data: float) -> Process:
    """As shipped: log-normal levels, EDM's weight and grid; levels scale with the data."""
    scale = sigma_data / SIGMA_DATA
    sde = EDM(scale * SIGMA_MIN, scale * SIGMA_MAX)
    times = Stratified(LogNormalTimes(LOG_SIGMA_MEAN + math.log(scale), LOG_SIGMA_STD))
    return Process(sde, "edm", times, EDMWeight(sigma_data), lambda steps: karras_grid(sde, steps))


def vp(sigma_data: float) -> Process:
    """Variance preserving: ε predicted at uniform times with the plain loss on ε (Song et al. 2021)."""
    sde = VP()
    most = SIGMA_MAX * sigma_data / SIGMA_DATA

    def grid(steps: int) -> Grid:
        return karras_grid(sde, steps, sigma_max=most, sigma_min=most * SIGMA_MIN / SIGMA_MAX)

    return Process(sde, "eps", Stratified(UniformTimes()), SNRWeight(), grid)


def vp_velocity(sigma_data: float) -> Process:
    """As :func:`vp`, but v predicted with the plain loss on it (Salimans & Ho 2022)."""
    return replace(vp(sigma_data), parametrisation="v", weight=velocity_weight)


def flow(sigma_data: float) -> Process:
    """Rectified flow: the velocity predicted at uniform times with the plain loss on it (Liu et al. 2023)."""
    sde = RectifiedFlow()
    return Process(
        sde, "flow", Stratified(UniformTimes()), velocity_weight, lambda steps: uniform_grid(sde, steps)
    )


def velocity_weight(alpha: Tensor, sigma: Tensor) -> Tensor:
    """``1/σ²``: an error e of the estimate is an error e/σ of a straight path's velocity, and of VP's v."""
    return sigma**-2
