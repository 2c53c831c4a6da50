"""Improved pseudo numerical methods (iPNDM): Adams–Bashforth on ε."""

from __future__ import annotations

from dataclasses import dataclass

from ..grid import Levels
from .linear import Form, LinearMultistep, epsilon, estimate, state

# Adams–Bashforth weights on equal steps, newest slope first.
ADAMS_BASHFORTH: tuple[tuple[float, ...], ...] = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@dataclass(frozen=True)
class IPNDM(LinearMultistep):
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

    @property
    def memory(self) -> int:
        return self.order

    def form(self, at: Levels, i: int, past: int) -> Form:
        if past == 0:  # Also the only form that stands α = 0.
            return at.alpha[i + 1] * estimate() + at.sigma[i + 1] * epsilon(at, i)
        slope = Form()
        for j, weight in enumerate(ADAMS_BASHFORTH[past]):
            slope = slope + weight * epsilon(at, i - j, j)
        scale = at.alpha[i + 1] / at.alpha[i]
        return scale * state() + (at.sigma[i + 1] - scale * at.sigma[i]) * slope
