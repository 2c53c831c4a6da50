"""Training of candidate models: batches, what is told of them, and a loss that falls."""

import math

import numpy as np
import pytest
import torch

from scoregen.errors import InputError
from scoregen.molecules.design.objective import (
    CandidateDataConfig,
    CandidateTask,
    build_denoiser,
    process,
)
from scoregen.molecules.design.tokens import NUM_ORDERS, NUM_TOKENS, PROPERTIES, PROPERTY_SCALES
from tests.molecules.design.helpers import small_cache, small_config


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return small_cache(tmp_path_factory.mktemp("cache"))


def task(cache, coordinates=False, **data):
    return CandidateTask(small_config(coordinates), CandidateDataConfig(cache=cache, pairs=1500, **data), 0)


def test_batches_depend_on_seed_and_step_alone(cache):
    one, other = task(cache).batch(3), task(cache).batch(3)
    for name in ("token", "order", "x"):
        assert torch.equal(getattr(one.candidates, name), getattr(other.candidates, name))
    assert torch.equal(one.condition.tokens, other.condition.tokens)
    assert not torch.equal(one.ids, task(cache).batch(4).ids)


def test_what_is_allowed_holds_what_is_true(cache):
    kept = 0
    for step in range(20):
        batch = task(cache, keep=1.0).batch(step)
        clean = batch.candidates.fields(coordinates=False)
        condition = batch.condition
        kept += int(condition.kept.sum())
        assert condition.tokens.gather(1, batch.candidates.token[:, None]).all()
        assert condition.orders.gather(1, batch.candidates.order[:, None]).all()
        assert clean["atoms"].shape[1] == NUM_TOKENS == condition.tokens.shape[1]
        free = ~condition.kept
        assert condition.tokens[free].all()
        first, last = condition.layout.pair[:, 1], condition.layout.pair[:, 2]
        start = condition.layout.counts.cumsum(0) - condition.layout.counts
        of = start[condition.layout.pair[:, 0]]
        both = condition.kept[of + first] & condition.kept[of + last]
        assert (condition.orders[both].sum(1) == 1).all()
        none = free[of + first] & free[of + last]
        assert (condition.orders[none].sum(1) == NUM_ORDERS).all()
    assert kept > 100


def test_told_properties_are_those_of_the_molecule(cache):
    made = task(cache, tell=1.0)
    seen = 0
    for step in range(10):
        batch = made.batch(step)
        values = np.stack([made.cache[int(i)]["property"] for i in batch.ids])
        centre, width = np.array(PROPERTY_SCALES).T
        told = batch.condition.properties.numpy()
        known = np.isfinite(told)
        np.testing.assert_allclose((told * width + centre)[known], values[known], rtol=1e-4, atol=1e-4)
        seen += known.sum()
    assert 0.35 < seen / (sum(len(made.batch(s).ids) for s in range(10)) * len(PROPERTIES)) < 0.65
    assert task(cache, tell=0.0).batch(0).condition.properties.isnan().all()
    assert all(batch.condition.properties.isnan().all() for batch in made.dev_batches())


