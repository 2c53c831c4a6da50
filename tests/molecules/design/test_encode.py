"""Arrays of a molecule say all of its graph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, standardise
from scoregen.molecules.design.encode import decode, encode
from scoregen.molecules.design.tokens import INDEX, NUM_TOKENS, OPEN_ORDERS, TOKENS
from scoregen.molecules.design.validity import allowed_valences, problem
from tests.molecules.design.helpers import SMILES
from tests.molecules.samples import DATA


@pytest.mark.parametrize(
    "smiles", [*SMILES, "O=[N+]([O-])c1ccc(Cl)cc1", "CS(C)(=O)=O", "C[Si](C)(C)C", "OB(O)C"]
)
def test_round_trip_keeps_the_graph(smiles):
    mol = standardise(smiles)
    back = decode(encode(mol))
    assert problem(back) is None
    Chem.SanitizeMol(back)
    assert canonical_smiles(back) == canonical_smiles(mol, stereo=False)


def test_positions_come_back_centred():
    mol = next(iter(Chem.SDMolSupplier(str(DATA / "qm9_xtb_sample.sdf"), removeHs=False)))
    found = encode(mol)
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    there = mol.GetConformer().GetPositions()[heavy]
    np.testing.assert_allclose(found["x"], there - there.mean(0), atol=1e-5)
    np.testing.assert_allclose(decode(found).GetConformer().GetPositions(), found["x"], atol=1e-6)
    assert encode(mol, positions=False)["x"].shape == (0, 3)


@given(st.lists(st.integers(0, NUM_TOKENS - 1), min_size=2, max_size=6), st.data())
def test_decoding_repairs_nothing(token, data):
    pairs = [(i, j) for i in range(len(token)) for j in range(i + 1, len(token))]
    orders = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)))
    bonds = [pair for pair, order in zip(pairs, orders, strict=True) if order]
    mol = decode(
        {
            "token": np.array(token, np.uint8),
            "bond": np.array(bonds, np.int16).reshape(-1, 2),
            "order": np.array([order for order in orders if order], np.uint8),
        }
    )
    for atom, index in zip(mol.GetAtoms(), token, strict=True):
        assert (atom.GetSymbol(), atom.GetFormalCharge(), atom.GetNumExplicitHs()) == TOKENS[index]
    assert [int(bond.GetBondTypeAsDouble()) for bond in mol.GetBonds()] == [
        order for order in orders if order
    ]


def test_every_token_has_a_valence_that_exists():
    assert len(set(TOKENS)) == len(TOKENS) == len(INDEX) <= 255
    for token, orders in zip(TOKENS, OPEN_ORDERS, strict=True):
        assert token.hydrogens + orders in allowed_valences(token.element, token.charge), token


def test_what_has_no_token_is_named():
    with pytest.raises(InputError, match=r"no token for Se\+1"):
        encode(Chem.MolFromSmiles("C[Se+](C)C"))
    with pytest.raises(InputError, match="no order for a bond of type DATIVE"):
        encode(Chem.MolFromSmiles("[CH2]<-[NH2]C"))
