"""Heun's second-order rule for the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoise, Prediction
from ..sde import Grid
from .base import Draw, State


@dataclass(frozen=True)
class Heun:
    r"""Trapezoidal rule on ``dx/dt = α' x̂_0 + σ' ε̂`` (Karras et al. 2022, algorithm 1). Order 2.

    Two network calls a step; a last step to σ = 0 takes the Euler value alone, as in the paper.
    """

    def init(self, x: Tensor) -> State:
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> State:
        t, s = grid.times[i], grid.times[i + 1]
        first = denoise(carry.x, t)
        if float(grid.sigma[i + 1]) == 0:
            return State(float(grid.alpha[i + 1]) * first.x0)
        slope = velocity(first, grid, i)
        euler = carry.x + float(s - t) * slope
        return State(carry.x + float(s - t) / 2 * (slope + velocity(denoise(euler, s), grid, i + 1)))


def velocity(prediction: Prediction, grid: Grid, i: int) -> Tensor:
    """``dx/dt = α' x̂_0 + σ' ε̂``, the probability-flow velocity at grid point ``i``, shaped as the state."""
    alpha_rate, sigma_rate = grid.sde.rates(grid.times[i])
    return float(alpha_rate) * prediction.x0 + float(sigma_rate) * prediction.eps
