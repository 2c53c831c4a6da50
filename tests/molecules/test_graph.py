import itertools

import numpy as np
import torch

from scoregen.molecules.features import featurise
from scoregen.molecules.graph import PAIR_CIS, PAIR_TRANS, chiral_triples, collate, molecule_data
from scoregen.molecules.vocabulary import MAX_HOPS, NUM_BOND_FLAGS
from tests.molecules.helpers import SMILES, data_for, with_geometry


def test_triples_are_positive_in_the_stated_enantiomer():
    mol, positions = with_geometry("C[C@H](N)C(=O)O")
    triples = chiral_triples(featurise(mol)["chiral"].astype(np.int64))
    assert triples.shape == (4, 4)
    assert {frozenset(row[1:]) for row in triples.tolist()} == {
        frozenset(c) for c in itertools.combinations(set(triples[:, 1:].ravel().tolist()), 3)
    }
    for centre, a, b, c in triples:
        u, v, w = positions[[a, b, c]] - positions[centre]
        assert u @ np.cross(v, w) > 0


def test_double_bond_stereo_becomes_a_pair_type():
    for smiles, expected, other in (
        ("C/C=C/C(=O)O", PAIR_TRANS, PAIR_CIS),
        ("C/C=C\\C(=O)O", PAIR_CIS, PAIR_TRANS),
    ):
        mol, _ = with_geometry(smiles)
        code = molecule_data(featurise(mol)).code.reshape(mol.GetNumAtoms(), -1)
        types = code // (NUM_BOND_FLAGS * (MAX_HOPS + 1))
        # Atom order: C0 C1 C2 C3; the carbons at the ends are pair (0, 3).
        assert int(types[0, 3]) == expected and int(types[3, 0]) == expected
        assert int((types == other).sum()) > 0, "the hydrogens see the other relation"
        hidden = molecule_data(featurise(mol), stereo=False)
        assert int((hidden.code.reshape(types.shape) // (NUM_BOND_FLAGS * (MAX_HOPS + 1))).max()) < PAIR_CIS


def test_collated_batch_holds_each_molecule_unchanged():
    molecules = [data_for(s) for s in SMILES]
    batch = collate(molecules)
    longest = batch.mask.shape[1]
    assert batch.mask.sum(1).tolist() == [m.num_nodes for m in molecules]
    for k, molecule in enumerate(molecules):
        n = molecule.num_nodes
        np.testing.assert_array_equal(batch.code[k, :n, :n], molecule.code.reshape(n, n))
        assert not batch.code[k, n:].any() and not batch.factor[k, :, n:].any()
        mine = batch.triples[batch.triples[:, 0] // longest == k] - k * longest
        assert torch.equal(mine, molecule.triples)
    assert torch.equal(batch.pos, torch.cat([m.pos for m in molecules]))


def test_space_of_a_batch_is_centred_and_whitens_its_own_noise():
    batch = collate([data_for(s) for s in SMILES])
    space = batch.space(torch.float64)
    z = torch.randn(space.zeros().shape, dtype=torch.float64)
    centred = space.project(z)
    torch.testing.assert_close(space.whiten(space.color(centred)), centred, atol=1e-5, rtol=0)
    counts = torch.bincount(batch.index)
    assert torch.equal(space.dof(), 3.0 * (counts - 1).double())
