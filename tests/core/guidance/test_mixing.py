"""Mixing guides against Gaussian mixtures whose class-conditional scores are known."""

import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, VP, DenseSpace, Noise, Prediction, ProductSDE, karras_grid, sample
from scoregen.core.guidance import Autoguidance, ClassifierFree, Compose, Within
from scoregen.core.solvers import DDIM, DPMpp2M, Heun

from .problems import ALL, F64, correlated, time

MEANS = torch.tensor([[2.0, 0.0], [-1.5, 1.0], [0.5, -2.0]], dtype=F64)
STDS = torch.tensor([[0.5, 0.7], [0.8, 0.3], [0.4, 0.4]], dtype=F64)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=F64)


def parts(sde, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Estimate and log-density of every class, ``(B, 3, 2)`` and ``(B, 3)``."""
    alpha, sigma = (value.reshape(-1, 1) for value in sde.marginal(t))
    a, s = alpha[..., None], sigma[..., None]
    variance = a**2 * STDS**2 + s**2
    distance = x[:, None] - a * MEANS
    estimates = MEANS + a * STDS**2 / variance * distance
    log = SHARES.log() - 0.5 * (distance**2 / variance + variance.log()).sum(-1)
    return estimates, log, alpha, sigma


def mixture(sde, x: Tensor, t: Tensor) -> Prediction:
    estimates, log, alpha, sigma = parts(sde, x, t)
    return Prediction((log.softmax(1)[..., None] * estimates).sum(1), x, alpha, sigma)


def conditional(sde, x: Tensor, t: Tensor, label: Tensor) -> Prediction:
    estimates, _, alpha, sigma = parts(sde, x, t)
    return Prediction(estimates[torch.arange(len(x)), label], x, alpha, sigma)


def batch(size: int) -> DenseSpace:
    return DenseSpace((size, 2), dtype=F64)


@pytest.mark.parametrize("sde", [EDM(), VP()], ids=["edm", "vp"])
def test_weight_one_is_the_conditional_and_zero_the_unconditional(sde) -> None:
    size = 60
    x = 3 * Noise(1, torch.arange(size)).normal(batch(size), 0)
    label = torch.arange(size) % 3
    for t in torch.tensor([0.02, 0.3, 0.9], dtype=F64):
        cond, free = conditional(sde, x, t, label), mixture(sde, x, t)
        for weight, expected in [(1.0, cond.x0), (0.0, free.x0)]:
            guide = ClassifierFree(lambda x, t: mixture(sde, x, t), batch(size), weight)
            got = guide(lambda x, t: conditional(sde, x, t, label))(x, t)
            torch.testing.assert_close(got.x0, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("sde", [EDM(), VP()], ids=["edm", "vp"])
@pytest.mark.parametrize("solver", [DPMpp2M(), DDIM(1.0)], ids=["dpmpp-2m", "ddpm"])
def test_samples_at_weight_one_have_the_statistics_of_their_class(sde, solver) -> None:
    size = 6000
    label = torch.arange(size) % 3
    result = sample(
        lambda x, t: conditional(sde, x, t, label),
        sde,
        batch(size),
        solver=solver,
        grid=karras_grid(sde, 50 if isinstance(solver, DPMpp2M) else 150),
        noise=Noise(0, torch.arange(size)),
        guides=[ClassifierFree(lambda x, t: mixture(sde, x, t), batch(size), 1.0)],
    )
    for c in range(3):
        own = result[label == c]
        assert float(((own.mean(0) - MEANS[c]) / STDS[c]).abs().max()) < 4.5 / len(own) ** 0.5 + 0.03
        torch.testing.assert_close(own.std(0), STDS[c], rtol=0.08, atol=0)


@pytest.mark.parametrize("weight", [-0.5, 0.4, 3.0])
def test_guided_score_is_the_weighted_score(weight: float) -> None:
    """``w ∇log p(x|c) + (1 − w) ∇log p(x)`` from autograd of the densities themselves."""
    sde, size = VP(), 12
    t = torch.tensor(0.4, dtype=F64)
    label = torch.arange(size) % 3
    x = Noise(2, torch.arange(size)).normal(batch(size), 0).requires_grad_()
    _, log, _, _ = parts(sde, x, t)
    own = log[torch.arange(size), label]
    (expected,) = torch.autograd.grad((weight * own + (1 - weight) * log.logsumexp(1)).sum(), x)
    guide = ClassifierFree(lambda x, t: mixture(sde, x, t), batch(size), weight)
    with torch.no_grad():
        got = guide(lambda x, t: conditional(sde, x, t, label))(x.detach(), t)
    torch.testing.assert_close(got.score, expected, atol=1e-10, rtol=1e-10)


def test_two_gaussians_of_equal_width_give_a_gaussian_at_any_weight() -> None:
    """Scores of N(a, v) and N(b, v) mix to that of N(w a + (1 − w) b, v): a closed form for samples."""
    sde, size, weight = EDM(), 4000, 2.5

    def gaussian(mean: float):
        def denoise(x: Tensor, t: Tensor) -> Prediction:
            alpha, sigma = sde.marginal(t)
            return Prediction(mean + 0.25 / (0.25 + sigma**2) * (x - mean), x, alpha, sigma)

        return denoise

    result = sample(
        gaussian(1.0),
        sde,
        batch(size),
        solver=Heun(),
        grid=karras_grid(sde, 60),
        noise=Noise(0, torch.arange(size)),
        guides=[Autoguidance(gaussian(0.2), batch(size), weight)],
    )
    assert float((result.mean(0) - 2.2).abs().max()) < 0.05
    torch.testing.assert_close(result.std(0), torch.full((2,), 0.5, dtype=F64), rtol=0.05, atol=0)


@pytest.mark.parametrize("name", sorted(ALL))
def test_weights_of_each_sample_on_every_space(name: str) -> None:
    sde, space = ALL[name]
    strong, weak = correlated(sde, space, 0), correlated(sde, space, 1)
    x, t = Noise(0, torch.arange(space.size)).normal(space, 0), time(sde)
    weights = torch.linspace(0.0, 2.0, space.size, dtype=F64)
    got = ClassifierFree(weak.denoise, space, weights)(strong.denoise)(x, t).x0
    scheduled = Autoguidance(weak.denoise, space, lambda t: weights)(strong.denoise)(x, t).x0
    w = space.expand(weights, x)
    expected = w * strong.denoise(x, t).x0 + (1 - w) * weak.denoise(x, t).x0
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(scheduled, expected, atol=1e-10, rtol=1e-10)
    one = Autoguidance(weak.denoise, space, torch.tensor([1.5]))(strong.denoise)(x, t).x0
    two = Autoguidance(weak.denoise, space, 1.5)(strong.denoise)(x, t).x0
    torch.testing.assert_close(one, two)


def test_rescale_brings_each_sample_back_to_its_conditional_size() -> None:
    sde, space = ALL["ragged-centred"]
    strong, weak = correlated(sde, space, 0), correlated(sde, space, 1)
    x, t = Noise(0, torch.arange(space.size)).normal(space, 0), time(sde)
    wanted = space.sum(strong.denoise(x, t).x0 ** 2)

    def size(rescale: float) -> Tensor:
        guide = ClassifierFree(weak.denoise, space, 4.0, rescale)
        return space.sum(guide(strong.denoise)(x, t).x0 ** 2)

    torch.testing.assert_close(size(1.0), wanted)
    between = (0.3 * wanted.sqrt() + 0.7 * size(0.0).sqrt()) ** 2
    torch.testing.assert_close(size(0.3), between)
    zero = ClassifierFree(lambda x, t: weak.denoise(0 * x, t), space, 2.0, 1.0)
    blank = Prediction(space.zeros(), x, *sde.marginal(t))
    assert bool(torch.isfinite(zero(lambda x, t: blank)(x, t).x0).all())


def test_interval_calls_the_guide_inside_only() -> None:
    sde, calls = EDM(), []

    def unconditional(x: Tensor, t: Tensor) -> Prediction:
        calls.append(float(t))
        return mixture(sde, x, t)

    size = 4
    grid = karras_grid(sde, 30)
    free = ClassifierFree(unconditional, batch(size), 2.0)
    sample(
        lambda x, t: conditional(sde, x, t, torch.zeros(size, dtype=torch.int64)),
        sde,
        batch(size),
        solver=DDIM(),
        grid=grid,
        noise=Noise(0, torch.arange(size)),
        guides=[Within(free, sde, batch(size), 0.3, 5.0)],
    )
    assert calls == [float(t) for t in grid.times[:-1] if 0.3 < t <= 5.0]


def test_interval_with_a_time_for_each_sample() -> None:
    sde, space = VP(), batch(3)
    x = Noise(0, torch.arange(3)).normal(space, 0)
    t = torch.tensor([0.05, 0.4, 0.95], dtype=F64)
    label = torch.zeros(3, dtype=torch.int64)

    def cond(x: Tensor, t: Tensor) -> Prediction:
        return conditional(sde, x, t, label)

    guide = ClassifierFree(lambda x, t: mixture(sde, x, t), space, 3.0)
    alpha, sigma = sde.marginal(t)
    ratio = sigma / alpha
    got = Within(guide, sde, space, float(ratio[0]), float(ratio[1]))(cond)(x, t).x0
    inside, outside = guide(cond)(x, t).x0, cond(x, t).x0
    torch.testing.assert_close(got, torch.stack([outside[0], inside[1], outside[2]]))


def test_interval_of_a_product_follows_its_first_field() -> None:
    sde, space = ALL["product"]
    assert isinstance(sde, ProductSDE)
    strong, weak = correlated(sde, space, 0), correlated(sde, space, 1)
    guide = Autoguidance(weak.denoise, space, 2.0)
    x, t = Noise(0, torch.arange(2)).normal(space, 0), time(sde)
    level = float(sde.marginal(t)[1][0])
    inside = Within(guide, sde, space, 0.9 * level, 1.1 * level)(strong.denoise)(x, t).x0
    outside = Within(guide, sde, space, 1.1 * level)(strong.denoise)(x, t).x0
    assert torch.equal(inside, guide(strong.denoise)(x, t).x0)
    assert torch.equal(outside, strong.denoise(x, t).x0)


def test_compose_applies_from_left_to_right() -> None:
    space = batch(2)
    x, t = torch.ones(2, 2, dtype=F64), torch.tensor(1.0, dtype=F64)

    def to(value: float):
        return lambda denoise: lambda x, t: Prediction(denoise(x, t).x0 * 10 + value, x, t, t)

    last = Compose((to(1.0), to(2.0)))(lambda x, t: Prediction(space.zeros(), x, t, t))
    assert float(last(x, t).x0[0, 0]) == 12.0


def test_refusals() -> None:
    space = batch(3)
    free = lambda x, t: mixture(EDM(), x, t)  # noqa: E731
    with pytest.raises(ValueError, match=r"weight must be a number or one number for each of the 3 samples"):
        ClassifierFree(free, space, torch.ones(2))
    with pytest.raises(ValueError, match=r"got shape \(4,\)"):
        Autoguidance(free, space, torch.ones(4))
    with pytest.raises(ValueError, match=r"rescale must lie in \[0, 1\]"):
        ClassifierFree(free, space, 2.0, rescale=1.5)
    with pytest.raises(ValueError, match="need 0 <= low < high"):
        Within(ClassifierFree(free, space, 2.0), EDM(), space, 2.0, 1.0)
