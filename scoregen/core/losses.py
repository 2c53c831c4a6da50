r"""Denoising score matching (Vincent 2011; Karras et al. 2022, eq. 2 and 8).

The loss of one sample is the whitened squared error of the denoised estimate, per degree of freedom:

.. math::  L = w(t)\ \frac{1}{\mathrm{dof}} \big\| Σ^{-1/2}\,(D(α x_0 + σ n, t) − x_0) \big\|².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .denoiser import Denoiser, Prediction
from .noise import Noise
from .sde import SDE
from .space import Space


class TimeSampler(Protocol):
    """Maps uniforms in (0, 1] to training times."""

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        """``(B,)`` uniforms to ``(B,)`` float64 times."""


@dataclass(frozen=True)
class LogNormalTimes:
    """``log(σ/α) ∼ N(mean, std²)`` clipped to the process's range (Karras et al. 2022, table 1)."""

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        inside = uniform.clamp(1e-12, 1 - 1e-12)
        log_ratio = self.mean + self.std * torch.special.ndtri(inside)
        return sde.time(-2 * log_ratio).clamp(sde.t_min, sde.t_max)


@dataclass(frozen=True)
class UniformTimes:
    """Times uniform over ``[t_min, t_max]`` (Song et al. 2021)."""

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        return sde.t_min + uniform * (sde.t_max - sde.t_min)


@dataclass(frozen=True)
class Stratified:
    """One uniform from each of B equal strata instead of B free ones: the same law, less variance.

    Sample ``i`` of a batch draws from stratum ``i``, so batches must come in random order.
    """

    times: TimeSampler

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        ranks = torch.arange(len(uniform), dtype=uniform.dtype, device=uniform.device)
        return self.times((ranks + uniform) / len(uniform), sde)


Weight = Callable[[Tensor, Tensor], Tensor]
"""``weight(alpha, sigma)``: float64 ``(B,)`` each to ``(B,)``."""


@dataclass(frozen=True)
class EDMWeight:
    """``1/c_out²``: levels contribute about equally at the start (Karras et al. 2022, app. B.6)."""

    sigma_data: float = 1.0

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (sigma**2 + (alpha * self.sigma_data) ** 2) / (sigma * self.sigma_data) ** 2


@dataclass(frozen=True)
class SNRWeight:
    """``α²/σ²``: the plain loss on ε (Ho et al. 2020) written for x_0."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (alpha / sigma) ** 2


@dataclass(frozen=True)
class UniformWeight:
    """1: the plain loss on x_0."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)


@dataclass(frozen=True)
class Noised:
    """A training state: ``x = α x_0 + σ n`` at ``t`` with the schedules there, float64 ``(B,)``."""

    x: Tensor
    t: Tensor
    alpha: Tensor
    sigma: Tensor


def noised(sde: SDE, x0: Tensor, space: Space, *, times: TimeSampler, noise: Noise, step: int = 0) -> Noised:
    """Draw times and noise keyed by the sample ids, and noise the data.

    Args:
        sde: the process.
        x0: data, a state of ``space``; projected here.
        times: time sampler.
        noise: keyed noise of the batch.
        step: key of this draw.
    """
    t = times(noise.uniform(step, stage=255), sde).to(x0.device)
    alpha, sigma = sde.marginal(t)
    n = noise.normal(space, step)
    x = space.expand(alpha.to(x0.dtype), x0) * space.project(x0) + space.expand(sigma.to(x0.dtype), x0) * n
    return Noised(x, t, alpha, sigma)


def denoising_error(
    prediction: Prediction, target: Tensor, space: Space, state: Noised, weight: Weight
) -> Tensor:
    """Weighted whitened squared error per degree of freedom, ``(B,)`` in the state's dtype."""
    error = space.whiten(prediction.x0 - space.project(target))
    return (
        weight(state.alpha, state.sigma).to(error.dtype) * space.sum(error**2) / space.dof().to(error.dtype)
    )


def dsm(
    denoiser: Denoiser,
    x0: Tensor,
    space: Space,
    cond: Any = None,
    *,
    times: TimeSampler,
    weight: Weight,
    noise: Noise,
    step: int = 0,
    target: Callable[[Tensor, Noised], Tensor] | None = None,
) -> Tensor:
    """Denoising score matching loss of each sample.

    Args:
        denoiser: the model.
        x0: data, a state of ``space``.
        space: the batch.
        cond: condition for the network.
        times: sampler of training times.
        weight: weight of each noise level.
        noise: keyed noise of the batch.
        step: key of this draw.
        target: replaces the target given the data and the noised state, e.g. the data aligned to it.

    Returns:
        ``(B,)``, the weighted mean squared whitened error.
    """
    state = noised(denoiser.sde, x0, space, times=times, noise=noise, step=step)
    goal = x0 if target is None else target(x0, state)
    return denoising_error(denoiser(state.x, state.t, space, cond), goal, space, state, weight)
