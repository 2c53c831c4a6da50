"""DEIS: Adams–Bashforth on ε in the variable σ/α, with the weights of the actual steps."""

from __future__ import annotations

from dataclasses import dataclass

from ..grid import Levels
from .ddim import euler
from .form import Form, epsilon, state, weighted
from .linear import OrderedMultistep, steady, with_signal
from .polynomial import adams_weights


@dataclass(frozen=True)
class DEIS(OrderedMultistep):
    r"""``x_s/α_s = x/α + ∫ ε̂ dρ`` with ε̂ a polynomial in ``ρ = σ/α`` (Zhang & Chen, *DEIS*, 2023, eq. 15 and
    sec. 3.3, ρAB).

    The probability-flow ODE is ``d(x/α)/dρ = ε̂``, so the integral of the polynomial through the last
    ``order`` estimates is exact. Order 1 is DDIM. Order ``order`` on any smooth grid with ``start="rk"``, 2
    at most with the published start; a step to σ = 0 keeps the order, but is of a lower one where it is long
    against those before it (:func:`.linear.steady`). One network call a step.

    The paper's tAB takes the polynomial in t instead; where time is the noise level (EDM) they are the same.
    Where the run starts at α = 0 the first point has no ρ: the first step is Euler's and leaves no history.

    Args:
        order: 1 to 4; the first steps use the orders below.
        start: ``"euler"`` as published, or ``"rk"``; see :class:`.linear.LinearMultistep`.

    Raises:
        ValueError: ``order`` outside 1..4, or an unknown start.
    """

    order: int = 3

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        return euler(at, i) if at.alpha[i] == 0 else steady(_step, at, i, past)


def _step(at: Levels, i: int, past: int) -> Form:
    slots = with_signal(at, i, past)
    weights = adams_weights([at.ratio[i - j] for j in slots], at.ratio[i + 1])
    integral = weighted(weights, [epsilon(at, i - j, j) for j in slots])
    return at.alpha[i + 1] * (state() / at.alpha[i] + integral)