@pytest.mark.parametrize("coordinates", [False, True])
def test_the_loss_falls(cache, coordinates):
    config = small_config(coordinates)
    made = CandidateTask(config, CandidateDataConfig(cache=cache, pairs=1500, keep=0.0), 0)
    torch.manual_seed(0)
    denoiser = build_denoiser(config)
    held = made.dev_batches()

    def held_out():
        with torch.no_grad():
            return [made.loss(denoiser, batch, -1 - k) for k, batch in enumerate(held)]

    before = held_out()
    optimizer = torch.optim.Adam(denoiser.parameters(), 3e-3)
    for step in range(40):
        loss = made.loss(denoiser, made.batch(step), step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = held_out()
    for name in before[0]:
        assert sum(float(a[name]) for a in after) < sum(float(b[name]) for b in before), name


def test_the_estimate_told_is_of_more_noise_and_of_other_noise(cache):
    made = task(cache, coordinates=True)
    denoiser = build_denoiser(made.model)
    calls = []

    def spy(x, t, space, condition):
        calls.append((x, t, space, condition))
        return denoiser(x, t, space, condition)

    spy.sde = denoiser.sde
    told = 0
    for step in range(12):
        calls.clear()
        batch = made.batch(step)
        made.loss(spy, batch, step)
        x, t, space, condition = calls[-1]
        assert (condition.estimate is None) == (len(calls) == 1)
        if len(calls) == 1:
            continue
        told += 1
        before, earlier, _, bare = calls[0]
        assert bare.estimate is None
        assert not condition.estimate.requires_grad
        assert (t <= earlier).all()
        assert (earlier < 1.36 * t).all()
        clean = space.pack(batch.candidates.fields(True))
        one, other = (
            (space.unpack(state)["bonds"] - space.unpack(clean)["bonds"])
            / denoiser.sde.marginal(time)[1][:, 1].float()[space.fields["bonds"].index, None]
            for state, time in ((x, t), (before, earlier))
        )
        assert float(one.square().mean()) == pytest.approx(1.0, abs=0.1)
        assert abs(float((one * other).mean())) < 0.05
    assert 2 <= told <= 10


def test_a_pose_is_that_of_given_atoms_and_seen_in_the_estimate_alone(cache):
    made = task(cache, coordinates=True, keep=1.0)
    denoiser = build_denoiser(made.model)
    calls = []

    def spy(x, t, space, condition):
        calls.append((space, condition))
        return denoiser(x, t, space, condition)

    spy.sde = denoiser.sde
    told, posed, given = 0, 0, 0
    for step in range(12):
        calls.clear()
        batch = made.batch(step)
        pose = batch.condition.pose
        known = pose.isfinite().all(1)
        assert (known <= batch.condition.kept).all()
        torch.testing.assert_close(pose[known], batch.candidates.x[known])
        posed, given = posed + int(known.sum()), given + int(batch.condition.kept.sum())
        made.loss(spy, batch, step)
        if len(calls) == 2:
            space, condition = calls[1]
            x = space.unpack(condition.estimate)["coordinates"]
            layout = condition.layout
            first, second, owner = known[:-1], known[1:], layout.atom
            pairs = first & second & (owner[:-1] == owner[1:])
            seen, true = ((p[1:] - p[:-1]).norm(dim=1)[pairs] for p in (x, pose))
            torch.testing.assert_close(seen, true, atol=1e-4, rtol=0)
            told += int(pairs.sum())
    assert told > 20
    assert 0.3 < posed / given < 0.7
    assert task(cache, keep=1.0).batch(0).condition.pose is None
    assert task(cache, coordinates=True, keep=1.0, pose=0.0).batch(0).condition.pose.isnan().all()


def test_a_fresh_model_knows_no_more_than_the_prior(cache):
    """At the highest noise the loss of the bonds is the entropy of the prior, within what the data differ."""
    made = task(cache, log_sigma_mean=math.log(5), log_sigma_std=1e-3)
    torch.manual_seed(0)
    with torch.no_grad():
        found = [made.loss(build_denoiser(small_config()), batch, -2) for batch in made.dev_batches()]
    uniform = math.log(NUM_TOKENS)
    assert sum(float(f["atoms"]) for f in found) / len(found) == pytest.approx(uniform, rel=0.05)
    assert all(float(f["bonds"]) < 5 for f in found)


def test_coordinates_reach_their_ends_with_the_categories():
    config = small_config(coordinates=True)
    sde = process(config)
    low, high = (sde.marginal(torch.tensor(t))[1] for t in (sde.t_min, sde.t_max))
    torch.testing.assert_close(low, torch.tensor([0.15, 0.15, 0.01], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(high, torch.tensor([5.0, 5.0, 20.0], dtype=torch.float64), atol=1e-6, rtol=0)


def test_provenance_tells_the_sizes(cache):
    made = task(cache)
    sizes = made.provenance()["sizes"]
    assert sum(sizes.values()) == len(made.cache.select(split="train"))
    assert all(int(size) >= 2 for size in sizes)
    mass = made.provenance()["mass_per_atom"]
    assert 12 < mass["mean"] < 17
    assert 0 < mass["std"] < 5


def test_an_unknown_source_is_named(cache):
    with pytest.raises(InputError, match="no training record of 'zinc'"):
        task(cache, sources={"zinc": 1.0})
