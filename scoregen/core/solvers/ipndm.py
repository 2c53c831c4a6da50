"""Improved pseudo numerical methods (iPNDM): Adams–Bashforth on ε."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoise
from ..sde import Grid
from .base import Draw, State

# Adams–Bashforth weights on equal steps, newest slope first.
ADAMS_BASHFORTH: tuple[tuple[float, ...], ...] = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@dataclass(frozen=True)
class Slopes(State):
    """The state and the last noise estimates, newest first."""

    slopes: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class IPNDM:
    r"""``x_s = α_s x̂ + …`` by DDIM with an Adams–Bashforth average of ε (Zhang & Chen, *DEIS*, 2023, eq. 17;
    Liu et al., *PNDM*, 2022).

    The weights are those of equal steps in σ/α, as published, so on a grid with equal steps there the order
    is ``order`` and on any other grid it is 1 with a small constant. One network call a step.

    Args:
        order: 1 to 4; the first steps use the orders below.

    Raises:
        ValueError: ``order`` outside 1..4.
    """

    order: int = 4

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"iPNDM has orders 1 to 4, got {self.order}")

    def init(self, x: Tensor) -> Slopes:
        return Slopes(x)

    def step(self, carry: Slopes, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> Slopes:
        prediction = denoise(carry.x, grid.times[i])
        alpha, alpha_next = float(grid.alpha[i]), float(grid.alpha[i + 1])
        sigma, sigma_next = float(grid.sigma[i]), float(grid.sigma[i + 1])
        slopes = (prediction.eps, *carry.slopes)[: self.order]
        if len(slopes) == 1:  # Also the only form that stands α = 0.
            x = alpha_next * prediction.x0 + sigma_next * slopes[0]
        else:
            weights = ADAMS_BASHFORTH[len(slopes) - 1]
            slope = sum((w * e for w, e in zip(weights, slopes, strict=True)), start=0 * slopes[0])
            scale = alpha_next / alpha
            x = scale * carry.x + (sigma_next - scale * sigma) * slope
        return Slopes(x, slopes)
