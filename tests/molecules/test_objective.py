import itertools

import numpy as np
import pytest
import torch

from scoregen.core.ema import EMA
from scoregen.errors import InputError
from scoregen.molecules.network import NetworkConfig
from scoregen.molecules.objective import (
    ConformerDataConfig,
    ConformerModelConfig,
    ConformerTask,
    Pool,
    build_denoiser,
)
from scoregen.molecules.prepare import prepare_molecules
from tests.molecules.samples import DATA


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "molecules"
    # The sample molecules hash to the low end, so a small fraction still holds some out.
    prepare_molecules(
        [DATA / "qm9_xtb_sample.sdf", DATA / "cascade_dft_sample.sdf"],
        path,
        dev_fraction=0.02,
        holdout_ids=None,
    )
    return path


SMALL = ConformerModelConfig(
    network=NetworkConfig(width=48, vectors=16, pair=24, heads=4, layers=3, radial=16)
)


def task_on(cache, seed=0, **data):
    return ConformerTask(SMALL, ConformerDataConfig(cache=cache, pairs=3000, **data), seed)


def test_batch_is_a_pure_function_of_seed_and_step(cache):
    one, two = task_on(cache), task_on(cache)
    for step in (0, 3, 1000):
        a, b = one.batch(step), two.batch(step)
        assert torch.equal(a.ids, b.ids) and torch.equal(a.graphs.pos, b.graphs.pos)
        assert torch.equal(a.graphs.triples, b.graphs.triples)
    assert not torch.equal(one.batch(0).ids, task_on(cache, seed=1).batch(0).ids)


def test_training_and_development_molecules_never_mix(cache):
    task = task_on(cache)
    train = {int(i) for step in range(30) for i in task.batch(step).ids}
    held_out = {int(i) for batch in task.dev_batches() for i in batch.ids}
    assert held_out and train
    facts = task.cache.facts
    assert {facts[i]["split"] for i in train} == {"train"}
    assert {facts[i]["split"] for i in held_out} == {"dev"}
    assert not {facts[i]["smiles"] for i in train} & {facts[i]["smiles"] for i in held_out}


def test_batches_keep_to_their_size_and_to_the_shares(cache):
    task = task_on(cache, sources={"qm9_xtb_sample": 1.0, "cascade_dft_sample": 0.0})
    for step in range(20):
        batch = task.batch(step)
        assert {task.cache.facts[int(i)]["source"] for i in batch.ids} == {"qm9_xtb_sample"}
        assert batch.graphs.mask.shape[0] * batch.graphs.mask.shape[1] ** 2 <= 3000


def test_pool_serves_every_record():
    sizes = np.random.default_rng(0).integers(5, 30, 200)
    pool = Pool(np.arange(200), sizes)
    rng = np.random.default_rng(1)
    seen = {int(i) for _ in range(4000) for i in pool.batch(rng, 2000)}
    assert seen == set(range(200))


def test_unknown_source_is_named(cache):
    with pytest.raises(InputError, match="geom_drugs"):
        task_on(cache, sources={"geom_drugs": 1.0})


def test_loss_of_a_fresh_model_is_near_one_and_repeats(cache):
    """The EDM weight makes the loss of a network with zero output the variance of the data, about 1."""
    task = task_on(cache)
    torch.manual_seed(0)
    denoiser = build_denoiser(SMALL)
    batch = task.batch(0)
    first, again = (float(task.loss(denoiser, batch, 0)["loss"].detach()) for _ in range(2))
    assert first == again
    assert 0.6 < first < 1.6


def test_overfits_real_molecules(cache):
    """Two hundred steps on a handful of real conformers cut the loss at fixed noise by more than a third."""
    task = task_on(cache, hide_stereo=0.0)
    torch.manual_seed(0)
    denoiser = build_denoiser(SMALL)
    ema = EMA(denoiser, 0.95)
    batches = [task.batch(step) for step in range(2)]

    def held() -> float:
        with torch.no_grad(), ema.applied(denoiser):
            return float(
                np.mean(
                    [float(task.loss(denoiser, b, 10_000 + k)["loss"]) for k in range(3) for b in batches]
                )
            )

    before = held()
    optimizer = torch.optim.Adam(denoiser.parameters(), 3e-3)
    for step, batch in zip(range(200), itertools.cycle(batches), strict=False):
        loss = task.loss(denoiser, batch, step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        ema.update(denoiser)
    assert held() < 0.65 * before
