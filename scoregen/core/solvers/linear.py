"""Solvers with one network call a step whose step is a linear form of what came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid, Levels
from .base import Draw, State
from .form import Form, Point, combine
from .runge_kutta import HEUN, KUTTA, runge_kutta

STARTS = ("euler", "rk")
"""How a multistep rule may begin."""


@dataclass(frozen=True)
class Past(State):
    """The state and the points before it, newest first."""

    past: tuple[Point, ...] = ()


class LinearMultistep:
    """A solver with one network call a step whose step is a linear form of the last ``memory`` points.

    Subclasses are frozen dataclasses that implement :meth:`form`.

    At the start the history is missing. As published, the first steps use what there is (``start="euler"``):
    one step of order 1, then 2, … Its error h² never heals, so the order of the whole run is 2 at most,
    however high the rule. With ``start="rk"`` the first ``history`` steps are Runge–Kutta steps of order
    ``memory − 1`` (at least 2), which is enough for a rule of order ``memory``; each takes one more network
    call up to ``memory`` 3 and two more for 4. A first step that ends at σ = 0 is never a Runge–Kutta step.
    """

    start: str = "euler"

    @property
    def memory(self) -> int:
        """How many points, the present one included, a form may use."""
        return 1

    @property
    def history(self) -> int:
        """How many points before the present one a step of full order needs."""
        return self.memory - 1

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``.

        Args:
            at: one field's schedule at the grid times.
            i: number of the step.
            past: how many points before the present one are known, at most ``memory − 1``.
        """
        raise NotImplementedError

    def refine(self, points: tuple[Point, ...], i: int, grid: Grid) -> tuple[Point, ...]:
        """The points with the present state improved by the new estimate; as they are, for most rules."""
        return points

    def init(self, x: Tensor) -> Past:
        """The carry at the start: no history."""
        return Past(x)

    def step(self, carry: Past, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> Past:
        """Denoise the state, then advance it from grid point ``i`` to ``i + 1``."""
        points = ((carry.x, denoise(carry.x, grid.times[i]).x0), *carry.past)[: self.memory]
        points = self.refine(points, i, grid)
        known, kept = len(points) - 1, points[: self.memory - 1]
        if self.start == "rk" and known < self.history and all(at.sigma[i + 1] for at in grid.levels):
            rule = HEUN if self.memory <= 3 else KUTTA
            return Past(runge_kutta(rule, points[0], i, grid, denoise), kept)
        forms = grid.plan((self, i, known), lambda: [self.form(at, i, known) for at in grid.levels])
        noise = draw(i) if any(form.noise for form in forms) else None
        return Past(combine(forms, points, grid, noise), kept)


@dataclass(frozen=True)
class OrderedMultistep(LinearMultistep):
    """A family of rules, one for each order.

    Args:
        order: order of convergence; the number of points a step uses.
        start: ``"euler"`` or ``"rk"``, see :class:`LinearMultistep`.

    Raises:
        ValueError: an order the family does not have, or an unknown start.
    """

    order: int = 2
    start: str = "euler"
    orders: ClassVar[tuple[int, ...]] = (1, 2, 3, 4)

    def __post_init__(self) -> None:
        if self.order not in self.orders:
            low, high = self.orders[0], self.orders[-1]
            raise ValueError(f"{type(self).__name__} has orders {low} to {high}, got {self.order}")
        check_start(self.start)

    @property
    def memory(self) -> int:
        """How many points, the present one included, a form may use."""
        return self.order


def check_start(start: str) -> None:
    """Refuse a start that is not one of :data:`STARTS`, with a ValueError."""
    if start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(STARTS)}, got '{start}'")


def with_signal(at: Levels, i: int, past: int) -> Sequence[int]:
    """Which of the points 0 … ``past`` have α > 0, so that σ/α and log(α/σ) are finite there.

    Only the very first point of a run can be without signal: it is the oldest and drops out.
    """
    return [j for j in range(past + 1) if at.alpha[i - j] > 0]


GAIN = 8.5
"""How much the last step of a rule of high order may magnify the errors of its estimates; :func:`steady`."""


def steady(rule: Callable[[Levels, int, int], Form], at: Levels, i: int, past: int) -> Form:
    """The step of highest order whose result does not hang on differences of nearly equal estimates.

    A step that is long against the distance of its nodes extrapolates: the estimates get weights of either
    sign that grow like a power of that ratio, and the errors of network and rounding grow with them. The
    jump from σ_min to 0 that ends a Karras grid of many steps is of that kind (in 1000 steps the weights of
    DEIS of order 4 come to 22,000). What goes wrong in an earlier step the rest of the flow draws together;
    in the last one it is the sample. There the oldest nodes are left out until the magnitudes of the
    estimates' weights sum to :data:`GAIN` at most, which leaves the rules of σ/α as they are on Karras
    grids of up to 50 steps.

    Args:
        rule: ``rule(at, i, past)``, the step through the last ``past + 1`` points.
        at: one field's schedule at the grid times.
        i: number of the step.
        past: how many points before the present one are known.
    """
    form = rule(at, i, past)
    while past and i + 1 == at.steps and sum(map(abs, form.x0)) > GAIN:
        past -= 1
        form = rule(at, i, past)
    return form


def outpaced(at: Levels, i: int) -> bool:
    """Whether a step is more than twice as long in λ as the one before.

    A stochastic rule of order 2 takes the change of the estimate over the last step to make up for what that
    step missed, at the size of the present one: right where steps change slowly, and far too much in the
    last step of an even grid from t_max to t_min.

    Args:
        at: one field's schedule at the grid times.
        i: number of the step, at least 1; α must be positive where the one before begins.
    """
    return at.lam[i + 1] - at.lam[i] > 2 * (at.lam[i] - at.lam[i - 1])
