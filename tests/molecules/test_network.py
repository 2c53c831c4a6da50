"""Symmetries of the conformer network, with e3nn's rotations as the judge."""

import pytest
import torch
from e3nn import o3

from scoregen.molecules.graph import collate
from tests.molecules.helpers import SMILES, data_for, small_model

T = torch.tensor(0.5)


@pytest.fixture(scope="module")
def model():
    return small_model().double()


@pytest.fixture(scope="module")
def graphs():
    return collate([data_for(s) for s in SMILES])


def noisy(graphs, seed=0):
    space = graphs.space(torch.float64)
    torch.manual_seed(seed)
    return space, graphs.pos.double() + 0.5 * space.color(torch.randn_like(graphs.pos.double()))


@pytest.mark.parametrize("self_condition", [False, True])
def test_rotation_equivariance(model, graphs, self_condition):
    space, x = noisy(graphs)
    x = space.project(x)
    rotation = o3.rand_matrix(dtype=torch.float64)
    estimate = graphs.pos.double() if self_condition else None
    turned = estimate @ rotation.T if self_condition else None
    out = model(x, T, space, graphs.with_estimate(estimate)).x0
    out_turned = model(x @ rotation.T, T, space, graphs.with_estimate(turned)).x0
    assert (out - x).abs().max() > 1e-3, "the network must do something"
    torch.testing.assert_close(out_turned, out @ rotation.T, atol=1e-7, rtol=0)


def test_result_is_centred(model, graphs):
    space, x = noisy(graphs)
    out = model(space.project(x), T, space, graphs).x0
    torch.testing.assert_close(space.project(out), out, atol=1e-12, rtol=0)


def test_atom_permutation_equivariance(model):
    from rdkit import Chem

    from scoregen.molecules.features import featurise
    from scoregen.molecules.graph import molecule_data
    from tests.molecules.helpers import with_geometry

    mol, positions = with_geometry("C/C=C/[C@H](N)C(=O)O")
    order = torch.randperm(mol.GetNumAtoms(), generator=torch.Generator().manual_seed(3)).tolist()
    shuffled = Chem.RenumberAtoms(mol, order)
    outs = []
    for graph, x in ((mol, positions), (shuffled, positions[order])):
        batch = collate([molecule_data({**featurise(graph), "x": x})])
        outs.append(model(batch.pos.double(), T, batch.space(torch.float64), batch).x0)
    torch.testing.assert_close(outs[1], outs[0][order], atol=1e-6, rtol=0)


def test_a_molecule_is_the_same_alone_and_in_a_batch(model, graphs):
    space, x = noisy(graphs)
    x = space.project(x)
    together = model(x, T, space, graphs).x0
    for k, smiles in enumerate(SMILES):
        alone = collate([data_for(smiles)])
        mine = graphs.index == k
        out = model(x[mine], T, alone.space(torch.float64), alone).x0
        torch.testing.assert_close(out, together[mine], atol=1e-9, rtol=0)


def test_mirror_image_goes_with_the_mirrored_label(model):
    """Reflecting the input is undone by swapping R and S, and only then."""
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    left, right = collate([data_for("C[C@H](N)C(=O)O")]), collate([data_for("C[C@@H](N)C(=O)O")])
    space, x = noisy(left)
    x = space.project(x)
    out = model(x, T, space, left).x0
    swapped = model(x @ mirror, T, space, right).x0
    same = model(x @ mirror, T, space, left).x0
    torch.testing.assert_close(swapped, out @ mirror, atol=1e-9, rtol=0)
    assert (same - out @ mirror).abs().max() > 1e-4


def test_without_stated_stereo_reflections_commute(model):
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    graphs = collate([data_for("CCO")])
    space, x = noisy(graphs)
    x = space.project(x)
    torch.testing.assert_close(
        model(x @ mirror, T, space, graphs).x0, model(x, T, space, graphs).x0 @ mirror, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("level", [0.0051, 10.0])
def test_output_is_finite_at_the_ends_of_the_schedule(level):
    model = small_model()
    graphs = collate([data_for(s) for s in SMILES])
    space = graphs.space()
    out = model(level * space.color(torch.randn_like(graphs.pos)), torch.tensor(level), space, graphs).x0
    assert bool(torch.isfinite(out).all())
