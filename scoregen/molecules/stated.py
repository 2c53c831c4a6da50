"""Stereo that an input states and that would be lost without a word.

What is kept is what RDKit's perception keeps, since that is what readers of the output see: tetrahedral
centres and double bonds. A molecule that states more is refused by name, because half of its records would be
wrong: axial chirality (allenes, atropisomers), cis/trans across three cumulated bonds,
trigonal-bipyramidal and octahedral centres, nitrogen bridgeheads as in Tröger's base, spiro centres and
exocyclic double bonds that are stereo only through a remote centre, and trans double bonds in small rings.
Statements that mean nothing (a tag on a centre with two equal arms, on an amine that inverts) pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from rdkit import Chem, rdBase
from rdkit.Chem import Atom, Bond, Mol

from scoregen.errors import InputError

_NONE = Chem.ChiralType.CHI_UNSPECIFIED
_NO_STEREO = Chem.BondStereo.STEREONONE
# Name, corners, and how many equal arms leave no stereo. No p-block centre is square-planar with four arms.
_POLYHEDRA = {
    Chem.ChiralType.CHI_SQUAREPLANAR: ("square-planar", 4, 0),
    Chem.ChiralType.CHI_TRIGONALBIPYRAMIDAL: ("trigonal-bipyramidal", 5, 5),
    Chem.ChiralType.CHI_OCTAHEDRAL: ("octahedral", 6, 5),
}
_ATROPISOMERS = (Chem.BondStereo.STEREOATROPCW, Chem.BondStereo.STEREOATROPCCW)
_TRANS = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
_DOUBLE = Chem.BondType.DOUBLE
_UP_DOWN = (Chem.BondDir.ENDUPRIGHT, Chem.BondDir.ENDDOWNRIGHT)


def refuse_lost_stereo(raw: Mol) -> None:
    """Raise :class:`InputError` if stereo that ``raw`` states would be lost.

    Args:
        raw: with the tags as parsed, before any clean-up (``sanitize=False``); left unchanged.
    """
    for atom in raw.GetAtoms():
        if atom.GetChiralTag() != _NONE and _cumulated(atom):
            _refuse("axial stereo (allene)", atom)
    stated = Chem.Mol(raw)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(stated)
        Chem.SetBondStereoFromDirections(stated)
        kept = Chem.Mol(stated)
        Chem.AssignStereochemistry(kept, cleanIt=True, force=True)
    refuse_unknown_kinds(stated)
    atoms = []
    for before, after in zip(raw.GetAtoms(), kept.GetAtoms(), strict=True):
        if before.GetChiralTag() != _NONE and after.GetChiralTag() == _NONE:
            atoms.append(stated.GetAtomWithIdx(before.GetIdx()))
            # Sanitising drops tags too, those of flattened nitrogen.
            atoms[-1].SetChiralTag(before.GetChiralTag())
    bonds = [
        bond
        for bond, after in zip(stated.GetBonds(), kept.GetBonds(), strict=True)
        if bond.GetStereo() != _NO_STEREO and after.GetStereo() == _NO_STEREO
    ]
    if atoms or bonds:
        _check_lost(stated, atoms, bonds)
    for bond in stated.GetBonds():
        if bond.GetBondDir() in _UP_DOWN:
            _check_cumulene(bond.GetBeginAtom())
            _check_cumulene(bond.GetEndAtom())


def refuse_unknown_kinds(mol: Mol) -> None:
    """Raise :class:`InputError` for stereo of kinds that are not kept; clear (in place) what means nothing.

    Octahedral tags mean nothing with five equal arms (SF5), trigonal-bipyramidal ones with five, and either
    with fewer arms than corners: RDKit reads such tags from distorted tetrahedra.
    """
    ranks: list[int] | None = None
    for atom in mol.GetAtoms():
        tag = atom.GetChiralTag()
        if tag not in _POLYHEDRA:
            continue
        ranks = ranks or list(Chem.CanonicalRankAtoms(mol, breakTies=False, includeChirality=False))
        arms = Counter(ranks[other.GetIdx()] for other in atom.GetNeighbors())
        name, corners, equal = _POLYHEDRA[tag]
        if sum(arms.values()) + atom.GetTotalNumHs() == corners and max(arms.values()) < equal:
            _refuse(f"{name} stereo", atom)
        atom.SetChiralTag(_NONE)
    for bond in mol.GetBonds():
        if bond.GetStereo() in _ATROPISOMERS:
            _refuse("axial stereo (atropisomer)", bond.GetBeginAtom())


def _check_lost(stated: Mol, atoms: Sequence[Atom], bonds: Sequence[Bond]) -> None:
    """Refuse marks that RDKit's clean-up dropped although they mean something.

    A mark means something if the molecule with that mark turned round is another one.
    """
    ranks = list(Chem.CanonicalRankAtoms(stated, breakTies=False, includeChirality=False))
    free = [atom.GetIdx() for atom in atoms if _inverts(atom) or _alike(atom, ranks)]
    for i in free:
        stated.GetAtomWithIdx(i).SetChiralTag(_NONE)
    for atom in atoms:
        if atom.GetIdx() not in free:
            turned = Chem.Mol(stated)
            turned.GetAtomWithIdx(atom.GetIdx()).InvertChirality()
            if not _same(stated, turned):
                _refuse("stereo that hangs on remote centres or on a bridge", atom)
    for bond in bonds:
        if _within_ring(stated, bond):
            if bond.GetStereo() in _TRANS:
                _refuse("a trans double bond in a ring of fewer than 8 atoms", bond.GetBeginAtom())
            continue
        turned = Chem.Mol(stated)
        trans = bond.GetStereo() in _TRANS
        turned.GetBondWithIdx(bond.GetIdx()).SetStereo(
            Chem.BondStereo.STEREOCIS if trans else Chem.BondStereo.STEREOTRANS
        )
        if not _same(stated, turned):
            _refuse("cis/trans stereo that hangs on remote centres", bond.GetBeginAtom())


def _same(mol: Mol, other: Mol) -> bool:
    """Whether two molecules of one graph are the same with every mark they carry, meaningful or not."""
    return bool(mol.HasSubstructMatch(other, useChirality=True))


def _refuse(what: str, atom: Atom) -> None:
    raise InputError(
        f"states {what} at atom {atom.GetIdx() + 1} ({atom.GetSymbol()}), which cannot be kept; "
        "leave that mark out to have it drawn freely"
    )


def _inverts(atom: Atom) -> bool:
    """Whether it is an amine, fast to turn over: not where all three bonds are held in a bridged ring."""
    if atom.GetAtomicNum() != 7 or atom.GetDegree() != 3:
        return False
    if not all(bond.IsInRing() for bond in atom.GetBonds()):
        return True
    rings = [set(ring) for ring in atom.GetOwningMol().GetRingInfo().AtomRings() if atom.GetIdx() in ring]
    # Rings that share more than a bond are bridged, not merely fused.
    return not any(len(one & two) > 2 for one, two in combinations(rings, 2))


def _alike(atom: Atom, ranks: Sequence[int]) -> bool:
    """Whether it is the top of a cage with three arms alike, as in quinuclidine: turned in, it breaks."""
    return atom.GetDegree() == 3 and len({ranks[other.GetIdx()] for other in atom.GetNeighbors()}) == 1


def _within_ring(mol: Mol, bond: Bond) -> bool:
    """Whether the atoms that the bond's stereo refers to lie in one ring with it."""
    atoms = {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), *bond.GetStereoAtoms()}
    return any(atoms <= set(ring) for ring in mol.GetRingInfo().AtomRings())


def _cumulated(atom: Atom) -> bool:
    bonds = atom.GetBonds()
    return len(bonds) == 2 and all(bond.GetBondType() == _DOUBLE for bond in bonds)


def _check_cumulene(end: Atom) -> None:
    """Refuse directions on both ends of an odd chain of three or more double bonds, whose ends are flat."""
    before, atom, length = end, _next_double(end, None), 1
    while atom is not None and _cumulated(atom):
        before, atom, length = atom, _next_double(atom, before), length + 1
    if atom is None or length < 3 or length % 2 == 0:
        return
    if any(bond.GetBondDir() in _UP_DOWN for bond in atom.GetBonds()):
        _refuse("cis/trans stereo across cumulated double bonds", end)


def _next_double(atom: Atom, before: Atom | None) -> Atom | None:
    for bond in atom.GetBonds():
        other: Atom = bond.GetOtherAtom(atom)
        if bond.GetBondType() == _DOUBLE and (before is None or other.GetIdx() != before.GetIdx()):
            return other
    return None
