r"""From a network to a denoiser: preconditioning and the equivalent ways to state a prediction.

With ``x = α x_0 + σ n`` and data of standard deviation ``σ_d`` *in units of the shaped noise*, the
preconditioned denoiser is

.. math::  D(x, t) = \frac{α σ_d²}{σ² + α²σ_d²}\,x + \frac{σ σ_d}{\sqrt{σ² + α²σ_d²}}\,
           F\!\left(\frac{x}{\sqrt{σ² + α²σ_d²}},\ ¼\log\frac{σ}{α}\right),

which is EDM (Karras et al. 2022, table 1) written for any schedule: ``x/α`` is EDM's state and ``σ/α`` its
noise level, and every factor stays finite at α = 0 and at σ = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .sde import SDE
from .space import Space


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

    def flow(self, alpha_rate: Tensor, sigma_rate: Tensor) -> Tensor:
        """``dx/dt = α' x_0 + σ' eps``, the probability-flow velocity (Lipman et al. 2023).

        Args:
            alpha_rate, sigma_rate: ``sde.rates`` there, broadcastable to the state.
        """
        return alpha_rate * self.x0 + sigma_rate * self.eps


Denoise = Callable[[Tensor, Tensor], Prediction]
"""``denoise(x, t)``: state and time (scalar or ``(B,)``, float64) to a prediction."""

# x_0 = a(t) x + b(t) F for what a network's output F may mean; α, σ and their rates are float64.
_RECOVERY: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "x0": lambda alpha, sigma, alpha_rate, sigma_rate: (torch.zeros_like(alpha), torch.ones_like(alpha)),
    "eps": lambda alpha, sigma, alpha_rate, sigma_rate: (1 / alpha, -sigma / alpha),
    "score": lambda alpha, sigma, alpha_rate, sigma_rate: (1 / alpha, sigma**2 / alpha),
    "v": lambda alpha, sigma, alpha_rate, sigma_rate: (
        alpha / (alpha**2 + sigma**2),
        -sigma / (alpha**2 + sigma**2),
    ),
    "flow": lambda alpha, sigma, alpha_rate, sigma_rate: (
        -sigma_rate / (alpha_rate * sigma - sigma_rate * alpha),
        sigma / (alpha_rate * sigma - sigma_rate * alpha),
    ),
}
PARAMETRISATIONS = ("edm", *_RECOVERY)


def _recovery(parametrisation: str, sde: SDE) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """``t ↦ (a, b)`` with ``x_0 = a x + b F``; see :func:`estimate_from`."""
    if parametrisation not in _RECOVERY:
        raise ValueError(f"parametrisation '{parametrisation}' is not one of {', '.join(_RECOVERY)}")
    last = sde.marginal(torch.tensor(sde.t_max, dtype=torch.float64))[0]
    if parametrisation in ("eps", "score") and bool((last == 0).any()):
        raise ValueError(
            f"'{parametrisation}' says nothing about the data where the signal is zero (α = 0 at t_max); "
            "predict v, x0, flow or edm, or end the process below"
        )
    rule = _RECOVERY[parametrisation]
    # Only the flow velocity needs the rates, which are infinite at t = 0 for some processes.
    if parametrisation == "flow":
        return lambda t: rule(*sde.marginal(t), *sde.rates(t))
    return lambda t: rule(*sde.marginal(t), *sde.marginal(t))


def estimate_from(parametrisation: str, sde: SDE) -> Callable[[Tensor, Tensor, Tensor, Space], Prediction]:
    """How to read a network's output as a prediction.

    Args:
        parametrisation: what the output is: ``"x0"``, ``"eps"``, ``"score"`` (Σ∇log p), ``"v"`` (Salimans &
            Ho 2022) or ``"flow"`` (the velocity ``dx/dt = α' x_0 + σ' ε``; Lipman et al. 2023).
        sde: the process.

    Returns:
        ``read(output, x, t, space)`` with ``t (B,)``.

    Raises:
        ValueError: unknown parametrisation, or ε or score for a process whose signal vanishes at ``t_max``.
    """
    coefficients = _recovery(parametrisation, sde)

    def read(output: Tensor, x: Tensor, t: Tensor, space: Space) -> Prediction:
        (of_x, of_output), (alpha, sigma) = coefficients(t), sde.marginal(t)
        a, b, alpha, sigma = (space.expand(v.to(x.dtype), x) for v in (of_x, of_output, alpha, sigma))
        return Prediction(a * x + b * space.project(output), x, alpha, sigma)

    return read


def per_sample(t: Tensor | float, x: Tensor, space: Space) -> Tensor:
    """A time as float64 ``(B,)`` on the device of the state.

    A scalar on the host, which is what grids give, is written there without a copy that waits for the device.

    Args:
        t: scalar or ``(B,)``.
        x: state of ``space``.
        space: the batch.
    """
    if not isinstance(t, Tensor) or (t.ndim == 0 and t.device.type == "cpu"):
        return torch.full((space.size,), float(t), dtype=torch.float64, device=x.device)
    return t.to(dtype=torch.float64, device=x.device).expand(space.size)


class Denoiser(nn.Module):
    """A network wrapped so that it estimates clean data at every noise level.

    Args:
        network: called as ``network(x_in, c_noise, space, cond)`` with a unit-scale state and
            ``c_noise (B,)`` (``(B, F)`` for a product of F fields); returns a tensor shaped as ``x_in``.
        sde: the process.
        sigma_data: standard deviation of the whitened data (the data in units of the shaped noise); for a
            product of fields one value a field.
        parametrisation: what the network's output means: ``"edm"`` (F above), or one of
            :func:`estimate_from`: ``"x0"``, ``"eps"``, ``"score"``, ``"v"``, ``"flow"``.

    Raises:
        ValueError: unknown parametrisation, one that cannot be inverted at ``t_max``, or ``sigma_data <= 0``.
    """

    def __init__(
        self,
        network: nn.Module,
        sde: SDE,
        sigma_data: float | Sequence[float] = 1.0,
        parametrisation: str = "edm",
    ):
        super().__init__()
        if parametrisation not in PARAMETRISATIONS:
            raise ValueError(
                f"parametrisation '{parametrisation}' is not one of {', '.join(PARAMETRISATIONS)}"
            )
        spreads = [sigma_data] if isinstance(sigma_data, int | float) else list(sigma_data)
        if not all(spread > 0 for spread in spreads):
            raise ValueError(f"sigma_data must be positive, got {sigma_data}")
        self.network = network
        self.sde = sde
        self.sigma_data = sigma_data
        self.parametrisation = parametrisation
        self._coefficients = self._edm if parametrisation == "edm" else _recovery(parametrisation, sde)

    def _spread(self, like: Tensor) -> Tensor | float:
        """``σ_d``, one value a field for a product."""
        if isinstance(self.sigma_data, int | float):
            return self.sigma_data
        return torch.cat([like.new_full((1,), value) for value in self.sigma_data])

    def _norm(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Standard deviation of the whitened state, ``√(σ² + α²σ_d²)``."""
        return (sigma**2 + (alpha * self._spread(alpha)) ** 2).sqrt()

    def _edm(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(c_skip, c_out)`` of EDM (Karras et al. 2022, table 1) for any schedule."""
        alpha, sigma = self.sde.marginal(t)
        spread, norm = self._spread(alpha), self._norm(alpha, sigma)
        return alpha * spread**2 / norm**2, sigma * spread / norm

    def forward(self, x: Tensor, t: Tensor, space: Space, cond: Any = None) -> Prediction:
        """Denoise.

        Args:
            x: state of ``space``.
            t: time, scalar or ``(B,)``.
            space: the batch.
            cond: passed to the network untouched.
        """
        times = per_sample(t, x, space)
        alpha, sigma = self.sde.marginal(times)

        def wide(value: Tensor) -> Tensor:
            return space.expand(value.to(x.dtype), x)

        # Beyond e^±40 the level carries no information, and an infinite one would be NaN in the network.
        level = (sigma / alpha).log().clamp(-40.0, 40.0) / 4
        x_in = x * wide(1 / self._norm(alpha, sigma))
        out = space.project(self.network(x_in, level.to(x.dtype), space, cond).to(x.dtype))
        of_x, of_output = self._coefficients(times)
        return Prediction(wide(of_x) * x + wide(of_output) * out, x, wide(alpha), wide(sigma))
