r"""Diffusion processes as pairs of schedules.

Every process here is linear and Gaussian: given data ``x_0``,

.. math::  x_t = α(t)\,x_0 + σ(t)\,n,  \qquad n ∼ N(0, Σ).

The two schedules fix everything else. Differentiating the marginal gives the coefficients of the
stochastic differential equation that has it,

.. math::  dx = f(t)\,x\,dt + g(t)\,dw, \qquad f = α'/α, \qquad g² = 2σ(σ' − fσ),

where ``w`` is a Wiener process of covariance Σ (Song et al., *Score-Based Generative Modeling through
SDEs*, 2021, sec. 3; Karras et al., *Elucidating the Design Space*, 2022, app. B). A process therefore
implements ``marginal`` (α, σ), ``rates`` (α', σ') and the inverse log signal-to-noise ratio ``time``;
the coefficients follow. Everything is float64 and a pure function of time.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

_INF = float("inf")


@runtime_checkable
class SDE(Protocol):
    """What solvers, losses and denoisers ask of a diffusion process."""

    @property
    def t_min(self) -> float:
        """The time nearest the data that training and grids go to."""

    @property
    def t_max(self) -> float:
        """The time at which sampling starts."""

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Schedules ``(α(t), σ(t))``, each shaped as ``t``, float64."""

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time derivatives ``(α'(t), σ'(t))``, each shaped as ``t``, float64."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Drift ``f(t)`` and squared diffusion ``g²(t)``, each shaped as ``t``, float64."""

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64."""


def as_float64(value: Tensor | float) -> Tensor:
    """``value`` as a float64 tensor, on the device it came from."""
    return torch.as_tensor(value).to(torch.float64)


class Schedule:
    """What every process shares: the SDE coefficients follow from the schedules."""

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        raise NotImplementedError

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        raise NotImplementedError

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Drift ``f = α'/α`` and squared diffusion ``g² = 2σ(σ' − fσ)``; infinite where α = 0."""
        alpha, sigma = self.marginal(t)
        alpha_rate, sigma_rate = self.rates(t)
        drift = alpha_rate / alpha
        return drift, 2.0 * sigma * (sigma_rate - drift * sigma)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def _ordered(low: float, high: float, names: str) -> None:
    if not low < high:
        raise ValueError(f"{names} must increase, got {low} and {high}")


