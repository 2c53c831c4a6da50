"""Euler–Maruyama for the reverse-time SDE."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoise
from ..sde import Grid
from .base import Draw, State


@dataclass(frozen=True)
class EulerMaruyama:
    r"""``x_s = x − [f x − g² s](t − s) + g √(t − s) n`` (Song et al. 2021, eq. 6; Anderson 1982).

    Strong order ½, weak order 1. The last step adds no noise and, on a grid that ends at σ = 0, lands on
    the denoised estimate. The rule is explicit: where a grid makes ``g²Δt`` large against σ² (an EDM grid
    with few steps) it is unstable, as for any implementation of it.

    Raises:
        ValueError: the grid starts where α = 0, where the coefficients are infinite.
    """

    def init(self, x: Tensor) -> State:
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> State:
        prediction = denoise(carry.x, grid.times[i])
        if i + 1 == grid.steps and float(grid.sigma[-1]) == 0:
            return State(float(grid.alpha[-1]) * prediction.x0)
        if float(grid.alpha[i]) == 0:
            raise ValueError(
                "Euler–Maruyama cannot start where the signal is zero; start the grid below t_max"
            )
        drift, diffusion = (float(value) for value in grid.sde.coefficients(grid.times[i]))
        dt = float(grid.times[i] - grid.times[i + 1])
        mean = carry.x - dt * (drift * carry.x - diffusion * prediction.score)
        if i + 1 == grid.steps:
            return State(mean)
        return State(mean + (diffusion * dt) ** 0.5 * draw(i))
