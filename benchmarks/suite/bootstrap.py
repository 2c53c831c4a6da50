"""Confidence intervals by resampling molecules (Efron & Tibshirani 1993), within strata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def interval(
    values: Sequence[float], strata: Sequence[object] | None = None, *, seed: int = 0, level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of the mean; None for fewer than two values.

    Args:
        values: one a molecule.
        strata: group of each; every resample draws as many of each group as there are. One group if None.
        seed: of the resampling.
        level: coverage.
    """
    numbers = np.asarray(values, np.float64)
    if len(numbers) < 2:
        return None
    names = (
        np.zeros(len(numbers), int)
        if strata is None
        else np.unique(list(map(str, strata)), return_inverse=True)[1]
    )
    rng = np.random.default_rng(seed)
    totals = np.zeros(RESAMPLES)
    for group in np.unique(names):
        members = numbers[names == group]
        totals += members[rng.integers(len(members), size=(RESAMPLES, len(members)))].sum(1)
    low, high = np.quantile(totals / len(numbers), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
