import itertools

import numpy as np
import pytest

from scoregen.molecules.chem import standardise
from scoregen.molecules.features import chiral_rows
from scoregen.molecules.stereo import geometry_ok, list_stereo, stereo_matches, with_positions

from .samples import CHIRAL, DOUBLE, all_records, embedded, positions

MIRROR = np.array([1.0, 1.0, -1.0])


def test_measured_geometries_match_their_own_graph() -> None:
    stated = 0
    for mol in all_records():
        x = positions(mol)
        assert stereo_matches(mol, x) and geometry_ok(mol, x)
        centres = len(chiral_rows(mol))
        stated += centres
        assert stereo_matches(mol, x * MIRROR) == (centres == 0)
    assert stated > 100


@pytest.mark.parametrize("name", [*CHIRAL, *DOUBLE])
def test_embeddings_match_and_mirror_images_do_not(name: str) -> None:
    smiles = {**CHIRAL, **DOUBLE}[name]
    mol, geometries = embedded(smiles)
    for x in geometries:
        assert stereo_matches(mol, x)
        assert stereo_matches(mol, x * MIRROR) == (name in DOUBLE)


def test_every_diastereomer_matches_only_itself() -> None:
    """All eight stereoisomers of a molecule with three centres, one graph, same atom order."""
    marks = ("@", "@@")
    names = [f"O[C{a}H](C)[C{b}H](N)[C{c}H](F)Cl" for a, b, c in itertools.product(marks, repeat=3)]
    for i, j in itertools.product(range(8), repeat=2):
        assert stereo_matches(embedded(names[i])[0], embedded(names[j])[1][0]) == (i == j)


def test_ring_cis_trans_is_seen() -> None:
    cis, trans = (embedded(f"C[C@H]1CC[C{mark}H](C)CC1") for mark in ("@@", "@"))
    assert stereo_matches(cis[0], cis[1][0]) and stereo_matches(trans[0], trans[1][0])
    assert not stereo_matches(cis[0], trans[1][0]) and not stereo_matches(trans[0], cis[1][0])


def test_the_other_double_bond_isomer_is_refused() -> None:
    e, z = embedded(DOUBLE["(E)-crotonic acid"]), embedded(DOUBLE["(Z)-crotonic acid"])
    assert not stereo_matches(e[0], z[1][0]) and not stereo_matches(z[0], e[1][0])


def test_open_stereo_is_free() -> None:
    open_bond, open_centre = standardise("CC=CC(=O)O"), standardise("CC(N)C(=O)O")
    for name in ("(E)-crotonic acid", "(Z)-crotonic acid"):
        assert stereo_matches(open_bond, embedded(DOUBLE[name])[1][0])
    x = embedded(CHIRAL["alanine"])[1][0]
    assert stereo_matches(open_centre, x) and stereo_matches(open_centre, x * MIRROR)
    # One stated centre beside an open one.
    mixed = standardise("C[C@@H](O)C(N)C(=O)O")
    x = embedded(CHIRAL["threonine"])[1][0]
    assert stereo_matches(mixed, x) and not stereo_matches(mixed, x * MIRROR)


@pytest.mark.parametrize("name", ["alanine", "sulfoxide", "(E)-crotonic acid"])
def test_flat_bad_or_missing_coordinates_never_match(name: str) -> None:
    mol, geometries = embedded({**CHIRAL, **DOUBLE}[name])
    x = geometries[0]
    assert not stereo_matches(mol, x[:-1])
    assert not stereo_matches(mol, x * np.nan)
    assert not stereo_matches(mol, x * 0.0)
    if name in CHIRAL:
        assert not stereo_matches(mol, x * np.array([1.0, 1.0, 0.0]))


def test_twisted_double_bond_is_refused() -> None:
    mol, geometries = embedded("C/C=C/C")
    x = geometries[0].copy()
    moved = [
        0,
        1,
        *(a.GetIdx() for k in (0, 1) for a in mol.GetAtomWithIdx(k).GetNeighbors() if a.GetAtomicNum() == 1),
    ]
    axis = (x[2] - x[1]) / np.linalg.norm(x[2] - x[1])
    y = x[moved] - x[1]
    # A quarter turn about the double bond (Rodrigues).
    x[moved] = x[1] + np.cross(axis, y) + np.outer(y @ axis, axis)
    assert geometry_ok(mol, x)
    assert not stereo_matches(mol, x)


def test_counts_of_stereo_elements() -> None:
    assert list_stereo(standardise("C[C@H](N)C(=O)O")) == (1, 0)
    assert list_stereo(standardise("CC(N)C(=O)O")) == (0, 1)
    assert list_stereo(standardise("C[C@@H](O)C(N)/C=C/C")) == (2, 1)
    assert list_stereo(standardise("CC=CC")) == (0, 1)
    assert list_stereo(standardise("c1ccccc1CC")) == (0, 0)
    assert list_stereo(standardise(CHIRAL["morphine"])) == (5, 0)


def test_broken_geometries_are_refused() -> None:
    mol, geometries = embedded("CC(=O)Oc1ccccc1C(=O)O")
    x = geometries[0]
    assert geometry_ok(mol, x)
    assert not geometry_ok(mol, x * 0.5)
    assert not geometry_ok(mol, x * 2.0)
    assert not geometry_ok(mol, x[:, :2])
    broken = x.copy()
    broken[3, 0] = np.inf
    assert not geometry_ok(mol, broken)
    stretched = x.copy()
    stretched[-1] += 5.0
    assert not geometry_ok(mol, stretched)
    # Two hydrogens of the methyl group on one spot: every bond still has a good length.
    first, second = (a.GetIdx() for a in list(mol.GetAtomWithIdx(0).GetNeighbors())[1:3])
    overlapping = x.copy()
    overlapping[first] = overlapping[second] + 0.1
    assert not geometry_ok(mol, overlapping)


def test_with_positions_copies() -> None:
    mol, geometries = embedded("CCO")
    placed = with_positions(mol, geometries[0])
    assert mol.GetNumConformers() == 0 and placed.GetConformer(0).Is3D()
    assert np.allclose(placed.GetConformer().GetPositions(), geometries[0])
