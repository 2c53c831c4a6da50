"""UniPC: a predictor, and a corrector that costs no network call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..grid import Grid, Levels
from .ddim import euler
from .dpmpp import exponential_average, exponential_step
from .form import Form, Point, combine, estimate, state
from .linear import OrderedMultistep, steady, with_signal

VARIANTS = ("bh1", "bh2")


@dataclass(frozen=True)
class UniPC(OrderedMultistep):
    r"""Unified predictor–corrector on x_0 (Zhao et al., *UniPC*, 2023, algorithms 1–3, multistep).

    The predictor (UniP) is the exponential integrator of the polynomial in λ through the last ``order − 1``
    estimates. Once the network has seen its result, the corrector (UniC) takes the same step again with the
    new estimate among the nodes, and the next step starts from there: the evaluation serves both, so there
    is one network call a step.

    ``order`` is the order of convergence. The paper counts the predictor's: its UniPC-p (and
    ``solver_order = p`` of its code and of diffusers) is ``order = p + 1`` here, the order the paper proves.
    The order holds with the published start for 2 and 3 (the correction mends the first step) and needs
    ``start="rk"`` for 4. The last step is of a lower order where it is long against those before it
    (:func:`.linear.steady`). A step to σ = 0 lands on the estimate; the point at α = 0 is left out.

    With three nodes or more the weights are those of the polynomial whatever B(h); with two they are ½, and
    the variant matters: ``B(h) = −h`` (bh1) or ``e^{−h} − 1`` (bh2). A bh2 predictor on two nodes is
    DPM-Solver++ 2M.

    Args:
        order: 2 to 4; the first steps use the orders below.
        start: ``"euler"`` as published, or ``"rk"``; see :class:`.linear.LinearMultistep`.
        variant: B(h), ``"bh1"`` or ``"bh2"``.

    Raises:
        ValueError: ``order`` outside 2..4, an unknown start or variant.
    """

    order: int = 3
    variant: str = "bh2"
    orders: ClassVar[tuple[int, ...]] = (2, 3, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got '{self.variant}'")

    @property
    def history(self) -> int:
        """How many points before the present one a step of full order needs."""
        return self.order - 2  # The corrector looks one point further back than the predictor.

    def form(self, at: Levels, i: int, past: int) -> Form:
        """UniP, from the corrected state."""
        return steady(self._predictor, at, i, min(past, self.history))

    def _predictor(self, at: Levels, i: int, past: int) -> Form:
        if at.alpha[i] == 0 or at.sigma[i + 1] == 0:
            return euler(at, i)
        slots = with_signal(at, i, past)
        return exponential_step(at, i, self._average(at, i, [(i - j, j) for j in slots]))

    def refine(self, points: tuple[Point, ...], i: int, grid: Grid) -> tuple[Point, ...]:
        """UniC: the last step, from ``i − 1`` to ``i``, once more."""
        known = len(points) - 1
        # A Runge–Kutta step is better than a correction that has only a short history could make it.
        if known == 0 or (self.start == "rk" and known <= self.history):
            return points
        key = (self, "corrector", i, known)
        forms = grid.plan(key, lambda: [self._corrector(at, i, known) for at in grid.levels])
        return (combine(forms, points, grid), points[0][1]), *points[1:]

    def _corrector(self, at: Levels, i: int, past: int) -> Form:
        if at.alpha[i - 1] == 0:
            return state()
        known = [j for j in with_signal(at, i, past) if j > 0]
        nodes = [(i - j, j) for j in (*known, 0)]
        return exponential_step(at, i - 1, self._average(at, i - 1, nodes), 1)

    def _average(self, at: Levels, i: int, nodes: Sequence[tuple[int, int]]) -> Form:
        """Mean estimate of step ``i``; the first of the nodes is where the step begins."""
        if len(nodes) != 2:
            return exponential_average(at, i, nodes)
        (_, now), (k, other) = nodes
        h = at.lam[i + 1] - at.lam[i]
        weight = h / -math.expm1(-h) if self.variant == "bh1" else 1.0
        slope = (estimate(other) - estimate(now)) * (h / (at.lam[k] - at.lam[i]))
        return estimate(now) + weight / 2 * slope
