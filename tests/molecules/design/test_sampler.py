"""Drawing candidates: the same whatever the batch, sharpened, guided, started from a molecule."""

import numpy as np
import pytest
import torch

from scoregen.molecules.chem import standardise
from scoregen.molecules.design.sampler import Draw, Schedule, draw_candidates, sharpened
from scoregen.molecules.design.shaping import seed_state
from tests.molecules.design.helpers import small_model

QUICK = Schedule(steps=4)


def draw(model, draws, schedule=QUICK, **options):
    placed = model.network.config.coordinates
    return draw_candidates(model, draws, schedule, 0, coordinates=placed, **options)


@pytest.mark.parametrize("coordinates", [False, True])
def test_a_draw_does_not_depend_on_its_batch(coordinates):
    model = small_model(coordinates)
    draws = [Draw(size, key) for key, size in enumerate((5, 3, 8, 5))]
    together = draw(model, draws)
    alone = [draw(model, [one])[0] for one in draws]
    split = draw(model, draws, pairs=60)
    for one, other, third in zip(together, alone, split, strict=True):
        for name in ("token", "bond", "order"):
            np.testing.assert_array_equal(one[name], other[name])
            np.testing.assert_array_equal(one[name], third[name])
        np.testing.assert_allclose(one["x"], other["x"], atol=1e-3)
        assert one["x"].shape == ((len(one["token"]), 3) if coordinates else (0, 3))
    assert [len(one["token"]) for one in together] == [5, 3, 8, 5]


def test_keys_and_seeds_tell_draws_apart():
    model = small_model()
    a, b = draw(model, [Draw(8, 1), Draw(8, 2)])
    assert not (np.array_equal(a["token"], b["token"]) and np.array_equal(a["bond"], b["bond"]))


@pytest.mark.parametrize("coordinates", [False, True])
def test_little_noise_gives_the_molecule_back(coordinates):
    seed = seed_state(standardise("CC(=O)Oc1ccccc1C(=O)O"), coordinates)
    model = small_model(coordinates)
    back = draw(model, [Draw(13, 7, start=seed)], Schedule(steps=3, sigma=0.16))[0]
    np.testing.assert_array_equal(back["token"], seed["token"])
    assert len(back["bond"]) == len(seed["bond"])
    assert back["x"].shape == seed["x"].shape
    far = draw(model, [Draw(13, 7, start=seed)], Schedule(steps=3, sigma=2.0))[0]
    assert not np.array_equal(far["token"], seed["token"])
    if coordinates:  # at the lowest noise they are nearly those of the seed, at high noise they are not
        near, away = (np.abs(found["x"] - seed["x"]).mean() for found in (back, far))
        assert near < 0.1 < away


def test_sharpened_probabilities():
    p = torch.tensor([[0.6, 0.3, 0.1]])
    torch.testing.assert_close(sharpened(p, 0.5), p**2 / (p**2).sum())
    assert sharpened(p, 1.0) is p


def test_guidance_of_one_is_the_told_model_and_zero_the_untold():
    model = small_model()
    told = np.array([9.0, np.nan, np.nan, -9.0, np.nan], np.float32)
    plain = draw(model, [Draw(7, 3)])[0]
    outs = {w: draw(model, [Draw(7, 3, told)], Schedule(steps=4, guidance=w))[0] for w in (0.0, 1.0, 3.0)}
    np.testing.assert_array_equal(outs[0.0]["token"], plain["token"])
    np.testing.assert_array_equal(outs[0.0]["bond"], plain["bond"])
    assert any(not np.array_equal(outs[1.0][k], plain[k]) for k in ("token", "bond", "order"))
