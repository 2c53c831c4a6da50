"""DPM-Solver++: exponential integrators on the denoised estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid, Levels
from .base import Draw, State
from .ddim import euler
from .form import Form, combine, estimate, state, weighted
from .linear import LinearMultistep, check_start, steady, with_signal
from .polynomial import exponential_moments, quadrature


@dataclass(frozen=True)
class DPMpp2S:
    r"""Second-order single-step exponential integrator on x_0 (Lu et al., *DPM-Solver++*, 2022, algorithm 1).

    With ``λ = log(α/σ)``, ``h = λ_s − λ_t``, a time u between them and ``r = (λ_u − λ_t)/h``:

    ``x_u = (σ_u/σ_t) x − α_u (e^{−rh} − 1) D_t``, ``D̄ = (1 − 1/2r) D_t + (1/2r) D_u``,
    ``x_s = (σ_s/σ_t) x − α_s (e^{−h} − 1) D̄``.

    u is the middle in λ, r = ½ as in the paper; of several fields it is the middle of the first, and the
    others have the r that it means for them. Two network calls a step, order 2. A step from α = 0 or to
    σ = 0, where h is infinite, is DDIM's with one call.
    """

    def init(self, x: Tensor) -> State:
        """The carry at the start."""
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> State:
        """Advance from grid point ``i`` to ``i + 1``."""
        first = (carry.x, denoise(carry.x, grid.times[i]).x0)
        if not all(at.alpha[i] and at.sigma[i + 1] for at in grid.levels):
            return State(combine([euler(at, i) for at in grid.levels], [first], grid))
        middle, half, whole = grid.plan((self, i), lambda: _two_stages(grid, i))
        x = combine(half, [first], grid)
        return State(combine(whole, [(x, denoise(x, middle).x0), first], grid))


def _two_stages(grid: Grid, i: int) -> tuple[Tensor, list[Form], list[Form]]:
    """The intermediate time, the forms of the state there and those of the result, one a field."""
    lam = grid.levels[0].lam
    middle = grid.sde.time(torch.tensor(lam[i] + lam[i + 1], dtype=torch.float64))  # log-SNR is 2λ
    half, whole = [], []
    for at in Grid(grid.sde, torch.stack([grid.times[i], middle, grid.times[i + 1]])).levels:
        r = (at.lam[1] - at.lam[0]) / (at.lam[2] - at.lam[0])
        average = estimate(1) + (estimate(0) - estimate(1)) / (2 * r)
        half.append(exponential_step(at, 0, estimate()))
        shrink = at.sigma[2] / at.sigma[0]
        whole.append(shrink * state(1) + (at.alpha[2] - at.alpha[0] * shrink) * average)
    return middle, half, whole


@dataclass(frozen=True)
class _Multistep(LinearMultistep):
    """What 2M and 3M share: the choice of a start."""

    start: str = "euler"

    def __post_init__(self) -> None:
        check_start(self.start)


@dataclass(frozen=True)
class DPMpp2M(_Multistep):
    r"""Second-order multistep exponential integrator on x_0 (Lu et al., *DPM-Solver++*, 2022, algorithm 2).

    With ``λ = log(α/σ)``, ``h = λ_s − λ_t`` and ``r = h_{prev}/h``:

    ``D̄ = (1 + 1/2r) D_t − (1/2r) D_{prev}``, ``x_s = (σ_s/σ_t) x − α_s (e^{−h} − 1) D̄``.

    One network call a step; order 2. The first step is of first order, and so is a last step to σ = 0,
    where h is infinite.

    Args:
        start: ``"euler"`` as published, or ``"rk"``; see :class:`.linear.LinearMultistep`.

    Raises:
        ValueError: an unknown start.
    """

    @property
    def memory(self) -> int:
        """How many points, the present one included, a form may use."""
        return 2

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        average = estimate()
        if past and at.sigma[i + 1] > 0 and at.alpha[i - 1] > 0:
            h, previous = at.lam[i + 1] - at.lam[i], at.lam[i] - at.lam[i - 1]
            average = average + h / (2 * previous) * (estimate(0) - estimate(1))
        return exponential_step(at, i, average)


@dataclass(frozen=True)
class DPMpp3M(_Multistep):
    r"""Third-order multistep exponential integrator on x_0 (Lu et al. 2022, sec. 4.2 and their appendix).

    The estimate is the parabola in λ through the last three, and ``σ_s ∫ e^λ D(λ) dλ`` of it is exact. (The
    authors' multistep code, and others after it, carry half of the second-derivative term, their
    ``φ_3 D_2``, and measure order 2 from any start.) One network call a step; order 3 with ``start="rk"``, 2
    with the published start. A step to σ = 0, where the step in λ is infinite, lands on the estimate and is
    of first order; the first point of a run from α = 0 has no λ and is left out. It is :class:`.eab.EAB` of
    order 3 on ``x0`` under the name by which it is known.

    Args:
        start: ``"euler"`` as published, or ``"rk"``; see :class:`.linear.LinearMultistep`.

    Raises:
        ValueError: an unknown start.
    """

    @property
    def memory(self) -> int:
        """How many points, the present one included, a form may use."""
        return 3

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        return steady(exponential_multistep, at, i, past)


def exponential_step(at: Levels, i: int, average: Form, j: int = 0) -> Form:
    """``(σ_s/σ_t) x − α_s (e^{−h} − 1) D̄`` for a mean estimate ``D̄``; finite at α_t = 0 and at σ_s = 0.

    Args:
        at: one field's schedule at the grid times.
        i: the step goes from grid point ``i`` to ``i + 1``.
        average: D̄.
        j: how many evaluations ago the state at grid point ``i`` was denoised.
    """
    shrink = at.sigma[i + 1] / at.sigma[i]
    # α_s e^{−h} = α_t σ_s/σ_t.
    return shrink * state(j) + (at.alpha[i + 1] - at.alpha[i] * shrink) * average


def exponential_multistep(at: Levels, i: int, past: int) -> Form:
    """The step that is exact for the polynomial in λ through the last ``past + 1`` estimates.

    Euler's where λ is infinite at an end of the step; an older point without λ is left out.

    Args:
        at: one field's schedule at the grid times.
        i: the step goes from grid point ``i`` to ``i + 1``.
        past: how many points before the present one are used.
    """
    if at.alpha[i] == 0 or at.sigma[i + 1] == 0:
        return euler(at, i)
    nodes = [(i - j, j) for j in with_signal(at, i, past)]
    return exponential_step(at, i, exponential_average(at, i, nodes))


def exponential_average(at: Levels, i: int, nodes: Sequence[tuple[int, int]]) -> Form:
    """Mean of the polynomial in λ through several estimates, under the weight e^λ of step ``i``.

    Args:
        at: one field's schedule at the grid times.
        i: the step goes from grid point ``i`` to ``i + 1``.
        nodes: the estimates: grid point, and how many evaluations ago.
    """
    h = at.lam[i + 1] - at.lam[i]
    moments = exponential_moments(h, len(nodes))
    weights = quadrature([(at.lam[k] - at.lam[i]) / h for k, _ in nodes], moments)
    return weighted(weights, [estimate(j) for _, j in nodes]) / moments[0]
