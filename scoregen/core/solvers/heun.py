"""Heun's second-order rule for the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid
from .base import Draw, State
from .form import combine, estimate
from .runge_kutta import HEUN, runge_kutta


@dataclass(frozen=True)
class Heun:
    r"""Trapezoidal rule on ``dx/dt = α' x̂_0 + σ' ε̂`` (Karras et al. 2022, algorithm 1). Order 2.

    Two network calls a step; a last step to σ = 0 takes the Euler value alone, as in the paper.
    """

    def init(self, x: Tensor) -> State:
        """The carry at the start."""
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> State:
        """Advance from grid point ``i`` to ``i + 1``."""
        first = (carry.x, denoise(carry.x, grid.times[i]).x0)
        if not any(at.sigma[i + 1] for at in grid.levels):
            return State(combine([at.alpha[i + 1] * estimate() for at in grid.levels], [first], grid))
        return State(runge_kutta(HEUN, first, i, grid, denoise))
