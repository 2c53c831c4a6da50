"""The order of a candidate's atoms, without RDKit.

Atoms are numbered as a walk in depth first meets them, as in a SMILES: most bonds then join neighbours in
number and a ring of six closes over five. A model that is told the numbers learns sooner what is bonded to
what, at the price of the symmetry between numberings. What is kept comes first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def depth_first(bonds: np.ndarray, kept: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Atoms in the order of a walk, kept ones first: ``(N,)``, a permutation.

    Args:
        bonds: ``(E, 2)``.
        kept: bool ``(N,)``; all False for one walk over the whole.
        rng: chooses where walks begin and which way they turn; without it the lowest number goes first.
    """
    count = len(kept)
    around: list[list[int]] = [[] for _ in range(count)]
    for i, j in np.asarray(bonds, np.int64).reshape(-1, 2).tolist():
        around[i].append(j)
        around[j].append(i)
    order: list[int] = []
    seen = np.zeros(count, bool)

    def turn(atoms: list[int]) -> list[int]:
        return sorted(atoms) if rng is None else [atoms[k] for k in rng.permutation(len(atoms))]

    def walk(start: int, inside: np.ndarray) -> None:
        stack = [start]
        while stack:
            atom = stack.pop()
            if seen[atom]:
                continue
            seen[atom] = True
            order.append(atom)
            stack += turn([other for other in around[atom] if inside[other] and not seen[other]])[::-1]

    for inside in (kept, ~kept):
        # New atoms are met from what is kept, where it is bonded to them; further pieces are begun anew.
        starts = [j for i in order for j in turn(around[i]) if inside[j]] if order else []
        for atom in [*starts, *turn(np.flatnonzero(inside).tolist())]:
            if not seen[atom]:
                walk(atom, inside)
    return np.array(order, np.int64)


def reordered(arrays: Mapping[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of :func:`scoregen.molecules.design.encode.encode` with atom ``order[k]`` as number ``k``."""
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    ends = np.sort(number[arrays["bond"].astype(np.int64)].reshape(-1, 2), axis=1)
    x = arrays["x"]
    return {
        **arrays,
        "token": arrays["token"][order],
        "bond": ends.astype(np.int16),
        "x": x[order] if len(x) else x,
    }
