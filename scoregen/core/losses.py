r"""Score matching: denoising (Vincent 2011; Karras et al. 2022, eq. 2 and 8) and sliced (Song et al. 2019).

The denoising loss of one sample is the whitened squared error of the estimate, per degree of freedom:

.. math::  L = w(t)\ \frac{1}{\mathrm{dof}} \big\| Σ^{-1/2}\,(D(α x_0 + σ n, t) − x_0) \big\|².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser, Prediction
from .noise import Noise
from .sde import SDE
from .space import Space
from .weighting import TimeSampler, UncertaintyWeight, Weight


@dataclass(frozen=True)
class Noised:
    """A training state ``x = α x_0 + σ n`` at ``t``, with the schedules there.

    ``t`` is float64 ``(B,)``; ``alpha`` and ``sigma`` are ``(B,)`` too, ``(B, F)`` for a product of F fields.
    """

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
    return noised_at(sde, x0, space, t, noise.normal(space, step))


def noised_at(sde: SDE, x0: Tensor, space: Space, t: Tensor, n: Tensor) -> Noised:
    """Data noised to given times ``(B,)`` with given shaped noise; see :func:`noised`."""
    alpha, sigma = sde.marginal(t)
    x = space.expand(alpha.to(x0.dtype), x0) * space.project(x0) + space.expand(sigma.to(x0.dtype), x0) * n
    return Noised(x, t, alpha, sigma)


def denoising_error(
    prediction: Prediction, target: Tensor, space: Space, state: Noised, weight: Weight
) -> Tensor:
    """Weighted whitened squared error per degree of freedom, ``(B,)`` in the state's dtype.

    Args:
        prediction: the denoiser's, at the noised state.
        target: what it should have found, a state of ``space``; projected here.
        space: the batch.
        state: the noised state.
        weight: weight of each noise level.
    """
    error = space.whiten(prediction.x0 - space.project(target))
    weights = space.expand(weight(state.alpha, state.sigma).to(error.dtype), error)
    # A sample without degrees of freedom (one atom, centred) has no error and no say.
    return space.sum(weights * error**2) / space.dof().to(error.dtype).clamp(min=1)


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
    balance: UncertaintyWeight | None = None,
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
        balance: learned log-variance of the loss at each level (EDM2), trained along.

    Returns:
        ``(B,)``, the weighted mean squared whitened error (balanced, where asked for).
    """
    state = noised(denoiser.sde, x0, space, times=times, noise=noise, step=step)
    goal = x0 if target is None else target(x0, state)
    loss = denoising_error(denoiser(state.x, state.t, space, cond), goal, space, state, weight)
    return loss if balance is None else balance(loss, state.alpha, state.sigma)


def sliced(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    space: Space,
    *,
    noise: Noise,
    step: int = 0,
    probes: int = 1,
) -> Tensor:
    r"""Sliced score matching, for data whose noised density has no tractable kernel.

    ``E_v[vᵀ ∇s(x) v] + ½‖s(x)‖²`` with random directions v (Song et al., *Sliced Score Matching*, 2019,
    eq. 8, the variance-reduced form): up to a constant the Fisher divergence, from samples alone.

    Args:
        score: ``s(x)``, a model of ``∇ log p``, shaped as the state; differentiable twice where the loss is
            minimised by gradients.
        x: data, a state of ``space``.
        space: the batch; directions live in its projected space, in its plain (not whitened) metric.
        noise: keyed noise of the batch.
        step: key of this draw.
        probes: directions per sample, at most 200.

    Returns:
        ``(B,)``, the loss of each sample.

    Raises:
        ValueError: ``probes`` outside 1 … 200.
    """
    if not 1 <= probes <= 200:
        raise ValueError(f"probes must lie in 1 ... 200, got {probes}")
    with torch.enable_grad():
        x = space.project(x).requires_grad_(True)
        s = space.project(score(x))
        curvature = torch.zeros(space.size, dtype=x.dtype, device=x.device)
        for probe in range(probes):
            v = space.project(noise.white(space, step, stage=probe))
            (slope,) = torch.autograd.grad(space.sum(v * s).sum(), x, create_graph=True)
            curvature = curvature + space.sum(v * slope)
        return curvature / probes + 0.5 * space.sum(s**2)
