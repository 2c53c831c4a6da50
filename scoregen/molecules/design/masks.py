"""Which atoms of a training molecule are kept: random regions of its bond graph, without RDKit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SHARE = (0.2, 0.9)
"""Least and greatest share of the atoms that is kept."""


def random_kept(bonds: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """A random set of atoms to keep, as scaffold and link tasks keep them.

    One of three kinds, equally often: a connected region (a scaffold to grow from); all but a connected
    region (what is left when an inner part or an end is redrawn); two connected regions far apart and
    without a bond between them (fragments to link). The number kept is uniform in :data:`SHARE` of ``n``;
    two regions may stop short of it where they would touch.

    Args:
        bonds: rows (i, j), each bond once in any direction, ``(E, 2)``.
        n: atoms.
        rng: the only source of chance.

    Returns:
        ``(n,)`` bool; at least one atom is kept and at least one is not, if there are two; a single atom is
        not kept.
    """
    kept = np.zeros(n, bool)
    if n < 2:
        return kept
    around = _neighbours(bonds, n)
    size = int(np.clip(round(rng.uniform(*SHARE) * n), 1, n - 1))
    kind = rng.integers(3)
    if kind == 1:
        kept[:] = True
        kept[_region(around, n - size, rng)] = False
        return kept
    chosen = _two_regions(around, size, rng) if kind == 2 else []
    kept[chosen if len(chosen) >= SHARE[0] * n else _region(around, size, rng)] = True
    return kept


def _neighbours(bonds: np.ndarray, n: int) -> list[list[int]]:
    around: list[list[int]] = [[] for _ in range(n)]
    for i, j in np.asarray(bonds, np.int64).reshape(-1, 2).tolist():
        around[i].append(j)
        around[j].append(i)
    return around


def _region(around: Sequence[Sequence[int]], size: int, rng: np.random.Generator) -> list[int]:
    """A connected region grown atom by atom from a random one; further regions where a piece is used up."""
    chosen: list[int] = []
    outside = set(range(len(around)))
    edge: list[int] = []
    while len(chosen) < size:
        if not edge:
            edge = [int(rng.choice(sorted(outside)))]
        atom = edge.pop(int(rng.integers(len(edge))))
        chosen.append(atom)
        outside.discard(atom)
        edge += [other for other in around[atom] if other in outside and other not in edge]
    return chosen


def _two_regions(around: Sequence[Sequence[int]], size: int, rng: np.random.Generator) -> list[int]:
    """Two regions grown in turn from a random atom and one of those farthest from it; [] if all are near."""
    first = int(rng.integers(len(around)))
    hops = _hops(around, first)
    farthest = max(hops.values())
    if farthest < 2 or size < 2:
        return []
    last = int(rng.choice(sorted(atom for atom, far in hops.items() if far == farthest)))
    regions = [{first}, {last}]
    while sum(map(len, regions)) < size:
        edges = [_free(around, own, other) for own, other in (regions, regions[::-1])]
        growing = [k for k in (0, 1) if edges[k]]
        if not growing:
            break
        k = growing[int(rng.integers(len(growing)))]
        regions[k].add(int(rng.choice(edges[k])))
    return sorted(regions[0] | regions[1])


def _free(around: Sequence[Sequence[int]], own: set[int], other: set[int]) -> list[int]:
    """Atoms beside ``own`` that are neither in ``other`` nor beside it."""
    beside = {atom for member in own for atom in around[member]} - own - other
    return sorted(atom for atom in beside if other.isdisjoint(around[atom]))


def _hops(around: Sequence[Sequence[int]], start: int) -> dict[int, int]:
    """Bonds to every atom that can be reached."""
    hops = {start: 0}
    queue = [start]
    for atom in queue:
        for other in around[atom]:
            if other not in hops:
                hops[other] = hops[atom] + 1
                queue.append(other)
    return hops