@dataclass(frozen=True)
class _LinearBeta(Schedule):
    """What VP and sub-VP share: ``a(t) = exp(−¼t²(β₁−β₀) − ½tβ₀)``, the decay of the signal."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-4
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _positive(beta_min=self.beta_min, t_min=self.t_min)
        _ordered(self.beta_min, self.beta_max, "beta_min and beta_max")
        _ordered(self.t_min, self.t_max, "t_min and t_max")

    def _log_decay(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def _log_decay_rate(self, t: Tensor) -> Tensor:
        return -0.5 * (self.beta_min + t * (self.beta_max - self.beta_min))

    def _time_of(self, log_decay: Tensor) -> Tensor:
        # ¼Δt² + ½β₀t = −log a is a quadratic in t; this form of its root has no cancellation.
        target = -log_decay
        spread = self.beta_max - self.beta_min
        return 4 * target / (self.beta_min + (self.beta_min**2 + 4 * spread * target).sqrt())


@dataclass(frozen=True)
class VP(_LinearBeta):
    r"""Variance preserving with linear β (Song et al. 2021, eq. 32; the continuous DDPM).

    ``α = exp(−¼t²(β₁−β₀) − ½tβ₀)``, ``σ² = 1 − α²``.

    Args:
        beta_min, beta_max: β at t = 0 and t = 1.
        zero_terminal_snr: shift and scale α so that it is 0 at ``t_max`` and still 1 at 0 (Lin et al.,
            *Common Diffusion Noise Schedules and Sample Steps are Flawed*, 2024, algorithm 1). Sampling then
            starts from pure noise, as training ended; ε and score cannot be what a network predicts there.
    """

    zero_terminal_snr: bool = False

    @property
    def _lowest(self) -> float:
        """The decay at ``t_max`` that the shift takes away."""
        if not self.zero_terminal_snr:
            return 0.0
        return float(self._log_decay(as_float64(self.t_max)).exp())

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        log_decay = self._log_decay(as_float64(t))
        if not self.zero_terminal_snr:
            return log_decay.exp(), (-torch.expm1(2 * log_decay)).sqrt()
        # 1 − α = (1 − a)/(1 − a_T); written so, σ² = (1 − α)(1 + α) stays exact near the data.
        loss = -torch.expm1(log_decay) / (1 - self._lowest)
        loss = torch.where(as_float64(t) >= self.t_max, torch.ones_like(loss), loss)
        return 1 - loss, (loss * (2 - loss)).sqrt()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        alpha, sigma = self.marginal(t)
        decay_rate = self._log_decay_rate(t) * self._log_decay(t).exp()
        alpha_rate = decay_rate / (1 - self._lowest)
        return alpha_rate, -alpha * alpha_rate / sigma

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        # α² = 1/(1 + e^−ℓ).
        log_alpha = -0.5 * torch.nn.functional.softplus(-as_float64(log_snr))
        if not self.zero_terminal_snr:
            return self._time_of(log_alpha)
        decay = log_alpha.exp() * (1 - self._lowest) + self._lowest
        return self._time_of(decay.log()).clamp_max(self.t_max)


@dataclass(frozen=True)
class SubVP(_LinearBeta):
    r"""Sub-variance preserving (Song et al. 2021, eq. 29): less noise than VP at the same signal.

    ``α = a(t)`` as VP's, ``σ = 1 − α²``.
    """

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        log_alpha = self._log_decay(as_float64(t))
        return log_alpha.exp(), -torch.expm1(2 * log_alpha)

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        alpha = self._log_decay(t).exp()
        alpha_rate = self._log_decay_rate(t) * alpha
        return alpha_rate, -2 * alpha * alpha_rate

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        # (1 − a²)/a = r has the positive root a = e^{−asinh(r/2)}.
        return self._time_of(-torch.asinh((-0.5 * as_float64(log_snr)).exp() / 2))


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""Cosine schedule: ``α = cos φ``, ``σ = sin φ`` with ``φ`` linear in t (Nichol & Dhariwal 2021, eq. 17).

    With ``offset`` s, ``α(t) = cos((t+s)/(1+s)·π/2)/cos(s/(1+s)·π/2)`` and ``σ² = 1 − α²``. Without an offset
    it is the trigonometric stochastic interpolant (Albergo, Boffi & Vanden-Eijnden 2023). At ``t_max = 1``
    the signal is gone (α = 0): deterministic solvers start there; stochastic ones need a grid that starts
    below.
    """

    offset: float = 0.008
    t_min: float = 1e-4
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _positive(t_min=self.t_min)
        _ordered(self.t_min, self.t_max, "t_min and t_max")
        if self.offset < 0:
            raise ValueError(f"offset must not be negative, got {self.offset}")
        if self.t_max > 1:
            raise ValueError(f"the cosine schedule ends at t = 1, got t_max = {self.t_max}")

    @property
    def _first(self) -> float:
        return self.offset / (1 + self.offset) * math.pi / 2

    @property
    def _speed(self) -> float:
        return math.pi / 2 / (1 + self.offset)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        angle = self._first + t * self._speed
        alpha = torch.where(t >= 1, torch.zeros_like(t), angle.cos() / math.cos(self._first))
        # cos²a − cos²b = sin(b − a) sin(b + a): no cancellation near the data.
        spread = torch.sin(t * self._speed) * torch.sin(t * self._speed + 2 * self._first)
        return alpha, spread.clamp(0.0).sqrt() / math.cos(self._first)

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        alpha, sigma = self.marginal(t)
        alpha_rate = -self._speed * torch.sin(self._first + t * self._speed) / math.cos(self._first)
        if self.offset == 0:
            return alpha_rate, self._speed * alpha
        return alpha_rate, -alpha * alpha_rate / sigma

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        alpha = (-0.5 * torch.nn.functional.softplus(-as_float64(log_snr))).exp()
        # atan2 keeps the digits that acos loses near α = 1.
        sigma = (-0.5 * torch.nn.functional.softplus(as_float64(log_snr))).exp()
        if self.offset == 0:
            return torch.atan2(sigma, alpha) / self._speed
        cosine = alpha * math.cos(self._first)
        sine = (sigma**2 + (alpha * math.sin(self._first)) ** 2).sqrt()
        return (torch.atan2(sine, cosine) - self._first) / self._speed


