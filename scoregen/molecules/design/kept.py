"""What a candidate must keep, and whether it does: a scaffold to grow from, or two fragments to link.

A kept atom stays what it is: element, charge, its bonds to other kept atoms, its position where it has one.
Only *open* atoms may bond to new atoms, and they pay for it in hydrogens: one for each order of a new bond.
So every valence stays the one the input states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Atom, Mol

from scoregen.molecules.chem import has_3d

_SIDES = {
    Chem.BondStereo.STEREOZ: Chem.BondStereo.STEREOCIS,
    Chem.BondStereo.STEREOE: Chem.BondStereo.STEREOTRANS,
    Chem.BondStereo.STEREOCIS: Chem.BondStereo.STEREOCIS,
    Chem.BondStereo.STEREOTRANS: Chem.BondStereo.STEREOTRANS,
}

MOVED = 1e-4
"""A kept atom may be found this far from where it was, Å: what an SDF's four decimals cost."""


@dataclass(frozen=True, eq=False)
class Scaffold:
    """Atoms to keep.

    Args:
        mol: sanitised, heavy atoms only, hydrogens counted on them (``NoImplicit``); where new atoms may
            bond it carries hydrogens.
        open: atom index → orders of new bonds that atom may take, at most its hydrogens.
        positions: ``(n, 3)`` Å, or None where only the graph is kept.
        source: what it came from, for messages.
    """

    mol: Mol
    open: Mapping[int, int]
    positions: np.ndarray | None = None
    source: str = "scaffold"

    @property
    def size(self) -> int:
        """Heavy atoms kept."""
        return int(self.mol.GetNumAtoms())

    @property
    def pieces(self) -> tuple[tuple[int, ...], ...]:
        """Atoms of each connected piece."""
        return tuple(Chem.GetMolFrags(self.mol))

    @cached_property
    def graph(self) -> Scaffold:
        """The same without positions and stereo: what a drawn graph can be held against."""
        flat = Chem.Mol(self.mol)
        Chem.RemoveStereochemistry(flat)
        return Scaffold(flat, self.open, None, self.source)

    def isomer(self, mol: Mol) -> Mol | None:
        """A molecule with the stereo that the scaffold states, and no other; None if it does not keep all.

        Args:
            mol: sanitised, without stereo tags. What the scaffold leaves open stays open. Coordinates that
                show another stereo than the scaffold states are left out: the graph keeps it, its drawing
                does not.
        """
        found = self.graph.contained(mol)
        if found is None or self.positions is not None or not stated_stereo(self.mol):
            return mol if found is not None else None
        whole = Chem.Mol(mol)
        # A tag is right or wrong for its centre alone, so each is tried alone.
        for centre, query in self._centres:
            for tag in (Chem.ChiralType.CHI_TETRAHEDRAL_CW, Chem.ChiralType.CHI_TETRAHEDRAL_CCW):
                whole.GetAtomWithIdx(found[centre]).SetChiralTag(tag)
                if _matches(whole, query, found):
                    break
        for bond in self.mol.GetBonds():
            if bond.GetStereo() in _SIDES:
                ends = (found[bond.GetBeginAtomIdx()], found[bond.GetEndAtomIdx()])
                image = whole.GetBondBetweenAtoms(*ends)
                beside = [found[i] for i in bond.GetStereoAtoms()]
                image.SetStereoAtoms(*(beside if image.GetBeginAtomIdx() == ends[0] else beside[::-1]))
                image.SetStereo(_SIDES[bond.GetStereo()])
        Chem.SetDoubleBondNeighborDirections(whole)  # or the next line forgets the double bonds
        Chem.AssignStereochemistry(whole, cleanIt=True, force=True)
        if self.contained(whole) is not None:
            return whole
        whole.RemoveAllConformers()  # they decide before the tags do
        return whole if self.contained(whole) is not None else None

    @cached_property
    def _centres(self) -> list[tuple[int, Mol]]:
        """Each centre with a stated configuration, and the graph with no other."""
        found = []
        for atom in self.mol.GetAtoms():
            if atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED:
                alone = Chem.Mol(self.graph.mol)
                alone.GetAtomWithIdx(atom.GetIdx()).SetChiralTag(atom.GetChiralTag())
                found.append((atom.GetIdx(), alone))
        return found

    def contained(self, mol: Mol) -> tuple[int, ...] | None:
        """Where the kept atoms are in a finished molecule, if it keeps all that was to be kept.

        Kept atoms have the element, charge and valence they had, bonds of the same type between them and no
        others; they lost hydrogens only where they are open, no more than allowed there, and only to new
        bonds. With positions, each lies within :data:`MOVED` of where it was, in the same frame; without,
        the molecule shows the stereo that the scaffold states.

        Args:
            mol: any molecule, hydrogens explicit or not; left unchanged. Stereo is read from its first
                conformer if that is 3D, else from its tags.

        Returns:
            For every kept atom the index of an atom of ``mol``, or None.
        """
        whole = Chem.Mol(mol)
        with rdBase.BlockLogs():
            try:
                Chem.SanitizeMol(whole)
            except (Chem.MolSanitizeException, ValueError):
                return None
        if self.positions is not None:
            return self._placed(whole)
        if has_3d(whole):
            Chem.AssignStereochemistryFrom3D(whole, replaceExistingTags=True)
        settings: Any = Chem.SubstructMatchParameters()
        settings.uniquify = False
        settings.setExtraFinalCheck(lambda found, match: self._kept(found, list(match)))
        return tuple(whole.GetSubstructMatch(self.mol, settings)) or None

    def _placed(self, whole: Mol) -> tuple[int, ...] | None:
        """The match by position."""
        if not has_3d(whole):
            return None
        heavy = np.array([atom.GetIdx() for atom in whole.GetAtoms() if atom.GetAtomicNum() > 1], int)
        if len(heavy) < self.size:
            return None
        places = whole.GetConformer().GetPositions()[heavy]
        distance = np.linalg.norm(places[None] - np.asarray(self.positions)[:, None], axis=-1)
        nearest = distance.argmin(1)
        match = [int(i) for i in heavy[nearest]]
        there = distance.min(1).max() <= MOVED
        return tuple(match) if there and self._agrees(whole, match) else None

    def _kept(self, whole: Mol, match: Sequence[int]) -> bool:
        return self._agrees(whole, match) and self._same_stereo(whole, match)

    def _agrees(self, whole: Mol, match: Sequence[int]) -> bool:
        """Whether the graph is kept under this match."""
        for i, j in enumerate(match):
            before, after = self.mol.GetAtomWithIdx(i), whole.GetAtomWithIdx(j)
            if _kind(before) != _kind(after):
                return False
            # Of one valence and with the same bonds between kept atoms: what was lost went to new bonds.
            lost = before.GetTotalNumHs() - after.GetTotalNumHs(includeNeighbors=True)
            if lost > self.open.get(i, 0):
                return False
        place = {j: i for i, j in enumerate(match)}
        between = {
            frozenset((place[bond.GetBeginAtomIdx()], place[bond.GetEndAtomIdx()])): bond.GetBondType()
            for bond in whole.GetBonds()
            if bond.GetBeginAtomIdx() in place and bond.GetEndAtomIdx() in place
        }
        return between == self._bonds

    def _same_stereo(self, whole: Mol, match: Sequence[int]) -> bool:
        """Whether stated stereo is shown, wherever it still means something in the whole molecule."""
        if not stated_stereo(self.mol):
            return True
        query = Chem.Mol(self.mol)
        open_centres = {
            (str(info.type), int(info.centeredOn)) for info in Chem.FindPotentialStereo(Chem.Mol(whole))
        }
        for atom in query.GetAtoms():
            if ("Atom_Tetrahedral", match[atom.GetIdx()]) not in open_centres:
                atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        for bond in query.GetBonds():
            image = whole.GetBondBetweenAtoms(match[bond.GetBeginAtomIdx()], match[bond.GetEndAtomIdx()])
            if ("Bond_Double", image.GetIdx()) not in open_centres:
                bond.SetStereo(Chem.BondStereo.STEREONONE)
        return _matches(whole, query, match)

    @cached_property
    def _bonds(self) -> dict[frozenset[int], Chem.BondType]:
        return {
            frozenset((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())): bond.GetBondType()
            for bond in self.mol.GetBonds()
        }


