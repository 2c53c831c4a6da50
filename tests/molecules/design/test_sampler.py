"""Drawing candidates: the same whatever the batch, sharpened, guided, started from a molecule."""

import numpy as np
import pytest
import torch

from scoregen.core.denoiser import Prediction
from scoregen.core.space import RaggedSpace
from scoregen.molecules.chem import standardise
from scoregen.molecules.design.bridge import HARD
from scoregen.molecules.design.objective import build_denoiser
from scoregen.molecules.design.sampler import Draw, Schedule, draw_candidates, sharpened
from scoregen.molecules.design.shaping import seed_state
from scoregen.molecules.design.tokens import NUM_ORDERS, NUM_TOKENS
from tests.molecules.design.helpers import small_config, small_model

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


def independent_atoms(chances):
    """An exact denoiser of atoms that know nothing of each other: the network that has learned nothing."""
    model = build_denoiser(small_config()).eval()
    chances = torch.tensor(chances)
    with torch.no_grad():
        model.network.to_atoms.bias.zero_()
        model.network.token_prior.fill_(-40.0)
        model.network.token_prior[: len(chances)] = chances.log()
    return model


def test_samples_of_the_estimate_keep_the_distribution_that_means_lose():
    chances = [0.6, 0.3, 0.1]
    model = independent_atoms(chances)
    draws = [Draw(10, key) for key in range(300)]

    def shares(hard, steps):
        found = draw(model, draws, Schedule(steps=steps, hard=hard))
        return np.bincount(np.concatenate([arrays["token"] for arrays in found]), minlength=3) / 3000

    bound = 4.5 * np.sqrt(np.multiply(chances, np.subtract(1, chances)) / 3000)
    for steps in (5, 40):
        assert (np.abs(shares(0.0, steps) - chances) < bound).all()
        assert (np.abs(shares(HARD, steps) - chances) < bound).all()
    assert shares(np.inf, 40)[0] > shares(np.inf, 5)[0] > 0.6 + bound[0] / 4.5
    assert shares(np.inf, 40)[2] < 0.1 - bound[2]


class Alike:
    """An exact denoiser of molecules whose atoms are all alike and not bonded: it says what each may be."""

    def __init__(self, chances):
        self.chances, self.parameters = torch.tensor(chances).log(), small_model().parameters
        self.sde = small_model().sde

    def __call__(self, x, t, space, condition):
        alpha, sigma = self.sde.marginal(t)
        fields, layout = space.unpack(x), condition.layout
        part = RaggedSpace(layout.atom, layout.size, len(self.chances))
        seen = fields["atoms"][:, : len(self.chances)].double() / sigma[0].square()
        total = torch.zeros(part.size, len(self.chances), dtype=torch.float64).index_add(0, layout.atom, seen)
        chance = (total + self.chances).softmax(-1)[layout.atom].to(x.dtype)
        atoms = torch.nn.functional.pad(chance, (0, NUM_TOKENS - len(self.chances)))
        bonds = torch.zeros_like(fields["bonds"])
        bonds[:, 0] = 1
        clean = space.pack({"atoms": atoms, "bonds": bonds})
        return Prediction(clean, clean, space.expand(alpha[None], x), space.expand(sigma[None], x))


def test_bridges_keep_what_goes_together():
    """All atoms of a molecule are alike, which no estimate of single atoms says."""
    chances = [0.6, 0.3, 0.1]
    draws = [Draw(6, key) for key in range(1500)]
    exact = Alike(chances)

    def shares(steps, bridge):
        schedule = Schedule(steps=steps, bridge=bridge)
        found = draw_candidates(exact, draws, schedule, 0, coordinates=False)
        tokens = np.stack([arrays["token"] for arrays in found])
        assert (tokens == tokens[:, :1]).mean() > 0.99
        return np.bincount(tokens[:, 0], minlength=3) / len(draws)

    bound = 4.5 * np.sqrt(np.multiply(chances, np.subtract(1, chances)) / len(draws))
    error = {bridge: np.abs(shares(40, bridge) - chances) for bridge in (HARD, np.inf)}
    assert (error[HARD] < bound).all(), error
    assert (error[np.inf] > bound).any(), error


def test_samples_of_the_estimate_keep_to_what_is_allowed():
    tokens = np.zeros((6, NUM_TOKENS), bool)
    tokens[:, [2, 5]] = True
    orders = np.ones((15, NUM_ORDERS), bool)
    orders[3:, 1:] = False
    draws = [Draw(6, key, kept=np.ones(6, bool), tokens=tokens, orders=orders) for key in range(20)]
    for arrays in draw(small_model(), draws, Schedule(steps=4, hard=0.0)):
        assert np.isin(arrays["token"], [2, 5]).all()
        assert (arrays["bond"] < [1, 4]).all()  # of the first three pairs: 0–1, 0–2, 0–3


def test_guidance_of_one_is_the_told_model_and_zero_the_untold():
    model = small_model()
    told = np.array([9.0, np.nan, np.nan, -9.0, np.nan], np.float32)
    plain = draw(model, [Draw(7, 3)])[0]
    outs = {w: draw(model, [Draw(7, 3, told)], Schedule(steps=4, guidance=w))[0] for w in (0.0, 1.0, 3.0)}
    np.testing.assert_array_equal(outs[0.0]["token"], plain["token"])
    np.testing.assert_array_equal(outs[0.0]["bond"], plain["bond"])
    assert any(not np.array_equal(outs[1.0][k], plain[k]) for k in ("token", "bond", "order"))
