r"""Time grids: where a solver stands on its way from noise to data.

A :class:`Grid` computes everything that depends on time alone, once and in float64. Solvers read numbers
from it and never touch the process inside their loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from .sde import SDE, as_float64, log_snr
from .space import Space

Built = TypeVar("Built")


@dataclass(frozen=True)
class Levels:
    """One schedule read at every grid time, as plain numbers: what solver coefficients are made of.

    Args:
        t, alpha, sigma: time, α and σ at the K + 1 grid times, noise first.
        alpha_rate, sigma_rate: their time derivatives there.
    """

    t: tuple[float, ...]
    alpha: tuple[float, ...]
    sigma: tuple[float, ...]
    alpha_rate: tuple[float, ...]
    sigma_rate: tuple[float, ...]

    @cached_property
    def ratio(self) -> tuple[float, ...]:
        """Noise-to-signal ratio σ/α; +∞ where α = 0."""
        return tuple(s / a if a else math.inf for a, s in zip(self.alpha, self.sigma, strict=True))

    @cached_property
    def lam(self) -> tuple[float, ...]:
        """Half log-SNR ``λ = log(α/σ)``; +∞ where σ = 0, −∞ where α = 0 (Lu et al. 2022)."""
        return tuple(-math.log(r) if r > 0 else math.inf for r in self.ratio)

    @property
    def steps(self) -> int:
        """Number of steps K."""
        return len(self.t) - 1


@dataclass(frozen=True, eq=False)
class Grid:
    r"""Times of one sampling run with everything solvers read there, computed once in float64.

    ``times`` runs from noise to data, ``(K+1,)``, strictly decreasing. The last noise level may be 0:
    then the last step lands on the denoised sample.

    Args:
        sde: the process; for a product of fields ``alpha`` and ``sigma`` have one column per field.
        times: decreasing times, ``(K+1,)``.
        space: the batch, needed only to spread the coefficients of several fields; see :meth:`on`.

    Raises:
        ValueError: fewer than two times, or times not finite, not strictly decreasing, outside [0, t_max].
    """

    sde: SDE
    times: Tensor
    space: Space | None = None
    alpha: Tensor = field(init=False)
    sigma: Tensor = field(init=False)
    _plans: dict[Hashable, Any] = field(init=False, repr=False, default_factory=dict)

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

    @cached_property
    def levels(self) -> tuple[Levels, ...]:
        """The schedule as plain numbers, one entry a field (a single one for an ordinary process)."""
        values = (self.alpha, self.sigma, *self.sde.rates(self.times))
        columns = [value.reshape(len(self.times), -1).T.tolist() for value in values]
        times = tuple(self.times.tolist())
        return tuple(Levels(times, *map(tuple, rows)) for rows in zip(*columns, strict=True))

    def plan(self, key: Hashable, build: Callable[[], Built]) -> Built:
        """``build()``, computed once for this grid and ``key``: how solvers keep their coefficients."""
        if key not in self._plans:
            self._plans[key] = build()
        planned: Built = self._plans[key]
        return planned

    def on(self, space: Space) -> Grid:
        """The same grid for a batch, so that :meth:`wide` can spread the coefficients of several fields."""
        bound = replace(self, space=space)
        object.__setattr__(bound, "_plans", self._plans)
        return bound

    def wide(self, value: Tensor) -> Any:
        """A coefficient as a factor for states: a float, or one value per element for a product of fields.

        Args:
            value: float64, a scalar or ``(F,)``.
        """
        if value.ndim == 0:
            return float(value)
        if self.space is None:
            raise ValueError("a grid over several fields must be bound to its batch: grid.on(space)")
        like = self.space.zeros()
        return self.space.expand(value[None].to(dtype=like.dtype, device=like.device), like)


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
    ends = (-0.5 * _ends(sde)).exp()
    high = float(ends[0]) if sigma_max is None else sigma_max
    low = float(ends[1]) if sigma_min is None else sigma_min
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
    ends = _ends(sde)
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


def _ends(sde: SDE) -> Tensor:
    """Log-SNR of the (first field of the) process at ``t_max`` and at ``t_min``, ``(2,)``."""
    return log_snr(sde, torch.tensor([sde.t_max, sde.t_min], dtype=torch.float64)).reshape(2, -1)[:, 0]


def _closed(sde: SDE, times: Tensor, to_zero: bool) -> Grid:
    if to_zero:
        zero = torch.zeros(1, dtype=torch.float64)
        if bool((sde.marginal(zero)[1] != 0.0).any()):
            raise ValueError(f"{type(sde).__name__} keeps noise at t = 0; pass to_zero=False")
        times = torch.cat([times, zero])
    return Grid(sde, times)


def polynomial_grid(sde: SDE, steps: int, *, power: float = 2.0, to_zero: bool = True) -> Grid:
    """Times ``t_max (1 − i/K)^power``: powers above 1 crowd the data end; 2 is DEIS's quadratic grid.

    Args:
        sde: the process.
        steps: number of steps K ≥ 1.
        power: positive exponent; 1 is :func:`uniform_grid`.
        to_zero: the last time is 0 exactly instead of ``t_min``.

    Raises:
        ValueError: ``steps < 1`` or a power that is not positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not power > 0:
        raise ValueError(f"power must be positive, got {power}")
    low = 0.0 if to_zero else sde.t_min ** (1 / power)
    root = torch.linspace(sde.t_max ** (1 / power), low, steps + 1, dtype=torch.float64)
    return Grid(sde, root**power)