@dataclass(frozen=True, eq=False)
class Link(Scaffold):
    """Two pieces to be joined by new atoms; open atoms are the anchors."""

    @property
    def anchors(self) -> tuple[tuple[int, ...], ...]:
        """Open atoms of each piece, in the order of :attr:`pieces`."""
        return tuple(tuple(i for i in piece if i in self.open) for piece in self.pieces)


def _matches(mol: Mol, query: Mol, match: Sequence[int]) -> bool:
    """Whether a molecule shows the stereo of a query under this match."""
    settings: Any = Chem.SubstructMatchParameters()
    settings.uniquify, settings.useChirality = False, True
    settings.setExtraFinalCheck(lambda _, found: list(found) == list(match))
    return bool(mol.HasSubstructMatch(query, settings))


def stated_stereo(mol: Mol) -> int:
    """How many centres and double bonds have stated stereo."""
    atoms = sum(atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED for atom in mol.GetAtoms())
    return atoms + sum(bool(bond.GetStereo() > Chem.BondStereo.STEREOANY) for bond in mol.GetBonds())


def _kind(atom: Atom) -> tuple[int, int, int, int]:
    """Element, charge, unpaired electrons, valence (hydrogens included)."""
    return atom.GetAtomicNum(), atom.GetFormalCharge(), atom.GetNumRadicalElectrons(), atom.GetTotalValence()
