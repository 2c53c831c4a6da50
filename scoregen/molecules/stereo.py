"""Does a geometry show the stereo and the bonds that its graph states?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol
from rdkit.Geometry import Point3D

from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.features import chiral_rows, cistrans_rows
from scoregen.molecules.vocabulary import CIS

FLAT = 0.1
"""Signed volume below which a centre counts as flat (a perfect tetrahedron has 0.77)."""

TWISTED = 0.3
"""|cos| of a dihedral below which a double bond counts as neither cis nor trans."""


class StereoCount(NamedTuple):
    """Stereo elements of a molecule: how many the input states and how many it leaves open."""

    specified: int
    unspecified: int


def list_stereo(mol: Mol) -> StereoCount:
    """Count stated and open stereo elements (tetrahedral centres and double bonds) of ``mol``."""
    kinds = (Chem.StereoType.Atom_Tetrahedral, Chem.StereoType.Bond_Double)
    found = [info for info in Chem.FindPotentialStereo(Chem.Mol(mol)) if info.type in kinds]
    stated = sum(info.specified == Chem.StereoSpecified.Specified for info in found)
    return StereoCount(stated, len(found) - stated)


def signed_volumes(rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Handedness of each centre from the unit vectors to its neighbours; positive = as stated.

    With three neighbours it is their triple product. With four it is the mean over the four triples that
    leave one neighbour out (signs permuted accordingly), which is a quarter of the volume product of the
    tetrahedron the neighbours span: in strained cages (bicyclobutanes, propellanes) a single triple may be
    flat while the tetrahedron is not.

    Args:
        rows: ``(C, 5)`` from :func:`~scoregen.molecules.features.chiral_rows`.
        positions: ``(N, 3)``, Å.

    Returns:
        ``(C,)``, between −1 and 1.
    """
    rows = rows.astype(np.int64)
    arms = positions[rows[:, 1:]] - positions[rows[:, :1]]
    arms = arms / np.maximum(np.linalg.norm(arms, axis=-1, keepdims=True), 1e-6)
    a, b, c, d = arms.transpose(1, 0, 2)
    three, four = _triple(a, b, c), _triple(a - d, b - d, c - d) / 4
    return np.where(rows[:, 4] < 0, three, four)


def dihedral_cosines(rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Cosine of the dihedral a-b-c-d of each row, ``(P,)``: 1 = cis, −1 = trans; 0 where undefined."""
    a, b, c, d = (positions[rows[:, k]] for k in range(4))
    first, second = np.cross(b - a, c - b), np.cross(c - b, d - c)
    length = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.asarray(np.einsum("pi,pi->p", first, second) / np.maximum(length, 1e-6))


def stereo_matches(mol: Mol, positions: np.ndarray) -> bool:
    """Whether the geometry shows every stereo element that ``mol`` states; open elements are free.

    Two checks must agree: signed volumes and dihedrals of the stated elements with a margin, so that flat
    centres and twisted double bonds fail; and the tags that RDKit reads from the geometry
    (``AssignStereochemistryFrom3D``), so that whoever reads the record sees the stated stereo.

    Args:
        mol: with explicit hydrogens and the stated tags (from SMILES or a reference geometry).
        positions: ``(N, 3)``, Å, in the atom order of ``mol``.
    """
    positions = np.asarray(positions, np.float64)
    if positions.shape != (mol.GetNumAtoms(), 3) or not np.isfinite(positions).all():
        return False
    centres, bonds = chiral_rows(mol), cistrans_rows(mol)
    if len(centres) and not (signed_volumes(centres, positions) > FLAT).all():
        return False
    if len(bonds):
        signs = np.where(bonds[:, 4] == CIS, 1.0, -1.0)
        if not (dihedral_cosines(bonds, positions) * signs > TWISTED).all():
            return False
    if not len(centres) and not len(bonds):
        return True
    read = with_positions(mol, positions)
    Chem.AssignStereochemistryFrom3D(read, replaceExistingTags=True)
    # Rows carry the orientation itself: equal rows are equal tags, whatever CIP label they bear.
    seen = {row[0]: row for row in _rows(chiral_rows(read))}
    for row in _rows(centres):
        # RDKit keeps tags of three-coordinate phosphorus and aziridines, but never reads them from 3D.
        if seen.get(row[0], row if row[4] < 0 else None) != row:
            return False
    return set(_rows(bonds)) <= set(_rows(cistrans_rows(read)))


def geometry_ok(mol: Mol, positions: np.ndarray, *, clash: float = 1.0) -> bool:
    """Whether coordinates are finite, bonds have lengths of bonds and nothing overlaps.

    A bond must measure 0.6 to 1.5 times the sum of its covalent radii. Two atoms without a bond between
    them must be further apart than ``clash`` times that sum: nearer, any program that perceives bonds would
    draw one.

    Args:
        mol: with explicit hydrogens.
        positions: ``(N, 3)``, Å.
        clash: allowed approach of non-bonded atoms, in sums of covalent radii.
    """
    positions = np.asarray(positions, np.float64)
    n = mol.GetNumAtoms()
    if positions.shape != (n, 3) or not np.isfinite(positions).all():
        return False
    table = Chem.GetPeriodicTable()
    radii = np.array([table.GetRcovalent(atom.GetAtomicNum()) for atom in mol.GetAtoms()])
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    ratio = distance / (radii[:, None] + radii[None])
    bonded = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()], int).reshape(-1, 2)
    lengths = ratio[bonded[:, 0], bonded[:, 1]]
    if not ((lengths > 0.6) & (lengths < 1.5)).all():
        return False
    ratio[bonded[:, 0], bonded[:, 1]] = ratio[bonded[:, 1], bonded[:, 0]] = np.inf
    np.fill_diagonal(ratio, np.inf)
    return bool((ratio >= clash).all())


def stereo_shown(mol: Mol, positions: np.ndarray) -> str:
    """Isomeric SMILES of what a geometry shows, open elements included.

    Args:
        mol: with explicit hydrogens.
        positions: ``(N, 3)``, Å; must show what ``mol`` states.
    """
    read = with_positions(mol, positions)
    Chem.AssignStereochemistryFrom3D(read, replaceExistingTags=True)
    for atom, stated in zip(read.GetAtoms(), mol.GetAtoms(), strict=True):
        if atom.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED:  # three-coordinate P, see stereo_matches
            atom.SetChiralTag(stated.GetChiralTag())
    return canonical_smiles(read)


def sound(mol: Mol, positions: np.ndarray) -> bool:
    """Whether a geometry may be written: every stated stereo element, no broken bond, no clash."""
    return geometry_ok(mol, positions) and stereo_matches(mol, positions)


def with_positions(mol: Mol, positions: np.ndarray) -> Mol:
    """Copy of ``mol`` with one 3D conformer (id 0) at ``positions`` ``(N, 3)``, Å."""
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    conformer = Chem.Conformer(copy.GetNumAtoms())
    conformer.Set3D(True)
    for i, (x, y, z) in enumerate(np.asarray(positions, np.float64).tolist()):
        conformer.SetAtomPosition(i, Point3D(x, y, z))
    copy.AddConformer(conformer, assignId=False)
    return copy


def _triple(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ci,ci->c", a, np.cross(b, c)))


def _rows(rows: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(row) for row in rows.tolist()]
