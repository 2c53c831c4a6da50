"""Renoising: every step forgets the noise of the one before."""

from __future__ import annotations

from dataclasses import dataclass

from ..grid import Levels
from .form import NOISE, Form, estimate
from .linear import LinearMultistep


@dataclass(frozen=True)
class Renoise(LinearMultistep):
    r"""``x_s = α_s x̂_0 + σ_s n`` with fresh noise n (Song et al., *Consistency Models*, 2023, algorithm 1).

    The rule for denoisers whose estimate is nearly a sample: consistency models, and categories (one-hot
    vectors), where an estimate is either undecided, under noise that hides it, or decided. What other rules
    carry along in the noise is an early mistake; here the next call judges the estimate alone. It is ER-SDE
    of order 1 with ``φ(r) = r^k`` for k → ∞. For data that the estimate blurs, such as a Gaussian, it loses
    variance at any number of steps.

    One network call a step. A start at α = 0 and a step to σ = 0 are finite.
    """

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        return at.alpha[i + 1] * estimate() + at.sigma[i + 1] * NOISE
