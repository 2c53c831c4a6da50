"""Every deterministic solver of ``scoregen.core.solvers.SOLVERS``, called as the peers are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scoregen.core import EDM, DenseSpace, Grid, Noise, Prediction, sample
from scoregen.core.denoiser import Denoise
from scoregen.core.solvers import SOLVERS, solver_by_name

from .problem import SIGMA_MAX, SIGMA_MIN, Estimate

SDE = EDM(SIGMA_MIN, SIGMA_MAX)


def solvers(sigma_data: float) -> dict[str, Any]:
    """Name to solver; one that draws fresh noise is left out.

    The velocity rules come a second time with the scale of the data, a constant that every model states
    (``Denoiser.sigma_data``).
    """
    named = {name: solver_by_name(name) for name in SOLVERS if _deterministic(name)}
    velocity = [name for name in named if name.startswith("vab")]
    return named | {f"{name}, σ_data": solver_by_name(name, sigma_data=sigma_data) for name in velocity}


def samplers(sigma_data: float) -> dict[str, Any]:
    """Name to sampler, see :func:`solvers`."""
    return {name: sampler(solver) for name, solver in solvers(sigma_data).items()}


def sampler(solver: Any) -> Any:
    """A solver as ``sampler(estimate, start, sigmas)``."""

    def run(estimate: Estimate, start: Tensor, sigmas: Tensor) -> Tensor:
        space = DenseSpace(tuple(start.shape), dtype=start.dtype)
        noise = Given(0, torch.arange(len(start)), state=start / sigmas[0])
        grid = Grid(SDE, sigmas)
        return sample(denoiser(estimate), SDE, space, solver=solver, grid=grid, noise=noise)

    return run


def denoiser(estimate: Estimate) -> Denoise:
    """The estimate as the core's denoiser for this process (α = 1, σ = t)."""
    one = torch.ones((), dtype=torch.float64)
    return lambda x, t: Prediction(estimate(x, t), x, one, t)


@dataclass(frozen=True)
class Given(Noise):
    """Noise whose start is given, so that all libraries start alike, and which refuses fresh draws."""

    state: Tensor | None = None

    def normal(self, space: Any, step: int, stage: int = 0) -> Tensor:
        if step != -1:
            raise Stochastic
        assert self.state is not None
        return self.state


class Stochastic(Exception):
    """The solver asked for fresh noise."""


def _deterministic(name: str) -> bool:
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    try:
        sampler(solver_by_name(name))(lambda x, sigma: x / 2, torch.ones(1, 2, dtype=torch.float64), sigmas)
    except Stochastic:
        return False
    return True
