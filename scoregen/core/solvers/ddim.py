"""DDIM, which is Euler in the variable σ/α."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoise
from ..sde import Grid
from .base import Draw, State


@dataclass(frozen=True)
class DDIM:
    r"""``x_s = α_s x̂_0 + σ_s ε̂`` (Song, Meng & Ermon 2021, eq. 12 with η = 0). Order 1.

    In ``x/α`` against ``σ/α`` this is Euler's rule, whatever the schedule; for EDM it is Euler in σ.
    """

    def init(self, x: Tensor) -> State:
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> State:
        prediction = denoise(carry.x, grid.times[i])
        return State(float(grid.alpha[i + 1]) * prediction.x0 + float(grid.sigma[i + 1]) * prediction.eps)
