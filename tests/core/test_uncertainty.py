"""Ensembles: their spread is the known one, tells wide from narrow, and does not depend on the batch."""

import math

import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, VP, Noise, Prediction, log_snr_grid, sample
from scoregen.core.likelihood import gaussian_log_density, log_prob
from scoregen.core.solvers import DPMpp2M
from scoregen.core.uncertainty import draw_ensemble, member_noise, summarise

from .gaussian import Gaussian, noise, space
from .shaped import graph_space, on_graph

GRID = log_snr_grid(EDM(), 30)
SOLVER = DPMpp2M()


def conditional(std: Tensor) -> Gaussian:
    """A Gaussian whose width differs from sample to sample, ``(B,)``: the condition."""
    mean = torch.linspace(-2, 2, len(std), dtype=torch.float64)[:, None].expand(len(std), 3)
    return Gaussian(EDM(), mean, std[:, None])


STD = torch.tensor([0.2, 1.0, 0.5, 3.0], dtype=torch.float64)


def test_spread_is_the_known_width() -> None:
    """Wide and narrow conditions: each spread within sampling error of its σ, and in the right order."""
    problem, batch, count = conditional(STD), space(4), 64
    found = draw_ensemble(
        problem.denoise, EDM(), batch, solver=SOLVER, grid=GRID, noise=noise(4), members=count
    )
    # The variance over n members of 3 elements has 3(n−1) degrees of freedom.
    error = STD / math.sqrt(2 * 3 * (count - 1))
    assert bool(((found.spread - STD).abs() < 4 * error + 0.01 * STD).all())
    assert found.spread.argsort().tolist() == STD.argsort().tolist()
    torch.testing.assert_close(found.rms, found.spread)
    torch.testing.assert_close(found.rms, found.element_std.square().mean(1).sqrt())
    assert bool(((found.mean - problem.mean).abs() < 4.5 * STD[:, None] / math.sqrt(count)).all())
    assert found.members.shape == (count, 4, 3)
    assert found.log_prob is found.entropy is found.weights is found.effective_size is None
    with pytest.raises(ValueError, match="has no likelihoods"):
        _ = found.most_likely


def test_independent_of_the_batch() -> None:
    ids = torch.tensor([7, 1, 4, 2])

    def run(which: Tensor) -> Tensor:
        problem = conditional(STD)
        part = Gaussian(EDM(), problem.mean[which], problem.std[which])
        found = draw_ensemble(
            part.denoise,
            EDM(),
            space(len(which)),
            solver=SOLVER,
            grid=GRID,
            noise=Noise(3, ids[which]),
            members=4,
        )
        return torch.cat([found.spread[:, None], found.mean, found.element_std], 1)

    whole, order = run(torch.arange(4)), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(run(order), whole[order], atol=1e-12, rtol=0)
    alone = torch.cat([run(torch.tensor([i])) for i in range(4)])
    torch.testing.assert_close(alone, whole, atol=1e-12, rtol=0)


def test_members_have_noise_of_their_own() -> None:
    keyed, batch = noise(200), space(200)
    draws = torch.stack([member_noise(keyed, m).normal(batch, -1).flatten() for m in range(4)])
    assert torch.equal(draws[0], keyed.normal(batch, -1).flatten()), "member 0 is what sample draws"
    torch.testing.assert_close(draws.corrcoef(), torch.eye(4, dtype=torch.float64), atol=0.15, rtol=0)
    # Seeds side by side share no member.
    seeds = {member_noise(noise(1, seed), m).seed for seed in range(8) for m in range(8)}
    assert len(seeds) == 64
    for bad in (-1, 2**32):
        with pytest.raises(ValueError, match="member must lie in"):
            member_noise(keyed, bad)


def test_the_first_member_is_the_ordinary_sample() -> None:
    problem, batch = conditional(STD), space(4)
    keywords = {"solver": SOLVER, "grid": GRID, "noise": noise(4)}
    found = draw_ensemble(problem.denoise, EDM(), batch, members=2, **keywords)
    assert torch.equal(found.members[0], sample(problem.denoise, EDM(), batch, **keywords))


def test_guides_reach_the_members() -> None:
    def still(denoise: object) -> object:
        return lambda x, t: Prediction(torch.ones_like(x), x, x, x)

    problem, batch = conditional(STD), space(4)
    found = draw_ensemble(
        problem.denoise, EDM(), batch, solver=SOLVER, grid=GRID, noise=noise(4), members=3, guides=[still]
    )
    assert float(found.spread.max()) < 1e-12


