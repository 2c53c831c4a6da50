import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules import vocabulary
from scoregen.molecules.chem import standardise
from scoregen.molecules.features import chiral_rows, cistrans_rows, featurise
from scoregen.molecules.stereo import dihedral_cosines, signed_volumes

from .samples import CHIRAL, DOUBLE, all_records, embedded, pack, positions

MIRROR = np.array([-1.0, 1.0, 1.0])
STATED = {"glucose": 5, "morphine": 5, "cholesterol": 8, "camphor": 2, "spiro": 2, "quinine": 5}


def triples(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The definition, term by term."""
    centre, a, b, c = (x[rows[:, k]] for k in range(4))
    return np.sum((a - centre) * np.cross(b - centre, c - centre), axis=1)


@pytest.mark.parametrize("name", CHIRAL)
def test_rows_have_positive_volume_in_the_stated_enantiomer(name: str) -> None:
    mol, geometries = embedded(CHIRAL[name])
    rows = chiral_rows(mol)
    assert len(rows) == STATED.get(name, len(rows)) and len(rows) > 0
    for x in geometries:
        assert (triples(rows, x) > 0).all()
        assert (triples(rows, x * MIRROR) < 0).all()
        assert (signed_volumes(rows, x) > 0.1).all()


@pytest.mark.parametrize("name", CHIRAL)
def test_the_enantiomer_has_the_opposite_orientation(name: str) -> None:
    mol, geometries = embedded(CHIRAL[name])
    other = standardise(CHIRAL[name].replace("@@", "#").replace("@", "@@").replace("#", "@"))
    rows = chiral_rows(other)
    assert rows[:, 0].tolist() == chiral_rows(mol)[:, 0].tolist()
    assert (triples(rows, geometries[0]) < 0).all()
    assert (triples(rows, geometries[0] * MIRROR) > 0).all()


@pytest.mark.parametrize("name", CHIRAL)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_rows_survive_renumbering(name: str, seed: int) -> None:
    mol, geometries = embedded(CHIRAL[name])
    order = np.random.default_rng(seed).permutation(mol.GetNumAtoms())
    renumbered = Chem.RenumberAtoms(mol, order.tolist())
    rows = chiral_rows(renumbered)
    assert len(rows) == len(chiral_rows(mol))
    assert (triples(rows, geometries[0][order]) > 0).all()


def test_three_neighbours_end_in_minus_one() -> None:
    for name in ("sulfoxide", "sulfonium", "phosphine"):
        rows = chiral_rows(standardise(CHIRAL[name]))
        assert rows.shape == (1, 5) and rows[0, 4] == -1
    assert (chiral_rows(standardise(CHIRAL["menthol"]))[:, 4] >= 0).all()


@pytest.mark.parametrize("name", DOUBLE)
def test_cistrans_rows_agree_with_embedded_dihedrals(name: str) -> None:
    mol, geometries = embedded(DOUBLE[name])
    rows = cistrans_rows(mol)
    assert len(rows) > 0
    signs = np.where(rows[:, 4] == vocabulary.CIS, 1.0, -1.0)
    for x in geometries:
        assert (dihedral_cosines(rows, x) * signs > 0.5).all()
    # Every pair of substituents has its row.
    for b, c in {(int(b), int(c)) for b, c in rows[:, 1:3]}:
        degree = [mol.GetAtomWithIdx(i).GetDegree() - 1 for i in (b, c)]
        assert ((rows[:, 1] == b) & (rows[:, 2] == c)).sum() == degree[0] * degree[1]


def test_the_two_isomers_have_opposite_codes() -> None:
    e, z = (cistrans_rows(standardise(DOUBLE[f"({k})-crotonic acid"])) for k in "EZ")
    assert e[:, :4].tolist() == z[:, :4].tolist()
    assert (e[:, 4] + z[:, 4] == vocabulary.CIS + vocabulary.TRANS).all()


def test_open_stereo_has_no_rows() -> None:
    for smiles in ("CC(N)C(=O)O", "CC=CC", "c1ccccc1", "C1CCC=CC1", "CN(CC)c1ccccc1"):
        arrays = featurise(standardise(smiles))
        assert arrays["chiral"].shape == (0, 5) and arrays["cistrans"].shape == (0, 5)


def test_rows_of_measured_geometries_agree_with_their_coordinates() -> None:
    centres = bonds = 0
    for mol in all_records():
        arrays, x = featurise(mol), positions(mol)
        centres += len(arrays["chiral"])
        bonds += len(arrays["cistrans"])
        assert (signed_volumes(arrays["chiral"], x) > 0.1).all()
        signs = np.where(arrays["cistrans"][:, 4] == vocabulary.CIS, 1.0, -1.0)
        assert (dihedral_cosines(arrays["cistrans"], x) * signs > 0.3).all()
    assert centres > 100 and bonds > 20


def test_arrays_have_the_promised_types_and_ranges() -> None:
    for mol in [*all_records(), standardise("[H][H]"), standardise("O"), standardise("CC[Se]C")]:
        arrays, n, e = featurise(mol), mol.GetNumAtoms(), mol.GetNumBonds()
        shapes = {
            "z": ((n,), np.uint8),
            "atom": ((n, len(vocabulary.ATOM_COLUMNS)), np.int8),
            "bond": ((e, 2), np.int16),
            "bond_type": ((e,), np.uint8),
            "bond_flag": ((e,), np.uint8),
            "hops": ((n * n,), np.uint8),
            "chiral": ((len(arrays["chiral"]), 5), np.int16),
            "cistrans": ((len(arrays["cistrans"]), 5), np.int16),
        }
        assert {name: (value.shape, value.dtype) for name, value in arrays.items()} == shapes
        for k, column in enumerate(vocabulary.ATOM_COLUMNS):
            values = arrays["atom"][:, k]
            assert values.min() >= 0 and values.max() < vocabulary.NUM_CATEGORIES[column]
        assert (arrays["bond"][:, 0] < arrays["bond"][:, 1]).all()
        assert ((arrays["bond_type"] >= 1) & (arrays["bond_type"] < vocabulary.NUM_BOND_TYPES)).all()
        assert (arrays["bond_flag"] < vocabulary.NUM_BOND_FLAGS).all()


def test_known_values() -> None:
    arrays = featurise(standardise("C[N+](C)(C)CC(=O)[O-]"))  # betaine
    assert arrays["z"].tolist() == [6, 7, 6, 6, 6, 6, 8, 8] + [1] * 11
    columns = dict(zip(vocabulary.ATOM_COLUMNS, arrays["atom"].T, strict=True))
    assert columns["charge"].tolist()[:8] == [3, 4, 3, 3, 3, 3, 3, 2]
    assert columns["degree"].tolist()[:8] == [4, 4, 4, 4, 4, 3, 1, 1]
    assert columns["hydrogens"].tolist()[:8] == [3, 0, 3, 3, 2, 0, 0, 0]
    sp2, sp3 = vocabulary.HYBRIDISATIONS.index("SP2"), vocabulary.HYBRIDISATIONS.index("SP3")
    assert columns["hybridisation"].tolist()[4:6] == [sp3, sp2]

    arrays = featurise(standardise("C1CC1C=Cc1ccc2ccccc2c1"))
    ring = arrays["atom"][:, vocabulary.ATOM_COLUMNS.index("ring_size")]
    assert ring[:6].tolist() == [1, 1, 1, 0, 0, 4]
    kinds = Counter(arrays["bond_type"].tolist())
    assert kinds[vocabulary.BOND_DOUBLE] == 1 and kinds[vocabulary.BOND_AROMATIC] == 11
    assert ((arrays["bond_flag"] & vocabulary.FLAG_RING) > 0).sum() == 14


def test_hops_are_shortest_paths() -> None:
    mol = standardise("C" * 20)
    n, arrays = mol.GetNumAtoms(), featurise(mol)
    hops = arrays["hops"].reshape(n, n)
    assert hops[0, :20].tolist() == [min(k, vocabulary.MAX_HOPS) for k in range(20)]
    assert (hops == hops.T).all() and (np.diag(hops) == 0).all()
    assert {tuple(pair) for pair in np.argwhere(np.triu(hops) == 1).tolist()} == {
        tuple(pair) for pair in arrays["bond"].tolist()
    }


def test_smiles_and_geometry_give_the_same_description() -> None:
    """What `prepare` stores of a record is what inference computes from its SMILES, up to the atom order."""
    for mol in [*pack("qm9_xtb_sample.sdf")[::5], *pack("cascade_dft_sample.sdf")]:
        again = standardise(Chem.MolToSmiles(Chem.RemoveHs(mol)))
        match = list(again.GetSubstructMatch(mol, useChirality=True))
        assert len(match) == mol.GetNumAtoms()
        here, there, square = featurise(mol), featurise(again), (len(match), len(match))
        assert (here["atom"] == there["atom"][match]).all()
        assert (here["hops"].reshape(square) == there["hops"].reshape(square)[np.ix_(match, match)]).all()
        assert _bonds(here, range(len(match))) == _bonds(there, np.argsort(match))
        x = np.empty_like(positions(mol))
        x[match] = positions(mol)
        assert len(there["chiral"]) == len(here["chiral"])
        assert (signed_volumes(there["chiral"], x) > 0.1).all()
        assert len(there["cistrans"]) == len(here["cistrans"])
        signs = np.where(there["cistrans"][:, 4] == vocabulary.CIS, 1.0, -1.0)
        assert (dihedral_cosines(there["cistrans"], x) * signs > 0.3).all()


def _bonds(arrays: dict[str, np.ndarray], names: Sequence[int]) -> set[tuple[int, ...]]:
    ends = (sorted(int(names[k]) for k in pair) for pair in arrays["bond"])
    kinds = zip(arrays["bond_type"].tolist(), arrays["bond_flag"].tolist(), strict=True)
    return {(*pair, *kind) for pair, kind in zip(ends, kinds, strict=True)}


def test_unsupported_element_is_named_not_guessed() -> None:
    with pytest.raises(InputError, match="category"):
        featurise(Chem.AddHs(Chem.MolFromSmiles("C[Hg]C")))


def test_vocabulary_needs_no_rdkit() -> None:
    code = (
        "import sys; sys.modules['rdkit'] = None; import scoregen.molecules.vocabulary as v; v.NUM_CATEGORIES"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    table = Chem.GetPeriodicTable()
    assert [table.GetAtomicNumber(e) for e in vocabulary.ELEMENTS] == list(vocabulary.ATOMIC_NUMBERS)
