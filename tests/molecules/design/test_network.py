"""Symmetries of the candidate network, and what it must be at the ends of the noise scale."""

import numpy as np
import pytest
import torch
from e3nn import o3

from scoregen.core.noise import Noise
from scoregen.molecules.design.allowed import allowed_orders, allowed_tokens
from scoregen.molecules.design.network import soft_walks, triangles
from scoregen.molecules.design.state import Condition, collate
from scoregen.molecules.design.tokens import INDEX, TOKENS, Token
from tests.molecules.design.helpers import SMILES, arrays, small_model


@pytest.fixture(scope="module")
def models():
    return {placed: small_model(placed).double() for placed in (False, True)}


def state_of(batch, placed, t, seed=0):
    space = batch.layout.space(placed, torch.float64)
    clean = space.pack({k: v.double() for k, v in batch.fields(placed).items()})
    return space, clean


def noisy(model, batch, placed, t=0.2):
    space, clean = state_of(batch, placed, t)
    time = torch.full((batch.layout.size,), t, dtype=torch.float64)
    alpha, sigma = model.sde.marginal(time)
    noise = Noise(0, torch.arange(batch.layout.size)).normal(space, 0)
    return space, space.expand(alpha, clean) * clean + space.expand(sigma, clean) * noise, time


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_atoms_may_be_numbered_in_any_way(placed, told):
    model = small_model(placed, numbered=False).double()
    molecule = arrays(SMILES[0], placed=True)
    n = len(molecule["token"])
    new = np.random.default_rng(2).permutation(n)
    turned = {
        "token": molecule["token"][np.argsort(new)],
        "bond": new[molecule["bond"].astype(int)],
        "order": molecule["order"],
        "x": molecule["x"][np.argsort(new)],
    }
    outs = []
    first = collate([molecule])
    space, x, time = noisy(model, first, placed)
    given = space.unpack(x)
    for batch, numbering in ((first, np.arange(n)), (collate([turned]), new)):
        space = batch.layout.space(placed, torch.float64)
        place = torch.from_numpy(np.argsort(numbering))
        dense = first.layout.dense_pairs(given["bonds"])[0][place][:, place]
        fields = {"atoms": given["atoms"][place], "bonds": batch.layout.flat_pairs(dense[None])}
        if placed:
            fields["coordinates"] = given["coordinates"][place]
        condition = Condition.free(batch.layout)
        packed = space.pack(fields)
        if told:
            condition = condition.with_estimate(model(packed, time, space, condition).x0)
        out = space.unpack(model(packed, time, space, condition).x0)
        back = torch.from_numpy(numbering)
        bonds = batch.layout.dense_pairs(out["bonds"])[0][back][:, back]
        outs.append([out["atoms"][back], bonds] + ([out["coordinates"][back]] if placed else []))
    for before, after in zip(*outs, strict=True):
        torch.testing.assert_close(after, before, atol=1e-9, rtol=0)


@pytest.mark.parametrize("placed", [False, True])
def test_other_molecules_of_the_batch_do_not_matter(models, placed):
    model = models[placed]
    batch = collate([arrays(smiles, placed=True) for smiles in SMILES])
    space, x, time = noisy(model, batch, placed)
    together = space.unpack(model(x, time, space, Condition.free(batch.layout)).x0)
    parts = space.unpack(x)
    atoms = pairs = 0
    for k, smiles in enumerate(SMILES):
        alone = collate([arrays(smiles, placed=True)])
        n, p = len(alone.token), len(alone.order)
        own = alone.layout.space(placed, torch.float64)
        sliced = {"atoms": slice(atoms, atoms + n), "bonds": slice(pairs, pairs + p)}
        sliced["coordinates"] = sliced["atoms"]
        out = own.unpack(
            model(
                own.pack({name: parts[name][sliced[name]] for name in own.fields}),
                time[k : k + 1],
                own,
                Condition.free(alone.layout),
            ).x0
        )
        for name, value in out.items():
            torch.testing.assert_close(value, together[name][sliced[name]], atol=1e-9, rtol=0)
        atoms, pairs = atoms + n, pairs + p