def test_likelihood_and_entropy() -> None:
    """On a Gaussian the mean of −log p is its entropy; the most likely member is nearest to the mean."""
    sde, batch, count = EDM(), space(4), 12
    problem = conditional(STD)
    found = draw_ensemble(
        problem.denoise,
        sde,
        batch,
        solver=SOLVER,
        grid=GRID,
        noise=noise(4),
        members=count,
        log_prob=lambda x: log_prob(
            problem.denoise, sde, x, batch, exact=True, sigma_data=1.0, rtol=1e-3, atol=1e-3
        ),
    )
    entropy = 1.5 * (2 * math.pi * math.e * STD**2).log()
    assert found.log_prob is not None and found.entropy is not None and found.entropy_error is not None
    assert found.log_prob.shape == (count, 4)
    assert bool(((found.entropy - entropy).abs() < 4 * found.entropy_error + 0.1).all())
    distance = (found.members - problem.mean).square().sum(2)
    assert torch.equal(found.most_likely, distance.argmin(0))


def test_importance_weights() -> None:
    """Members of N(0, 1) for a target N(m, 1): the weighted mean moves to m, and the effective size falls."""
    batch, count = space(500, 1), 400
    drawn = [noise(500, seed).normal(batch, 0) for seed in range(count)]
    shift = torch.linspace(0, 1, 500, dtype=torch.float64)[:, None]
    found = summarise(
        drawn,
        batch,
        log_prob=lambda x: gaussian_log_density(batch, x),
        target=lambda x: 5.0 - 0.5 * (x - shift).square().sum(1),
    )
    assert found.weights is not None and found.effective_size is not None
    torch.testing.assert_close(found.weights.sum(0), torch.ones(500, dtype=torch.float64))
    mean = (found.weights[..., None] * found.members).sum(0)
    assert float((mean - shift).mean().abs()) < 0.02
    # E[w]²/E[w²] = exp(−m²).
    expected = count * (-shift[:, 0].square()).exp()
    assert float((found.effective_size / expected).log().mean().abs()) < 0.1
    assert float(found.effective_size[0]) == pytest.approx(count)


def test_spread_in_the_metric_of_a_shaped_space() -> None:
    """Data N(0, s²Σ) on a graph: the whitened spread is s, whatever the graph makes of it in state units."""
    sde, batch, count = VP(), graph_space(3), 24
    problem = on_graph(sde, scale=0.6, shaped=True)
    found = draw_ensemble(
        problem.denoise,
        sde,
        batch,
        solver=SOLVER,
        grid=log_snr_grid(sde, 30),
        noise=noise(3),
        members=count,
    )
    # on_graph centres its single component at zero.
    error = 0.6 / math.sqrt(2 * 33 * (count - 1))
    assert float((found.spread - 0.6).abs().max()) < 4.5 * error + 0.01
    assert float((found.rms - found.spread).abs().min()) > 5 * error


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    return torch.cat([c * x[:, :1] - s * x[:, 1:], s * x[:, :1] + c * x[:, 1:]], 1)


def by_angle(x: Tensor, reference: Tensor) -> Tensor:
    """The plane's Kabsch for a single point a sample."""
    turn = torch.atan2(reference[:, 1], reference[:, 0]) - torch.atan2(x[:, 1], x[:, 0])
    return rotate(x, turn)


def test_alignment_removes_what_does_not_count() -> None:
    """Members that differ by a rotation alone have no spread once aligned."""
    batch = space(5, 2)
    x = noise(5).normal(batch, 0)
    turned = [rotate(x, noise(5).uniform(m) * 6) for m in range(6)]
    assert float(summarise(turned, batch).spread.min()) > 0.1
    found = summarise(turned, batch, align=by_angle)
    assert float(found.spread.max()) < 1e-12
    torch.testing.assert_close(found.mean.norm(dim=1), x.norm(dim=1))
    torch.testing.assert_close(found.members, torch.stack(turned))


def test_a_distance_of_ones_own() -> None:
    """A Euclidean distance gives the deviation from the mean; an invariant one sees no rotation."""
    batch = space(5, 2)
    drawn = [noise(5, seed).normal(batch, 0) for seed in range(7)]
    found = summarise(drawn, batch, distance=lambda a, b: (a - b).square().mean(1).sqrt())
    torch.testing.assert_close(found.spread, found.rms)
    turned = [rotate(drawn[0], noise(5).uniform(m) * 6) for m in range(6)]
    radial = summarise(turned, batch, distance=lambda a, b: (a.norm(dim=1) - b.norm(dim=1)).abs())
    assert float(radial.spread.max()) < 1e-12


def test_refusals() -> None:
    problem, batch = conditional(STD), space(4)
    with pytest.raises(ValueError, match="at least two members, got 1"):
        draw_ensemble(problem.denoise, EDM(), batch, solver=SOLVER, grid=GRID, noise=noise(4), members=1)
    with pytest.raises(ValueError, match="at least two members, got 1"):
        summarise([batch.zeros()], batch)
    with pytest.raises(ValueError, match="own log_prob"):
        summarise([batch.zeros()] * 2, batch, target=lambda x: x.sum(1))
