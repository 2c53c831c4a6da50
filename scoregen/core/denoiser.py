r"""From a network to a denoiser: preconditioning and the equivalent ways to state a prediction.

With ``x = α x_0 + σ n`` and data of standard deviation ``σ_d`` *in units of the shaped noise*, the
preconditioned denoiser is

.. math::  D(x, t) = \frac{α σ_d²}{σ² + α²σ_d²}\,x + \frac{σ σ_d}{\sqrt{σ² + α²σ_d²}}\,
           F\!\left(\frac{x}{\sqrt{σ² + α²σ_d²}},\ ¼\log\frac{σ}{α}\right),

which is EDM (Karras et al. 2022, table 1) written for any schedule: ``x/α`` is EDM's state and ``σ/α`` its
noise level, and every factor stays finite at α = 0 and at σ = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .sde import SDE
from .space import Space

PARAMETRISATIONS = ("edm", "x0", "eps", "v")


@dataclass(frozen=True)
class Prediction:
    """A denoised estimate and its equivalents at one state.

    Args:
        x0: estimate of the data ``E[x_0 | x]``, shaped as the state.
        x: the state.
        alpha, sigma: the schedules there, broadcastable to the state.
    """

    x0: Tensor
    x: Tensor
    alpha: Tensor
    sigma: Tensor

    @property
    def eps(self) -> Tensor:
        """Estimate of the shaped noise, ``(x − α x_0)/σ``; infinite or NaN at σ = 0."""
        return (self.x - self.alpha * self.x0) / self.sigma

    @property
    def score(self) -> Tensor:
        """``Σ ∇ log p_t(x) = −eps/σ``: the score times the noise covariance, as the solvers need it."""
        return -self.eps / self.sigma

    @property
    def v(self) -> Tensor:
        """``α eps − σ x_0`` (Salimans & Ho, *Progressive Distillation*, 2022)."""
        return self.alpha * self.eps - self.sigma * self.x0


Denoise = Callable[[Tensor, Tensor], Prediction]
"""``denoise(x, t)``: state and time (scalar or ``(B,)``, float64) to a prediction."""


class Denoiser(nn.Module):
    """A network wrapped so that it estimates clean data at every noise level.

    Args:
        network: called as ``network(x_in, c_noise, space, cond)`` with a unit-scale state and
            ``c_noise (B,)``; returns a tensor shaped as ``x_in``.
        sde: the process.
        sigma_data: standard deviation of the whitened data (the data in units of the shaped noise).
        parametrisation: what the network's output means: ``"edm"`` (F above), ``"x0"``, ``"eps"`` or ``"v"``.

    Raises:
        ValueError: unknown parametrisation or ``sigma_data <= 0``.
    """

    def __init__(self, network: nn.Module, sde: SDE, sigma_data: float = 1.0, parametrisation: str = "edm"):
        super().__init__()
        if parametrisation not in PARAMETRISATIONS:
            raise ValueError(
                f"parametrisation '{parametrisation}' is not one of {', '.join(PARAMETRISATIONS)}"
            )
        if not sigma_data > 0:
            raise ValueError(f"sigma_data must be positive, got {sigma_data}")
        self.network = network
        self.sde = sde
        self.sigma_data = sigma_data
        self.parametrisation = parametrisation

    def forward(self, x: Tensor, t: Tensor, space: Space, cond: Any = None) -> Prediction:
        """Denoise.

        Args:
            x: state of ``space``.
            t: time, scalar or ``(B,)``.
            space: the batch.
            cond: passed to the network untouched.
        """
        times = torch.as_tensor(t, dtype=torch.float64, device=x.device).expand(space.size)
        alpha, sigma = self.sde.marginal(times)
        norm = (sigma**2 + (alpha * self.sigma_data) ** 2).sqrt()

        def wide(value: Tensor) -> Tensor:
            return space.expand(value.to(x.dtype), x)

        # Beyond e^±40 the level carries no information, and an infinite one would be NaN in the network.
        level = (sigma / alpha).log().clamp(-40.0, 40.0) / 4
        out = space.project(self.network(x * wide(1 / norm), level.to(x.dtype), space, cond).to(x.dtype))
        a, s = wide(alpha), wide(sigma)
        if self.parametrisation == "edm":
            skip = wide(alpha * self.sigma_data**2 / norm**2)
            x0 = skip * x + wide(sigma * self.sigma_data / norm) * out
        elif self.parametrisation == "x0":
            x0 = out
        elif self.parametrisation == "eps":
            x0 = (x - s * out) / a
        else:
            x0 = wide(alpha / (alpha**2 + sigma**2)) * x - wide(sigma / (alpha**2 + sigma**2)) * out
        return Prediction(x0, x, a, s)
