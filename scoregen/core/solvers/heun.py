"""Heun's second-order rule for the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid, Levels
from .base import Draw, State
from .linear import Form, combine, estimate, state, velocity


@dataclass(frozen=True)
class Heun:
    r"""Trapezoidal rule on ``dx/dt = α' x̂_0 + σ' ε̂`` (Karras et al. 2022, algorithm 1). Order 2.

    Two network calls a step; a last step to σ = 0 takes the Euler value alone, as in the paper.
    """

    def init(self, x: Tensor) -> State:
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> State:
        t, s = grid.times[i], grid.times[i + 1]
        plan = grid.plan((self, i), lambda: [forms(at, i) for at in grid.levels])
        euler, trapezoid = [form for form, _ in plan], [form for _, form in plan]
        first = (carry.x, denoise(carry.x, t).x0)
        x = combine(euler, [first], grid)
        if not bool(grid.sigma[i + 1].any()):
            return State(x)
        return State(combine(trapezoid, [(x, denoise(x, s).x0), first], grid))


def forms(at: Levels, i: int) -> tuple[Form, Form]:
    """Euler's rule at grid point ``i`` and the trapezoid once the end of the step is known."""
    dt = at.t[i + 1] - at.t[i]
    if at.sigma[i + 1] == 0:
        return at.alpha[i + 1] * estimate(), at.alpha[i + 1] * estimate(1)
    trapezoid = state(1) + dt / 2 * (velocity(at, i, 1) + velocity(at, i + 1, 0))
    return state() + dt * velocity(at, i), trapezoid
