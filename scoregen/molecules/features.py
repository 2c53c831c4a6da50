"""A molecule as plain arrays: what `prepare` stores and what inference feeds to the same network.

Categories and their sizes are in :mod:`scoregen.molecules.vocabulary`.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import Atom, Bond, Mol

from scoregen.errors import InputError
from scoregen.molecules.vocabulary import (
    ATOMIC_NUMBERS,
    BOND_AROMATIC,
    BOND_DOUBLE,
    BOND_SINGLE,
    BOND_TRIPLE,
    CIS,
    FLAG_CONJUGATED,
    FLAG_RING,
    HYBRIDISATIONS,
    MAX_HOPS,
    TRANS,
)

_ELEMENT = {number: i for i, number in enumerate(ATOMIC_NUMBERS)}
_HYBRIDISATION = {
    getattr(Chem.HybridizationType, name): i for i, name in enumerate(HYBRIDISATIONS) if name != "OTHER"
}
_HYDROGEN = HYBRIDISATIONS.index("S")
_BOND_TYPE = {
    Chem.BondType.SINGLE: BOND_SINGLE,
    Chem.BondType.DOUBLE: BOND_DOUBLE,
    Chem.BondType.TRIPLE: BOND_TRIPLE,
    Chem.BondType.AROMATIC: BOND_AROMATIC,
    Chem.BondType.DATIVE: BOND_SINGLE,
}
_CCW = Chem.ChiralType.CHI_TETRAHEDRAL_CCW
_CW = Chem.ChiralType.CHI_TETRAHEDRAL_CW
_CIS = (Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS)
_TRANS = (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)


def featurise(mol: Mol) -> dict[str, np.ndarray]:
    """Arrays that describe the graph and the stated stereo of a molecule with explicit hydrogens.

    Args:
        mol: sanitised, one fragment, all hydrogens explicit (:func:`scoregen.molecules.chem.standardise`).

    Returns:
        ``z`` ``(N,)`` uint8 atomic numbers;
        ``atom`` ``(N, 7)`` int8, columns :data:`~scoregen.molecules.vocabulary.ATOM_COLUMNS`;
        ``bond`` ``(E, 2)`` int16, ``i < j``, each bond once; ``bond_type`` and ``bond_flag`` ``(E,)`` uint8;
        ``hops`` ``(N*N,)`` uint8, row-major topological distances clipped at 15;
        ``chiral`` ``(C, 5)`` int16, see :func:`chiral_rows`;
        ``cistrans`` ``(P, 5)`` int16, see :func:`cistrans_rows`.

    Raises:
        InputError: an element outside the vocabulary or a bond type without a category.
    """
    n = mol.GetNumAtoms()
    rings = _smallest_rings(mol)
    atoms = list(mol.GetAtoms())
    z = np.fromiter((atom.GetAtomicNum() for atom in atoms), np.uint8, n)
    bonds = list(mol.GetBonds())
    ends = [sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in bonds]
    pairs = np.array(ends, np.int16).reshape(-1, 2)
    hydrogens = np.zeros(n, np.int64)
    for i, j in pairs.tolist():
        hydrogens[i] += z[j] == 1
        hydrogens[j] += z[i] == 1
    try:
        atom_rows = [_atom_row(atom, rings[i], int(hydrogens[i])) for i, atom in enumerate(atoms)]
        bond_type = np.array([_BOND_TYPE[bond.GetBondType()] for bond in bonds], np.uint8)
    except KeyError as error:
        raise InputError(f"no category for {error}: standardise the molecule first") from None
    bond_flag = np.array([_bond_flag(bond) for bond in bonds], np.uint8)
    hops = np.minimum(Chem.GetDistanceMatrix(mol), MAX_HOPS).astype(np.uint8)
    return {
        "z": z,
        "atom": np.array(atom_rows, np.int8),
        "bond": pairs,
        "bond_type": bond_type,
        "bond_flag": bond_flag,
        "hops": hops.reshape(-1),
        "chiral": chiral_rows(mol),
        "cistrans": cistrans_rows(mol),
    }


def chiral_rows(mol: Mol) -> np.ndarray:
    """Rows ``(centre, a, b, c, d)`` int16 ``(C, 5)``, one for every tetrahedral centre with stated chirality.

    The neighbours are ordered so that in the stated enantiomer
    ``(r_a − r_centre) · ((r_b − r_centre) × (r_c − r_centre)) > 0``; ``d`` is the fourth neighbour, or −1 for
    a centre with three (sulfoxides, phosphines, nitrogen in small or bridged rings). Derived from the RDKit
    tag, which says that seen from the first neighbour (in the order of the atom's bonds) the others run
    counter-clockwise (CCW) or clockwise (CW); a missing fourth neighbour counts as the last. Seen from
    ``a``, counter-clockwise ``b, c, d`` means a positive triple product of ``a, b, c``.

    Atropisomers (axial chirality) and non-tetrahedral centres have no row here: their tags are ignored.
    """
    rows = []
    for atom in mol.GetAtoms():
        tag = atom.GetChiralTag()
        if tag not in (_CCW, _CW):
            continue
        centre = atom.GetIdx()
        around = [bond.GetOtherAtomIdx(centre) for bond in atom.GetBonds()]
        if len(around) not in (3, 4):
            continue
        if tag == _CW:
            around[0], around[1] = around[1], around[0]
        rows.append([centre, *around] if len(around) == 4 else [centre, *around, -1])
    return np.array(rows, np.int16).reshape(-1, 5)


def cistrans_rows(mol: Mol) -> np.ndarray:
    """Rows ``(a, b, c, d, code)`` int16 ``(P, 5)`` for every double bond ``b=c`` with stated stereo.

    One row for every pair of a substituent ``a`` on ``b`` and ``d`` on ``c`` (up to four a bond), hydrogens
    included; ``code`` is :data:`~scoregen.molecules.vocabulary.CIS` (dihedral a-b-c-d 0) or
    :data:`~scoregen.molecules.vocabulary.TRANS` (180°). Double bonds whose ring fixes them have no row.
    """
    rows = []
    for bond in mol.GetBonds():
        stereo = bond.GetStereo()
        if stereo not in _CIS and stereo not in _TRANS:
            continue
        b, c = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        first, last = bond.GetStereoAtoms()
        same = stereo in _CIS
        for a in _others(bond.GetBeginAtom(), c):
            for d in _others(bond.GetEndAtom(), b):
                # Swapping the substituent on one end turns cis into trans; on both ends, it changes nothing.
                cis = same ^ (a != first) ^ (d != last)
                rows.append([a, b, c, d, CIS if cis else TRANS])
    return np.array(rows, np.int16).reshape(-1, 5)


def _others(atom: Atom, excluded: int) -> list[int]:
    return [other.GetIdx() for other in atom.GetNeighbors() if other.GetIdx() != excluded]


def _atom_row(atom: Atom, ring: int, hydrogens: int) -> tuple[int, ...]:
    return (
        _ELEMENT[atom.GetAtomicNum()],
        min(max(atom.GetFormalCharge() + 3, 0), 6),
        min(atom.GetDegree(), 6),
        # RDKit leaves it open on hydrogens that AddHs made: a hydrogen is S wherever it came from.
        _HYDROGEN if atom.GetAtomicNum() == 1 else _HYBRIDISATION.get(atom.GetHybridization(), 0),
        int(atom.GetIsAromatic()),
        0 if ring == 0 else min(ring - 2, 7),
        min(hydrogens, 4),
    )


def _bond_flag(bond: Bond) -> int:
    return FLAG_RING * bond.IsInRing() + FLAG_CONJUGATED * bond.GetIsConjugated()


def _smallest_rings(mol: Mol) -> list[int]:
    """Size of the smallest ring of each atom, 0 outside rings."""
    smallest = [0] * mol.GetNumAtoms()
    for ring in mol.GetRingInfo().AtomRings():
        size = len(ring)
        for i in ring:
            if smallest[i] == 0 or size < smallest[i]:
                smallest[i] = size
    return smallest
