r"""Time grids: where a solver stands on its way from noise to data.

A :class:`Grid` computes everything that depends on time alone, once and in float64. Solvers read numbers
from it and never touch the process inside their loop.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from .fields import ProductSpace
from .sde import SDE, as_float64, end_log_snr, sde_from_config, sde_to_config
from .space import Space
from .weighting import TimeSampler

Built = TypeVar("Built")
_MOST_PLANS = 10_000


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
        """``build()``, computed once for this grid and ``key``: how solvers keep their coefficients.

        Args:
            key: what the result depends on besides the grid, e.g. the solver and the step.
            build: makes it. Threads that meet here may both build; they get equal results.
        """
        planned: Built | None = self._plans.get(key)
        if planned is None:
            if len(self._plans) >= _MOST_PLANS:  # a grid that lives long and meets ever new solvers
                self._plans.clear()
            planned = self._plans[key] = build()
        return planned

    def on(self, space: Space) -> Grid:
        """The same grid for a batch, so that :meth:`wide` can spread the coefficients of several fields."""
        bound = replace(self, space=space)
        object.__setattr__(bound, "_plans", self._plans)
        return bound

    def wide(self, value: Tensor) -> Any:
        """A coefficient as a factor for states: a float, or one value per element for a product of fields.

        Args:
            value: float64 on the host, a scalar or ``(F,)``.

        Raises:
            ValueError: several fields, and the grid is not bound to a batch of that many.
        """
        return float(value) if value.ndim == 0 else self.product.fill(value.tolist())

    @property
    def product(self) -> ProductSpace:
        """The batch of a grid over several fields.

        Raises:
            ValueError: the grid is not bound to such a batch.
        """
        if not isinstance(self.space, ProductSpace):
            raise ValueError("a grid over several fields must be bound to its batch: grid.on(space)")
        return self.space


def karras_grid(
    sde: SDE,
    steps: int,
    *,
    sigma_max: float | None = None,
    sigma_min: float | None = None,
    rho: float = 7.0,
    to_zero: bool | None = None,
) -> Grid:
    r"""Noise-to-signal ratios evenly spaced in ``(σ/α)^{1/ρ}`` (Karras et al. 2022, eq. 5).

    Args:
        sde: the process.
        steps: number of steps K ≥ 1, one network call each for a one-call solver.
        sigma_max, sigma_min: largest and smallest σ/α; the process's own ends when omitted.
        rho: concentration near the data.
        to_zero: the last step goes to time 0 exactly (σ = 0) instead of to ``sigma_min``; when omitted it
            does so if the process ends without noise.

    Raises:
        ValueError: ``steps < 1``, ``rho <= 0``, a start without signal (σ/α infinite), a degenerate range, or
            ``to_zero`` for a process that keeps noise at t = 0.
    """
    to_zero = _checked(sde, steps, to_zero)
    if not rho > 0:
        raise ValueError(f"rho must be positive, got {rho}")
    ends = (-0.5 * end_log_snr(sde)).exp()
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


def log_snr_grid(sde: SDE, steps: int, *, to_zero: bool | None = None) -> Grid:
    """Times evenly spaced in log-SNR between the ends of the process (Lu et al. 2022).

    Args:
        sde: the process.
        steps: number of steps K ≥ 1.
        to_zero: see :func:`karras_grid`.

    Raises:
        ValueError: ``steps < 1``, no signal at ``t_max``, or ``to_zero`` for a process that keeps noise.
    """
    to_zero = _checked(sde, steps, to_zero)
    ends = end_log_snr(sde)
    if not bool(torch.isfinite(ends).all()):
        raise ValueError("this process has no signal at t_max; use uniform_grid")
    count = steps if to_zero else steps + 1
    levels = torch.linspace(float(ends[0]), float(ends[1]), count, dtype=torch.float64)
    return _closed(sde, sde.time(levels), to_zero)


def uniform_grid(sde: SDE, steps: int, *, to_zero: bool | None = None) -> Grid:
    """Times evenly spaced between ``t_max`` and 0 (or ``t_min``).

    Args:
        sde: the process.
        steps: number of steps K ≥ 1.
        to_zero: see :func:`karras_grid`.

    Raises:
        ValueError: ``steps < 1``, or ``to_zero`` for a process that keeps noise at t = 0.
    """
    return polynomial_grid(sde, steps, power=1.0, to_zero=to_zero)


def polynomial_grid(sde: SDE, steps: int, *, power: float = 2.0, to_zero: bool | None = None) -> Grid:
    """Times ``t_max (1 − i/K)^power``: powers above 1 crowd the data end; 2 is DEIS's quadratic grid.

    Args:
        sde: the process.
        steps: number of steps K ≥ 1.
        power: positive exponent; 1 is :func:`uniform_grid`.
        to_zero: see :func:`karras_grid`; otherwise the root of time runs evenly to that of ``t_min``.

    Raises:
        ValueError: ``steps < 1``, a power that is not positive, or ``to_zero`` for a process that keeps
            noise.
    """
    to_zero = _checked(sde, steps, to_zero)
    if not power > 0:
        raise ValueError(f"power must be positive, got {power}")
    low = 0.0 if to_zero else sde.t_min ** (1 / power)
    root = torch.linspace(sde.t_max ** (1 / power), low, steps + 1, dtype=torch.float64)
    times = root**power
    times[0] = sde.t_max
    return Grid(sde, times)


def quantile_grid(
    sde: SDE,
    steps: int,
    times: TimeSampler,
    *,
    sigma_max: float | None = None,
    to_zero: bool | None = None,
) -> Grid:
    """Evenly spaced quantiles of a law of times: as many steps at a level as its density says.

    Args:
        sde: the process.
        steps: number of steps K ≥ 1.
        times: the law, such as the one training draws from; what it has beyond the ends is left out.
        sigma_max: largest σ/α; the process's own end when omitted.
        to_zero: see :func:`karras_grid`.

    Raises:
        ValueError: ``steps < 1``, ``sigma_max`` outside the process, or ``to_zero`` for a process that keeps
            noise.
    """
    to_zero = _checked(sde, steps, to_zero)
    top = sde.t_max
    if sigma_max is not None:
        top = float(sde.time(torch.tensor(-2 * math.log(sigma_max), dtype=torch.float64)))
        if not sde.t_min < top <= sde.t_max:
            raise ValueError(f"sigma_max {sigma_max:g} is not a level of this process")
    count = steps if to_zero else steps + 1
    first = _rank(times, sde, lambda t: t < top)
    last = _rank(times, sde, lambda t: t <= sde.t_min)
    chosen = times(torch.linspace(first, last, count, dtype=torch.float64), sde)
    chosen[0] = top
    if not to_zero:
        chosen[-1] = sde.t_min
    return _closed(sde, chosen, to_zero)


def _rank(times: TimeSampler, sde: SDE, below: Callable[[float], bool]) -> float:
    """The quantile of a law up to which its times are ``below``, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        inside = below(float(times(torch.tensor([middle], dtype=torch.float64), sde)))
        low, high = (middle, high) if inside else (low, middle)
    return (low + high) / 2


