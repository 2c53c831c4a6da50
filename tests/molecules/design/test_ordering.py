"""Walks over a molecule: every atom once, what is kept first, neighbours near."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.molecules.chem import canonical_smiles, standardise
from scoregen.molecules.design.encode import decode, encode, in_smiles_order
from scoregen.molecules.design.ordering import depth_first, reordered
from tests.molecules.design.helpers import SMILES, arrays


@given(st.sampled_from(SMILES), st.integers(0, 2**20), st.data())
def test_a_walk_meets_every_atom_once_and_what_is_kept_first(smiles, seed, data):
    molecule = arrays(smiles)
    count = len(molecule["token"])
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    order = depth_first(molecule["bond"], kept, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(count))
    assert kept[order][: kept.sum()].all()
    turned = decode(reordered(molecule, order))
    Chem.SanitizeMol(turned)
    assert canonical_smiles(turned) == canonical_smiles(standardise(smiles), stereo=False)


@pytest.mark.parametrize("smiles", SMILES)
def test_every_atom_of_a_walk_is_bonded_to_one_before(smiles):
    molecule = arrays(smiles)
    count = len(molecule["token"])
    order = depth_first(molecule["bond"], np.zeros(count, bool), np.random.default_rng(1))
    again = reordered(molecule, order)
    assert set(again["bond"].max(1).tolist()) == set(range(1, count))
    # In depth: an atom that is not a new branch follows its neighbour at once.
    chain = arrays("CCCCCO")
    walked = reordered(chain, depth_first(chain["bond"], np.zeros(6, bool)))
    assert (np.diff(walked["bond"].astype(int)) == 1).all()


def test_new_atoms_are_met_from_what_is_kept():
    # Toluene with the methyl left out and a chain on the other side: c1ccc(CCC)cc1C
    molecule = arrays("c1ccc(CCC)cc1C")
    ring = np.array(
        [a.GetIsAromatic() for a in standardise("c1ccc(CCC)cc1C").GetAtoms() if a.GetAtomicNum() > 1]
    )
    order = depth_first(molecule["bond"], ring, np.random.default_rng(0))
    again = reordered(molecule, order)
    bonds = [tuple(b) for b in again["bond"].tolist()]
    for new in range(6, len(order)):
        assert any(j == new and i < new for i, j in bonds)


def test_positions_follow_their_atoms():
    molecule = arrays("CCO", placed=True)
    turned = reordered(molecule, np.array([2, 0, 1]))
    np.testing.assert_array_equal(turned["x"], molecule["x"][[2, 0, 1]])
    np.testing.assert_array_equal(turned["token"], molecule["token"][[2, 0, 1]])


@pytest.mark.parametrize("smiles", SMILES)
def test_smiles_order_does_not_depend_on_the_input(smiles):
    mol = Chem.MolFromSmiles(smiles)
    numbers = np.random.default_rng(4).permutation(mol.GetNumAtoms()).tolist()
    one, other = in_smiles_order(mol), in_smiles_order(Chem.RenumberAtoms(mol, numbers))
    np.testing.assert_array_equal(one["token"], other["token"])
    assert sorted(map(tuple, one["bond"].tolist())) == sorted(map(tuple, other["bond"].tolist()))
    assert len(one["token"]) == len(encode(mol)["token"])
