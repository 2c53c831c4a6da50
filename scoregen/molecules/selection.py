"""Which of many geometries to keep: representatives, their populations, and what is a duplicate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_PASSES = 4


@dataclass(frozen=True)
class Selection:
    """Representatives of a set of draws.

    Args:
        picked: indices of the draws kept, in the order picked.
        distances: distances from every draw to each of them, ``(M, k)``, Å.
    """

    picked: list[int]
    distances: np.ndarray

    def only(self, order: Sequence[int]) -> Selection:
        """The representatives of these places, in this order."""
        return Selection([self.picked[k] for k in order], self.distances[:, list(order)])

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Population and spread of each representative, ``(k,)`` each.

        The population is the share of draws nearer to it than to any other (the first, when equally near);
        the spread is the RMS distance of those draws to it, Å.
        """
        nearest = self.distances.argmin(1)
        counts = np.bincount(nearest, minlength=len(self.picked))
        squares = np.bincount(nearest, self.distances.min(1) ** 2, len(self.picked))
        return counts / len(self.distances), np.sqrt(squares / np.maximum(counts, 1))


def select(distances: np.ndarray, k: int) -> Selection:
    """The ``k`` medoids of ``(M, M)`` distances as a :class:`Selection`."""
    picked = medoids(distances, k)
    return Selection(picked, distances[:, picked])


def medoids(distances: np.ndarray, k: int) -> list[int]:
    """Representatives that minimise the summed distance of every draw to the nearest of them (k-medoids).

    Greedy facility location (each pick lowers the sum most), then passes that swap a representative for
    another draw while that helps (PAM; Kaufman & Rousseeuw 1990). Farthest-point picking would take the
    outliers of a sample; this takes its modes. Deterministic; ties go to the lower index.

    Args:
        distances: symmetric, ``(M, M)``.
        k: how many to pick; all, if there are no more.

    Returns:
        Indices, the most representative first: any first few are the greedy choice among those picked.

    Raises:
        ValueError: not a square matrix, or ``k`` below 1.
    """
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or k < 1:
        raise ValueError(f"need a square matrix and k of at least 1, got {distances.shape} and {k}")
    count = len(distances)
    if k >= count:
        return _greedy(distances, np.arange(count), count)
    picked = _greedy(distances, np.arange(count), k)
    picked = _swapped(distances, picked)
    return _greedy(distances, np.sort(picked), k)


def distinct(distances: np.ndarray, threshold: float) -> list[int]:
    """Indices of the geometries that are ``threshold`` or more from all kept before them.

    Args:
        distances: ``(M, M)``, in the order in which geometries are preferred.
        threshold: in the unit of the distances.
    """
    kept: list[int] = []
    for i in range(len(distances)):
        if not kept or distances[i, kept].min() >= threshold:
            kept.append(i)
    return kept


def _greedy(distances: np.ndarray, candidates: np.ndarray, k: int) -> list[int]:
    """``k`` of the candidates, each the one that lowers the cost of all rows most."""
    # Rounded: sums of the same distances in another order must tie.
    columns = distances[:, candidates]
    cost = columns.sum(0).round(9)
    first = int(cost.argmin())
    chosen, nearest = [first], columns[:, first].copy()
    for _ in range(k - 1):
        cost = np.minimum(columns, nearest[:, None]).sum(0).round(9)
        cost[chosen] = np.inf
        chosen.append(int(cost.argmin()))
        nearest = np.minimum(nearest, columns[:, chosen[-1]])
    return [int(candidates[i]) for i in chosen]


def _swapped(distances: np.ndarray, picked: list[int]) -> list[int]:
    """The picks after swaps that lower the cost, at most a few passes."""
    picked = list(picked)
    best = distances[:, picked].min(1).sum()
    for _ in range(_PASSES):
        before = best
        for place in range(len(picked)):
            others = picked[:place] + picked[place + 1 :]
            rest = distances[:, others].min(1) if others else np.full(len(distances), np.inf)
            cost = np.minimum(distances, rest[:, None]).sum(0)
            candidate = int(cost.argmin())
            if cost[candidate] < best - 1e-9:
                picked[place], best = candidate, cost[candidate]
        if best >= before - 1e-9:
            break
    return picked
