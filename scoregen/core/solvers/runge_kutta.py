r"""Explicit Runge–Kutta steps of the probability-flow ODE ``dx/dt = α' x̂_0 + σ' ε̂`` in the clock ``t``.

They start the multistep rules of high order, and Heun's rule is one of them. All fields of a product
share the clock, so a stage is one network call for all of them. The velocity is finite where α = 0; at
σ = 0 it is not, and a field whose step ends there lands on its first estimate instead.
"""

from __future__ import annotations

from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid, Levels
from ..tableau import Tableau
from .form import Form, Point, combine, estimate, state, velocity, weighted

HEUN = Tableau((0.0, 1.0), ((1.0,),), (1 / 2, 1 / 2))
"""Order 2 (Heun 1900)."""

KUTTA = Tableau((0.0, 1 / 2, 1.0), ((1 / 2,), (-1.0, 2.0)), (1 / 6, 4 / 6, 1 / 6))
"""Order 3 (Kutta 1901)."""


def runge_kutta(rule: Tableau, first: Point, i: int, grid: Grid, denoise: Denoise) -> Tensor:
    """The state at grid point ``i + 1``.

    Args:
        rule: a tableau whose times increase from 0 to 1; a network call for each stage but the first.
        first: the state at grid point ``i`` and the estimate made there.
        i: number of the step.
        grid: the grid.
        denoise: the denoiser.
    """
    times, *stages = grid.plan((rule, i), lambda: _plan(rule, i, grid))
    points: tuple[Point, ...] = (first,)
    for t, forms in zip(times[1:], stages[:-1], strict=True):
        x = combine(forms, points, grid)
        points = ((x, denoise(x, t).x0), *points)
    return combine(stages[-1], points, grid)


def _plan(rule: Tableau, i: int, grid: Grid) -> tuple[Tensor, *tuple[list[Form], ...]]:
    """Times of the stages, the forms (one a field) of each state to be denoised, and of the result."""
    t, s = grid.times[i], grid.times[i + 1]
    inner = Grid(grid.sde, t + (s - t) * t.new_tensor(rule.c))
    targets = [*enumerate(rule.a, 1), (len(rule.c) - 1, rule.b)]
    return inner.times, *([_stage(at, target, row) for at in inner.levels] for target, row in targets)


def _stage(at: Levels, target: int, row: tuple[float, ...]) -> Form:
    """``x + Δt Σ_k a_k v_k`` at node ``target``; the newest of the ``len(row)`` points is slot 0."""
    last = len(row) - 1
    if at.sigma[target] == 0:
        return at.alpha[target] * estimate(last)
    dt = at.t[-1] - at.t[0]
    return state(last) + weighted([dt * a for a in row], [velocity(at, k, last - k) for k in range(len(row))])
