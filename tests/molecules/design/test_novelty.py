from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem, DataStructs

from scoregen.errors import InputError
from scoregen.molecules.design.novelty import (
    contains,
    fingerprints,
    hashes,
    internal_diversity,
    key,
    nearest,
    novelty,
    read_file,
    read_hashes,
    uniqueness,
    write_hashes,
)
from scoregen.molecules.design.validity import as_generated
from tests.molecules.samples import CHIRAL, DATA, DOUBLE, all_records


@pytest.mark.parametrize("smiles", [*CHIRAL.values(), *DOUBLE.values()])
def test_the_key_knows_neither_stereo_nor_hydrogens_nor_the_order_of_atoms(smiles):
    mol = Chem.MolFromSmiles(smiles)
    order = np.random.default_rng(1).permutation(mol.GetNumAtoms()).tolist()
    flat = Chem.Mol(mol)
    Chem.RemoveStereochemistry(flat)
    for other in (Chem.AddHs(mol), Chem.RenumberAtoms(mol, order), flat):
        assert key(other) == key(mol)
    assert not set("@/\\") & set(key(mol))


def test_the_key_is_the_same_from_the_kekulised_form():
    """What a generator makes and what a file says of the same molecule must meet."""
    for mol in all_records()[::2]:
        made = as_generated(mol)
        Chem.SanitizeMol(made)
        assert key(made) == key(mol) == key(Chem.MolFromSmiles(key(mol)))


@given(st.lists(st.sampled_from("ABCDEFGH")), st.sets(st.sampled_from("ABCDEFGH")))
def test_shares_are_those_of_sets(keys, known):
    table = hashes(known)
    assert len(table) == len(known) and (table[1:] > table[:-1]).all()
    assert contains(table, keys).tolist() == [k in known for k in keys]
    if not keys:
        assert np.isnan(uniqueness(keys)) and np.isnan(novelty(keys, known))
        return
    assert uniqueness(keys) == len(set(keys)) / len(keys)
    expected = len(set(keys) - known) / len(set(keys))
    assert novelty(keys, known) == pytest.approx(expected) == novelty(keys, table)


def test_hashes_are_the_same_everywhere_and_small():
    assert hashes(["CCO"]).tolist() == [0x6D200B6F6C9553C3]  # b2sum -l 64, read as a big-endian number
    assert hashes(["C", "CCO", "C"]).nbytes == 16


def test_tables_of_hashes_survive_their_file(tmp_path):
    table = hashes(f"C{'C' * n}" for n in range(50))
    write_hashes(tmp_path / "known.npy", table)
    np.testing.assert_array_equal(read_hashes(tmp_path / "known.npy"), table)
    for name, content in (("text.npy", b"CCO"), ("empty.npy", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_hashes(tmp_path / name)
    np.save(tmp_path / "mixed.npy", table[::-1])
    np.save(tmp_path / "object.npy", np.array(["CCO", None], object), allow_pickle=True)
    for name in ("mixed.npy", "object.npy", "none.npy"):
        with pytest.raises(InputError, match=name):
            read_hashes(tmp_path / name)


def test_files_give_their_molecules():
    assert [entry.name for entry in read_file(DATA / "drugs.smi")][:2] == ["caffeine", "(S)-ibuprofen"]
    assert sum(entry.mol is not None for entry in read_file(DATA / "conformer_benchmark_sample.sdf.gz")) == 80
    with pytest.raises(InputError, match="no such file"):
        list(read_file("CCO"))


def test_diversity_is_the_mean_over_pairs():
    prints = fingerprints(all_records()[-12:])
    pairs = [1 - DataStructs.TanimotoSimilarity(a, b) for a, b in combinations(prints, 2)]
    assert internal_diversity(prints) == pytest.approx(np.mean(pairs))
    assert internal_diversity(prints[:1] * 5) == 0
    assert np.isnan(internal_diversity(prints[:1]))
    part = internal_diversity(prints, limit=6, seed=3)
    assert part == internal_diversity(prints, limit=6, seed=3) and 0 < part < 1


def test_the_nearest_reference_is_found():
    smiles = ["CC(=O)Oc1ccccc1C(=O)O", "CCCCCC", "c1ccncc1"]
    references = fingerprints(map(Chem.MolFromSmiles, smiles))
    found = nearest(fingerprints([Chem.MolFromSmiles("CCCCCCC"), Chem.MolFromSmiles(smiles[0])]), references)
    assert [one.place for one in found] == [1, 0]
    assert found[1].similarity == 1
    assert nearest(references[:1], []) == [None]
