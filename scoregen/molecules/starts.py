"""Geometries for the reverse process to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError

from .etkdg import embed
from .relax import relax
from .stereo import sound


@dataclass(frozen=True)
class Start:
    """A geometry to start from.

    Args:
        kind: ``etkdg`` or ``mmff``: what it really is, whatever was asked for.
        positions: ``(N, 3)`` Å.
        energy: MMFF94s, kcal/mol, of a relaxed one.
    """

    kind: str
    positions: np.ndarray
    energy: float | None = None


def make_starts(mol: Mol, kinds: Sequence[str], seed: int) -> list[Start]:
    """A start of each kind asked for, or none at all where ETKDG finds no geometry.

    Where ETKDG finds fewer than asked for, geometries repeat: the noise put on them still differs. MMFF94s
    starts stay plain ETKDG where there are no parameters or relaxing breaks the stereo.

    Args:
        mol: with explicit hydrogens.
        kinds: ``etkdg`` or ``mmff`` each.
        seed: any integer.
    """
    embedded = embed(mol, len(kinds), seed) if kinds else []
    if not embedded:
        return []
    made: dict[tuple[int, str], Start] = {}
    for k, kind in enumerate(kinds):
        place = k % len(embedded)
        if (place, kind) not in made:
            made[place, kind] = _start(mol, kind, embedded[place])
    return [made[k % len(embedded), kind] for k, kind in enumerate(kinds)]


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
