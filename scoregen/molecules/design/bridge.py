"""How a step goes on from an estimate of categories: along the bridge to a sample of it, or by renoising."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from scoregen.core.grid import Levels
from scoregen.core.solvers import Ancestral, Renoise
from scoregen.core.solvers.form import Form
from scoregen.core.solvers.linear import LinearMultistep

HARD = 0.35
"""Noise of categories above which steps go on from a sample of the estimate, below from the estimate."""

_BRIDGE, _ANEW = Ancestral(variance="small"), Renoise()


@dataclass(frozen=True)
class Bridged(LinearMultistep):
    r"""Bridges to samples in some steps, and renoises estimates in the others.

    A network says of each atom and each pair what it may be, not of all together what fits. Along the bridge
    ``x_s ∼ p(x_s | x_t, x_0)`` with ``x_0`` sampled from the estimate (ancestral sampling; Ho et al. 2020)
    this does not matter in the limit of many steps, as little of a sample enters a step. To renoise a sample
    (:class:`~scoregen.core.solvers.Renoise`) takes all of it; what does not fit is judged anew, and the
    ordinary comes out too often. To renoise an estimate that is nearly decided mends what does not fit.

    Args:
        steps: numbers of the steps along the bridge; their estimates are to be samples.
    """

    steps: Set[int]

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``."""
        return (_BRIDGE if i in self.steps else _ANEW).form(at, i, past)
