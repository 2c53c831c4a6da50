"""Geometries for the reverse process to start from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
from rdkit import rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError

from .etkdg import embed
from .metrics import pairwise_rmsd
from .relax import relax
from .selection import select
from .settings import STRAIN
from .stereo import sound


@dataclass(frozen=True)
class Start:
    """A geometry to start from.

    Args:
        kind: ``etkdg`` or ``mmff``: what it really is, whatever was asked for.
        positions: ``(N, 3)`` Å.
        energy: MMFF94s, kcal/mol, of a relaxed one.
        population: share of the geometries nearest to this one, where it was chosen among more.
        spread: RMS distance of those to it, Å.
    """

    kind: str
    positions: np.ndarray
    energy: float | None = None
    population: float | None = None
    spread: float | None = None


def make_starts(mol: Mol, kinds: Sequence[str], seed: int, oversampling: float = 1.0) -> list[Start]:
    """A start of each kind asked for, or none at all where ETKDG finds no geometry.

    Where ETKDG finds fewer than asked for, geometries repeat: the noise put on them still differs. MMFF94s
    starts stay plain ETKDG where there are no parameters or relaxing breaks the stereo.

    Args:
        mol: with explicit hydrogens.
        kinds: ``etkdg`` or ``mmff`` each.
        seed: any integer.
        oversampling: geometries made for each start; above 1 the starts are representatives of them
            (:func:`representatives`). Choosing here costs the network nothing.
    """
    numbers = {kind: math.ceil(count * oversampling - 1e-9) for kind, count in Counter(kinds).items()}
    embedded = embed(mol, sum(numbers.values()), seed) if kinds else []
    if not embedded:
        return []
    chosen: dict[str, Iterator[Start]] = {}
    first = 0
    for kind, number in numbers.items():
        places = dict.fromkeys((first + k) % len(embedded) for k in range(number))
        pool = [_start(mol, kind, embedded[place]) for place in places]
        chosen[kind] = cycle(representatives(mol, pool, kinds.count(kind)))
        first += number
    return [next(chosen[kind]) for kind in kinds]


def representatives(mol: Mol, pool: Sequence[Start], count: int) -> list[Start]:
    """The medoids of the starts that are not strained, with population and spread; all, if there are no more.

    Args:
        mol: the molecule.
        pool: starts of one kind.
        count: how many are wanted.
    """
    if len(pool) <= count:
        return list(pool)
    pool = unstrained(pool, count)
    selection = select(pairwise_rmsd(mol, np.stack([start.positions for start in pool])), count)
    population, spread = selection.shares()
    return [
        replace(pool[i], population=float(population[k]), spread=float(spread[k]))
        for k, i in enumerate(selection.picked)
    ]


def unstrained(pool: Sequence[Start], count: int) -> list[Start]:
    """Starts no more than :data:`STRAIN` above the lowest in energy, but never fewer than ``count``."""
    energies = [start.energy for start in pool if start.energy is not None]
    limit = min(energies, default=0.0) + STRAIN
    good = [start for start in pool if start.energy is None or start.energy <= limit]
    high = [start for start in pool if start.energy is not None and start.energy > limit]
    return good + sorted(high, key=lambda start: start.energy or 0.0)[: max(count - len(good), 0)]


def _start(mol: Mol, kind: str, embedded: np.ndarray) -> Start:
    if kind == "mmff":
        try:
            with rdBase.BlockLogs():
                relaxed, energy = relax(mol, embedded, "mmff")
        except (InputError, RuntimeError):
            return Start("etkdg", embedded)
        if sound(mol, relaxed):
            return Start("mmff", relaxed, energy)
    return Start("etkdg", embedded)