def grid_to_config(grid: Grid) -> dict[str, Any]:
    """The grid as plain numbers for JSON; the process is named where it is a registered one."""
    config: dict[str, Any] = {"times": grid.times.tolist()}
    with contextlib.suppress(ValueError):  # For a product of fields the reader brings the process.
        config["sde"] = sde_to_config(grid.sde)
    return config


def grid_from_config(config: Mapping[str, Any], sde: SDE | None = None) -> Grid:
    """The inverse of :func:`grid_to_config`.

    Args:
        config: what :func:`grid_to_config` returned, also after a trip through JSON.
        sde: the process; the stored one when omitted.

    Raises:
        ValueError: no times, no process, or times that are not a grid (see ``Grid``).
    """
    if "times" not in config:
        raise ValueError("a stored grid has the entry 'times'")
    if sde is None:
        if "sde" not in config:
            raise ValueError("the stored grid does not name its process; pass sde")
        sde = sde_from_config(config["sde"])
    return Grid(sde, torch.tensor(config["times"], dtype=torch.float64))


def _checked(sde: SDE, steps: int, to_zero: bool | None) -> bool:
    """Whether the grid ends at t = 0; refuses what cannot be."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    noisy = bool((sde.marginal(torch.zeros((), dtype=torch.float64))[1] != 0.0).any())
    if to_zero and noisy:
        raise ValueError(f"{type(sde).__name__} keeps noise at t = 0; leave to_zero out")
    return not noisy if to_zero is None else to_zero


def _closed(sde: SDE, times: Tensor, to_zero: bool) -> Grid:
    return Grid(sde, torch.cat([times, torch.zeros(1, dtype=torch.float64)]) if to_zero else times)