@dataclass(frozen=True)
class VE(Schedule):
    r"""Variance exploding: ``α = 1``, ``σ = σ_min (σ_max/σ_min)^t`` (Song et al. 2021, eq. 30)."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: ClassVar[float] = 0.0
    t_max: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        _positive(sigma_min=self.sigma_min)
        _ordered(self.sigma_min, self.sigma_max, "sigma_min and sigma_max")

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        return torch.ones_like(t), self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        _, sigma = self.marginal(t)
        return torch.zeros_like(sigma), sigma * math.log(self.sigma_max / self.sigma_min)

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        log_sigma = -0.5 * as_float64(log_snr)
        return (log_sigma - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)


@dataclass(frozen=True)
class EDM(Schedule):
    r"""``α = 1``, ``σ = t``: time is the noise level (Karras et al. 2022, table 1)."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _positive(sigma_min=self.sigma_min)
        _ordered(self.sigma_min, self.sigma_max, "sigma_min and sigma_max")

    @property
    def t_min(self) -> float:
        """The time nearest the data that training and grids go to."""
        return self.sigma_min

    @property
    def t_max(self) -> float:
        """The time at which sampling starts."""
        return self.sigma_max

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        return torch.ones_like(t), t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        return torch.zeros_like(t), torch.ones_like(t)

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        return (-0.5 * as_float64(log_snr)).exp()


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    r"""Straight paths: ``α = 1 − t``, ``σ = t`` (Liu et al. 2023; Lipman et al. 2023).

    At ``t_max = 1`` the signal is gone (α = 0). The deterministic solvers start there; the SDE
    coefficients are infinite there, so stochastic solvers need a grid that starts below 1.
    """

    t_min: float = 1e-4
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _positive(t_min=self.t_min)
        _ordered(self.t_min, self.t_max, "t_min and t_max")
        if self.t_max > 1:
            raise ValueError(f"rectified flow ends at t = 1, got t_max = {self.t_max}")

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        return 1 - t, t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        t = as_float64(t)
        return -torch.ones_like(t), torch.ones_like(t)

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        return torch.sigmoid(-0.5 * as_float64(log_snr))


def log_snr(sde: SDE, t: Tensor | float) -> Tensor:
    """Log signal-to-noise ratio ``log(α²/σ²)`` at ``t``, float64, shaped as ``t``."""
    alpha, sigma = sde.marginal(as_float64(t))
    return 2 * (alpha.log() - sigma.log())


def end_log_snr(sde: SDE) -> Tensor:
    """Log-SNR at ``t_max`` and at ``t_min``, float64 ``(2,)``; of several fields, that of the first."""
    return log_snr(sde, torch.tensor([sde.t_max, sde.t_min], dtype=torch.float64)).reshape(2, -1)[:, 0]


SDES: dict[str, type[Any]] = {
    "vp": VP,
    "subvp": SubVP,
    "ve": VE,
    "cosine": Cosine,
    "edm": EDM,
    "rectified_flow": RectifiedFlow,
}


def sde_from_config(config: dict[str, Any]) -> SDE:
    """Build a process from ``{"name": ..., **fields}``.

    Raises:
        ValueError: the name or a field is unknown.
    """
    fields = dict(config)
    name = fields.pop("name", None)
    if name not in SDES:
        raise ValueError(f"unknown SDE '{name}'; known: {', '.join(SDES)}")
    try:
        sde: SDE = SDES[name](**fields)
    except TypeError as error:
        raise ValueError(f"SDE '{name}': {error}") from None
    return sde


def sde_to_config(sde: SDE) -> dict[str, Any]:
    """The inverse of :func:`sde_from_config`."""
    for name, kind in SDES.items():
        if type(sde) is kind:
            return {"name": name, **asdict(sde)}  # type: ignore[call-overload]
    raise ValueError(f"{type(sde).__name__} is not a registered SDE")
