"""Improved pseudo numerical methods (iPNDM): Adams–Bashforth on ε with the weights of equal steps."""

from __future__ import annotations

from dataclasses import dataclass

from ..grid import Levels
from .ddim import euler
from .form import Form, epsilon, state, weighted
from .linear import OrderedMultistep

# Adams–Bashforth weights on equal steps, newest slope first.
ADAMS_BASHFORTH: tuple[tuple[float, ...], ...] = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@dataclass(frozen=True)
class IPNDM(OrderedMultistep):
    r"""``x_s = α_s x̂ + …`` by DDIM with an Adams–Bashforth average of ε (Zhang & Chen, *DEIS*, 2023, eq. 17;
    Liu et al., *PNDM*, 2022).

    The weights are those of equal steps in σ/α, as published, so on a grid with equal steps there the order
    is ``order`` (with ``start="rk"``; 2 at most with the published start). On any other grid it is 2 at most,
    with a small constant, and 1 where neighbouring steps differ without rule. One network call a step.
    :class:`.deis.DEIS` has the weights of the actual steps.

    Args:
        order: 1 to 4; the first steps use the orders below.
        start: ``"euler"`` as published, or ``"rk"``; see :class:`.linear.LinearMultistep`.

    Raises:
        ValueError: ``order`` outside 1..4, or an unknown start.
    """

    order: int = 4

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        if past == 0:  # Also the only form that stands α = 0.
            return euler(at, i)
        slope = weighted(ADAMS_BASHFORTH[past], [epsilon(at, i - j, j) for j in range(past + 1)])
        scale = at.alpha[i + 1] / at.alpha[i]
        return scale * state() + (at.sigma[i + 1] - scale * at.sigma[i]) * slope
