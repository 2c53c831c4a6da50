"""Tasks with a known answer: molecules cut where a chemist would, at single bonds outside rings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, Mol

from scoregen.molecules.chem import canonical_smiles

from .fragments import make_link, make_scaffold
from .kept import Link, Scaffold

KEPT = (0.4, 0.8)
"""Share of the heavy atoms that a scaffold task keeps."""

LINKER = (2, 12)
"""Heavy atoms of the linker that a link task takes out."""

LEAST_PIECE = 4
"""Fewest heavy atoms of each fragment of a link task."""


class _Cut(NamedTuple):
    """A bond to cut and the atoms on the side of its first atom, ``(n,)`` bool."""

    bond: int
    side: np.ndarray


class _Option(NamedTuple):
    """Bonds to cut and which atoms are kept, ``(n,)`` bool."""

    bonds: tuple[int, ...]
    kept: np.ndarray


def scaffold_task(mol: Mol, rng: np.random.Generator) -> Scaffold | None:
    """A connected piece of a molecule, marked where it was cut; the answer is the molecule.

    One or two bonds are cut: those of the BRICS rules (Degen et al. 2008) and those between a ring and what
    hangs on it; any acyclic single bond where these give nothing. The piece has 40 to 80 % of the heavy
    atoms; with two cuts it is what lies between them.

    Args:
        mol: sanitised; a 3D conformer gives the piece its positions.
        rng: the only source of chance.

    Returns:
        The piece, open at the cuts; None if no cut leaves such a piece.
    """
    heavy = _heavy(mol)
    if heavy is None:
        return None
    low, high = (share * heavy.GetNumAtoms() for share in KEPT)
    for bonds in (_preferred(heavy), _acyclic(heavy)):
        cuts = _cuts(heavy, bonds)
        one = [_Option((c.bond,), kept) for c in cuts for kept in (c.side, ~c.side)]
        two = [_Option((a.bond, b.bond), _between(a, b)) for a, b in combinations(cuts, 2)]
        kinds = [[o for o in options if low <= o.kept.sum() <= high] for options in (one, two)]
        kinds = [options for options in kinds if options]
        if kinds:
            options = kinds[int(rng.integers(len(kinds)))]
            option = options[int(rng.integers(len(options)))]
            return make_scaffold(_pieces(heavy, option), _name(mol))
    return None


def link_task(mol: Mol, rng: np.random.Generator) -> tuple[Link, int] | None:
    """Both ends of a molecule without its middle; the answer is the molecule.

    Args:
        mol: sanitised; a 3D conformer gives the pieces their positions.
        rng: the only source of chance.

    Returns:
        Two pieces of at least :data:`LEAST_PIECE` heavy atoms, one anchor each, and the heavy atoms of the
        linker taken out from between them, in :data:`LINKER`; None if the molecule has no such place.
    """
    heavy = _heavy(mol)
    if heavy is None:
        return None
    options = []
    for a, b in combinations(_cuts(heavy, _acyclic(heavy)), 2):
        middle = _between(a, b)
        ends = [int((~middle & side).sum()) for side in _ends(a, b)]
        if LINKER[0] <= middle.sum() <= LINKER[1] and min(ends) >= LEAST_PIECE:
            options.append(_Option((a.bond, b.bond), ~middle))
    if not options:
        return None
    option = options[int(rng.integers(len(options)))]
    link = make_link(_pieces(heavy, option), _name(mol), need_3d=False)
    return link, int((~option.kept).sum())


def _heavy(mol: Mol) -> Mol | None:
    """The molecule without hydrogens, or None if it is in pieces."""
    with rdBase.BlockLogs():
        heavy = Chem.RemoveAllHs(mol)
    return heavy if len(Chem.GetMolFrags(heavy)) == 1 else None


def _name(mol: Mol) -> str:
    title = mol.GetProp("_Name").strip() if mol.HasProp("_Name") else ""
    return title or canonical_smiles(mol)


def _acyclic(mol: Mol) -> list[int]:
    """Single bonds outside rings."""
    single = Chem.BondType.SINGLE
    return [b.GetIdx() for b in mol.GetBonds() if b.GetBondType() == single and not b.IsInRing()]


def _preferred(mol: Mol) -> list[int]:
    """Bonds a chemist would disconnect: BRICS, and those that hang something on a ring."""
    brics: Any = BRICS
    rules = {mol.GetBondBetweenAtoms(*atoms).GetIdx() for atoms, _ in brics.FindBRICSBonds(mol)}
    found = []
    for i in _acyclic(mol):
        bond = mol.GetBondWithIdx(i)
        if i in rules or bond.GetBeginAtom().IsInRing() or bond.GetEndAtom().IsInRing():
            found.append(i)
    return found


def _cuts(mol: Mol, bonds: Sequence[int]) -> list[_Cut]:
    return [_Cut(i, _side(mol, i)) for i in bonds]


def _side(mol: Mol, bond: int) -> np.ndarray:
    """Atoms that stay with the first atom of a bond when it is cut, ``(n,)`` bool."""
    start, barred = mol.GetBondWithIdx(bond).GetBeginAtomIdx(), mol.GetBondWithIdx(bond).GetEndAtomIdx()
    reached = np.zeros(mol.GetNumAtoms(), bool)
    reached[start] = True
    queue = [start]
    for i in queue:
        for other in mol.GetAtomWithIdx(i).GetNeighbors():
            j = other.GetIdx()
            if not reached[j] and (i, j) != (start, barred):
                reached[j] = True
                queue.append(j)
    return reached


def _ends(a: _Cut, b: _Cut) -> tuple[np.ndarray, np.ndarray]:
    """What two cuts take off a tree of pieces: the side of each that does not hold the other's bond."""
    # Of the four intersections of sides one is empty: the two sides that are disjoint are the ends.
    for first in (a.side, ~a.side):
        for second in (b.side, ~b.side):
            if not (first & second).any():
                return first, second
    raise ValueError("these are not two cuts of one connected molecule")


def _between(a: _Cut, b: _Cut) -> np.ndarray:
    """Atoms between two cuts, ``(n,)`` bool."""
    first, second = _ends(a, b)
    return np.asarray(~(first | second))


def _pieces(mol: Mol, option: _Option) -> Mol:
    """The kept atoms, a dummy atom at each cut."""
    with rdBase.BlockLogs():
        broken = Chem.FragmentOnBonds(mol, option.bonds, dummyLabels=[(0, 0)] * len(option.bonds))
        pieces = Chem.RWMol(broken)
        for atoms in Chem.GetMolFrags(broken):
            real = [i for i in atoms if i < len(option.kept)]
            if not option.kept[real].all():
                for i in atoms:
                    pieces.GetAtomWithIdx(i).SetIntProp("_drop", 1)
        pieces.BeginBatchEdit()
        for atom in pieces.GetAtoms():
            if atom.HasProp("_drop"):
                pieces.RemoveAtom(atom.GetIdx())
        pieces.CommitBatchEdit()
        kept = pieces.GetMol()
        Chem.SanitizeMol(kept)
    return kept
