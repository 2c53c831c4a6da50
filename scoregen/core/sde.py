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
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

_INF = float("inf")


@runtime_checkable
class SDE(Protocol):
    """What solvers, losses and denoisers ask of a diffusion process."""

    @property
    def t_min(self) -> float: ...

    @property
    def t_max(self) -> float: ...

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
        raise NotImplementedError

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
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
class VP(Schedule):
    r"""Variance preserving with linear β (Song et al. 2021, eq. 32; the continuous DDPM).

    ``α = exp(−¼t²(β₁−β₀) − ½tβ₀)``, ``σ² = 1 − α²``.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-4
    t_max: float = 1.0

    def __post_init__(self) -> None:
        _positive(beta_min=self.beta_min, t_min=self.t_min)
        _ordered(self.beta_min, self.beta_max, "beta_min and beta_max")
        _ordered(self.t_min, self.t_max, "t_min and t_max")

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = self._log_alpha(as_float64(t))
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = as_float64(t)
        alpha, sigma = self.marginal(t)
        alpha_rate = -0.5 * (self.beta_min + t * (self.beta_max - self.beta_min)) * alpha
        return alpha_rate, -alpha * alpha_rate / sigma

    def time(self, log_snr: Tensor) -> Tensor:
        # α² = 1/(1 + e^−ℓ); then ¼Δt² + ½β₀t = ½ log(1 + e^−ℓ) is a quadratic in t.
        target = torch.nn.functional.softplus(-as_float64(log_snr))
        spread = self.beta_max - self.beta_min
        return 2 * target / (self.beta_min + (self.beta_min**2 + 2 * spread * target).sqrt())


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
        t = as_float64(t)
        return torch.ones_like(t), self.sigma_min * (self.sigma_max / self.sigma_min) ** t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        _, sigma = self.marginal(t)
        return torch.zeros_like(sigma), sigma * math.log(self.sigma_max / self.sigma_min)

    def time(self, log_snr: Tensor) -> Tensor:
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
        return self.sigma_min

    @property
    def t_max(self) -> float:
        return self.sigma_max

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = as_float64(t)
        return torch.ones_like(t), t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = as_float64(t)
        return torch.zeros_like(t), torch.ones_like(t)

    def time(self, log_snr: Tensor) -> Tensor:
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
        t = as_float64(t)
        return 1 - t, t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = as_float64(t)
        return -torch.ones_like(t), torch.ones_like(t)

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-0.5 * as_float64(log_snr))


def log_snr(sde: SDE, t: Tensor | float) -> Tensor:
    """Log signal-to-noise ratio ``log(α²/σ²)`` at ``t``, float64, shaped as ``t``."""
    alpha, sigma = sde.marginal(as_float64(t))
    return 2 * (alpha.log() - sigma.log())


SDES: dict[str, type[Any]] = {"vp": VP, "ve": VE, "edm": EDM, "rectified_flow": RectifiedFlow}


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


@dataclass(frozen=True)
class Grid:
    r"""Times of one sampling run with everything solvers read there, computed once in float64.

    ``times`` runs from noise to data, ``(K+1,)``, strictly decreasing. The last noise level may be 0:
    then the last step lands on the denoised sample.

    Args:
        sde: the process.
        times: decreasing times, ``(K+1,)``.

    Raises:
        ValueError: fewer than two times, or times not finite, not strictly decreasing, outside [0, t_max].
    """

    sde: SDE
    times: Tensor
    alpha: Tensor = field(init=False)
    sigma: Tensor = field(init=False)

    def __post_init__(self) -> None:
        times = as_float64(self.times).cpu()
        if times.ndim != 1 or len(times) < 2:
            raise ValueError(f"a grid needs at least two times, got shape {tuple(times.shape)}")
        if not bool(torch.isfinite(times).all()):
            raise ValueError("a grid time is not finite")
        if not bool((times[1:] < times[:-1]).all()):
            at = int((times[1:] >= times[:-1]).nonzero()[0])
            raise ValueError(
                f"grid times must strictly decrease: times[{at}] = {times[at]:.6g}, "
                f"times[{at + 1}] = {times[at + 1]:.6g}"
            )
        if times[0] > self.sde.t_max * (1 + 1e-9) or times[-1] < 0:
            raise ValueError(f"grid times must lie in [0, {self.sde.t_max}]")
        alpha, sigma = self.sde.marginal(times)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "sigma", sigma)

    @property
    def steps(self) -> int:
        """Number of steps K, one less than the number of times."""
        return len(self.times) - 1

    @property
    def half_log_snr(self) -> Tensor:
        """``λ = log(α/σ)`` at each time; +∞ where σ = 0, −∞ where α = 0 (Lu et al. 2022)."""
        return self.alpha.log() - self.sigma.log()


def karras_grid(
    sde: SDE,
    steps: int,
    *,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    rho: float = 7.0,
    to_zero: bool = True,
) -> Grid:
    r"""Noise-to-signal ratios evenly spaced in ``(σ/α)^{1/ρ}`` (Karras et al. 2022, eq. 5).

    Args:
        sde: the process.
        steps: number of steps K ≥ 1, one network call each for a one-call solver.
        sigma_max, sigma_min: largest and smallest σ/α; the process's own ends when omitted.
        rho: concentration near the data.
        to_zero: the last step goes to time 0 exactly (σ = 0) instead of to ``sigma_min``.

    Raises:
        ValueError: ``steps < 1``, a start without signal (σ/α infinite), or a degenerate range.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    alpha, sigma = sde.marginal(torch.tensor([sde.t_max, sde.t_min], dtype=torch.float64))
    high = float(sigma[0] / alpha[0]) if sigma_max is None else sigma_max
    low = float(sigma[1] / alpha[1]) if sigma_min is None else sigma_min
    if not math.isfinite(high):
        raise ValueError("this process has no signal at t_max; pass sigma_max, or use uniform_grid")
    if not 0 < low < high:
        raise ValueError(f"need 0 < sigma_min < sigma_max, got {low} and {high}")
    count = steps if to_zero else steps + 1
    ramp = (
        torch.linspace(0, 1, count, dtype=torch.float64) if count > 1 else torch.zeros(1, dtype=torch.float64)
    )
    ratio = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    times = sde.time(-2 * ratio.log())
    return _closed(sde, times, to_zero)