def test_turning_the_positions_turns_the_estimate(models):
    model = models[True]
    batch = collate([arrays(smiles, placed=True) for smiles in SMILES])
    space, x, time = noisy(model, batch, True)
    rotation = o3.rand_matrix(dtype=torch.float64)
    fields = space.unpack(x)
    turned = space.pack({**fields, "coordinates": fields["coordinates"] @ rotation.T})
    condition = Condition.free(batch.layout)
    one = space.unpack(model(x, time, space, condition).x0)
    other = space.unpack(model(turned, time, space, condition).x0)
    assert (one["coordinates"] - fields["coordinates"]).abs().max() > 1e-3, "the network must do something"
    torch.testing.assert_close(other["atoms"], one["atoms"], atol=1e-9, rtol=0)
    torch.testing.assert_close(other["bonds"], one["bonds"], atol=1e-9, rtol=0)
    torch.testing.assert_close(other["coordinates"], one["coordinates"] @ rotation.T, atol=1e-7, rtol=0)


def test_without_noise_the_estimate_is_the_state(models):
    batch = collate([arrays(smiles) for smiles in SMILES])
    space, clean = state_of(batch, False, 0.0)
    model = models[False]
    out = model(clean, torch.tensor(model.sde.t_min), space, Condition.free(batch.layout)).x0
    torch.testing.assert_close(out, clean, atol=1e-6, rtol=0)


def test_only_what_is_allowed_comes_out(models):
    model = models[False]
    batch = collate([arrays("CCO")])
    kept = np.array([True, True, False])
    tokens = allowed_tokens(batch.token.numpy(), kept, np.array([3, 0, 0]), np.array([3, 3, 0]))
    orders = allowed_orders(batch.order.numpy(), kept, np.array([True, False, False]))
    condition = Condition(
        batch.layout,
        torch.full((1, 5), float("nan")),
        torch.from_numpy(kept),
        torch.from_numpy(tokens),
        torch.from_numpy(orders),
    )
    space, x, _ = noisy(model, batch, False, 1.0)
    out = space.unpack(model(-x, torch.ones(1, dtype=torch.float64), space, condition).x0)
    assert out["atoms"][0].argmax() == INDEX[Token("C", 0, 3)]
    assert out["atoms"][0].max() == 1
    assert {TOKENS[i].element for i in (out["atoms"][1] > 0).nonzero()[:, 0]} == {"C"}
    # Pairs are (0, 1), (0, 2), (1, 2): kept, closed, open.
    assert out["bonds"][0, 1] == 1
    assert out["bonds"][1, 0] == 1
    assert (out["bonds"][2] > 0).all()


def test_walks_and_triangles_count():
    ring = torch.zeros(1, 5, 5)
    for i in range(5):
        ring[0, i, (i + 1) % 5] = ring[0, (i + 1) % 5, i] = 1
    walks = soft_walks(ring, 5)
    # A ring of five has no closed walk of one or three steps, and two of five from each atom, 2/2^5.
    returns = walks[0].diagonal(dim1=0, dim2=1)
    torch.testing.assert_close(returns[:, 0], torch.tensor([0.0, 0.5, 0.0, 0.375, 0.0625]))
    paths = triangles(ring[..., None], torch.ones(1, 1, 1, 1))[0, ..., 0]
    torch.testing.assert_close(paths, ring[0] @ ring[0])


def test_a_numbered_model_knows_neighbours_in_number():
    model = small_model().double()
    with torch.no_grad():
        model.network.near.weight[1] += torch.tensor([0.0, 5.0, 0.0, 0.0])
    batch = collate([arrays("CCCCCC")])
    space = batch.layout.space(False, torch.float64)
    out = space.unpack(model(space.zeros(), torch.tensor(1.0), space, Condition.free(batch.layout)).x0)
    apart = batch.layout.pair[:, 2] - batch.layout.pair[:, 1]
    assert out["bonds"][apart == 1, 1].min() > out["bonds"][apart > 1, 1].max()
