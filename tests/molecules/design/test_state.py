"""Layouts, packed states and batches of candidates."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.design.encode import decode
from scoregen.molecules.design.sampler import read
from scoregen.molecules.design.state import Condition, Layout, collate
from tests.molecules.design.helpers import SMILES, arrays


@given(st.lists(st.integers(2, 7), min_size=1, max_size=5))
def test_dense_and_flat_are_inverse(counts):
    layout = Layout.of(counts)
    pairs = torch.randn(len(layout.pair), 3)
    dense = layout.dense_pairs(pairs)
    torch.testing.assert_close(layout.flat_pairs(dense), pairs)
    torch.testing.assert_close(dense, dense.transpose(1, 2))
    assert (dense[~layout.pair_mask] == 0).all()
    assert int(layout.pair_mask.sum()) == 2 * len(pairs) == sum(n * (n - 1) for n in counts)
    atoms = torch.randn(sum(counts), 2)
    torch.testing.assert_close(layout.dense_atoms(atoms)[layout.mask], atoms)


def test_single_atoms_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        Layout.of([3, 1])


def test_a_batch_is_its_molecules():
    placed = [arrays(smiles, placed=True) for smiles in SMILES]
    batch = collate(placed)
    space = batch.layout.space(coordinates=True)
    state = space.pack(batch.fields(coordinates=True))
    back = read(batch.layout, space.unpack(state))
    for smiles, before, after in zip(SMILES, placed, back, strict=True):
        mol = decode(after)
        Chem.SanitizeMol(mol)
        assert canonical_smiles(mol) == canonical_smiles(Chem.MolFromSmiles(smiles), stereo=False)
        np.testing.assert_allclose(after["x"], before["x"], atol=1e-6)
        np.testing.assert_array_equal(after["token"], before["token"])


def test_without_properties_forgets_them_alone():
    condition = Condition.free(Layout.of([3, 4]))
    told = Condition(condition.layout, torch.zeros(2, 5), condition.kept, estimate=torch.ones(3))
    plain = told.without_properties()
    assert plain.properties.isnan().all()
    assert plain.estimate is told.estimate
    assert not told.properties.isnan().any()