def log_snr_grid(sde: SDE, steps: int, *, to_zero: bool = True) -> Grid:
    """Times evenly spaced in log-SNR between the ends of the process (Lu et al. 2022).

    Raises:
        ValueError: ``steps < 1``, or the process has no signal at ``t_max``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    ends = log_snr(sde, torch.tensor([sde.t_max, sde.t_min], dtype=torch.float64))
    if not bool(torch.isfinite(ends).all()):
        raise ValueError("this process has no signal at t_max; use uniform_grid")
    count = steps if to_zero else steps + 1
    levels = torch.linspace(float(ends[0]), float(ends[1]), count, dtype=torch.float64)
    return _closed(sde, sde.time(levels), to_zero)


def uniform_grid(sde: SDE, steps: int, *, to_zero: bool = True) -> Grid:
    """Times evenly spaced between ``t_max`` and 0 (or ``t_min``).

    Raises:
        ValueError: ``steps < 1``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    end = 0.0 if to_zero else sde.t_min
    return Grid(sde, torch.linspace(sde.t_max, end, steps + 1, dtype=torch.float64))


def _closed(sde: SDE, times: Tensor, to_zero: bool) -> Grid:
    if to_zero:
        zero = torch.zeros(1, dtype=torch.float64)
        if float(sde.marginal(zero)[1]) != 0.0:
            raise ValueError(f"{type(sde).__name__} keeps noise at t = 0; pass to_zero=False")
        times = torch.cat([times, zero])
    return Grid(sde, times)
