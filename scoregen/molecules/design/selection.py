r"""Selection among draws while they are drawn: towards any score of a molecule, learned or not.

Sequential Monte Carlo over the reverse process (Wu et al., *Practical and asymptotically exact conditional
sampling in diffusion models*, 2023; Singhal et al., *A general framework for inference-time scaling and
steering of diffusion models*, 2025): draws run in groups. At some steps the molecule that each of them is
estimated to become is scored, and the group is drawn anew from its members, those that score well more often.
Copies part again, as every later step renoises them with noise of their own. Nothing is differentiated, so
the score may be any function.

Here a member's weight is ``exp(pressure · q)`` with q its quantile in the group, from 0 to 1. Quantiles have
no units: scores of any scale can be used, and several at once. An estimate that is not yet a molecule says
nothing and counts as the median, so selection does not repair what the model draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from scoregen.errors import require


@dataclass(frozen=True)
class Selection:
    """When and how hard a group is selected.

    Args:
        particles: draws of a group, which compete; each group is alone, whatever else is drawn.
        pressure: how much the best of a group counts against the worst, as the logarithm of a ratio.
        begin, end: shares of the steps between which there are selections: before, an estimate is no
            molecule; after, copies would not part any more.
        times: number of selections.

    Raises:
        InputError: a value out of range.
    """

    particles: int = 16
    pressure: float = 2.0
    begin: float = 0.4
    end: float = 0.7
    times: int = 6

    def __post_init__(self) -> None:
        require(
            [
                (self.particles >= 2, f"particles must be at least 2, got {self.particles}"),
                (self.pressure >= 0, f"pressure must not be negative, got {self.pressure:g}"),
                (0 < self.begin <= self.end < 1, "selections lie between the first step and the last"),
                (self.times >= 1, f"times must be at least 1, got {self.times}"),
            ]
        )

    def steps(self, total: int) -> frozenset[int]:
        """Numbers of the network calls, of ``total``, after which there is a selection."""
        return frozenset(np.linspace(self.begin * total, self.end * total, self.times).astype(int).tolist())

    def ancestors(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which member each place of a group is filled with; who stays is left in place.

        Args:
            values: scores of the members by criterion, ``(C, K)``, NaN where nothing can be said.
            rng: the only source of chance.

        Returns:
            int ``(K,)``.
        """
        count = values.shape[1]
        weights = np.exp(self.pressure * worth(values))
        # Systematic resampling: one random number, and copies in proportion but for rounding.
        edges = np.cumsum(weights / weights.sum())
        points = (rng.random() + np.arange(count)) / count
        copies = np.bincount(np.searchsorted(edges[:-1], points, side="right"), minlength=count)
        found = np.where(copies > 0, np.arange(count), -1)
        found[found < 0] = np.repeat(np.arange(count), np.maximum(copies - 1, 0))
        return found


def worth(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Mean of the quantiles in all criteria, ``(C, K)`` → ``(K,)``: they count alike whatever their units."""
    found: np.ndarray = np.mean([quantiles(row) for row in values], axis=0)
    return found


def quantiles(values: np.ndarray) -> np.ndarray:
    """Rank of each value among those known, scaled to 0 … 1; ½ for NaN, for all alike, and for one alone."""
    known = ~np.isnan(values)
    found = np.full(len(values), 0.5)
    if known.sum() > 1:
        found[known] = (rankdata(values[known]) - 1) / (known.sum() - 1)
    return found
