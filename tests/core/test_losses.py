"""The loss of an exact denoiser is a posterior variance; time samplers and weights by their definitions."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from scoregen.core import (
    EDM,
    SDE,
    VP,
    Denoiser,
    EDMWeight,
    LikelihoodWeight,
    LogNormalTimes,
    LogSNRTimes,
    MinSNRWeight,
    Noise,
    RaggedSpace,
    SNRWeight,
    UncertaintyWeight,
    UniformTimes,
    UniformWeight,
    dsm,
    log_snr,
    sliced,
)
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.losses import noised

from .gaussian import PROCESSES, noise, space
from .test_space import factor_space

STD = 0.6


class Silent(nn.Module):
    """F = 0: with σ_data = s the preconditioned denoiser is then exact for N(0, s²Σ)."""

    def forward(self, x: Tensor, level: Tensor, space: object, cond: object) -> Tensor:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class At:
    """Every sample at one time."""

    t: float

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        return torch.full_like(uniform, self.t)


def exact_loss(sde: SDE, batch, keyed: Noise, **options) -> Tensor:
    """Per-sample losses of data drawn from N(0, s²Σ) under its own posterior mean."""
    data = STD * Noise(123, keyed.ids).normal(batch, 0)
    return dsm(Denoiser(Silent(), sde, STD), data, batch, noise=keyed, **options)


@pytest.mark.parametrize("name", sorted(PROCESSES))
@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95])
def test_loss_of_the_exact_denoiser_is_the_posterior_variance(name: str, fraction: float) -> None:
    sde, size = PROCESSES[name], 20_000
    t = sde.t_min + fraction * (sde.t_max - sde.t_min)
    alpha, sigma = (float(v) for v in sde.marginal(torch.tensor(t, dtype=torch.float64)))
    expected = STD**2 * sigma**2 / (alpha**2 * STD**2 + sigma**2)
    losses = exact_loss(sde, space(size), noise(size), times=At(t), weight=UniformWeight())
    # A mean of 3 squared Gaussians has relative variance 2/3.
    assert float(losses.mean()) == pytest.approx(expected, rel=4.5 * math.sqrt(2 / 3 / size))


def test_the_same_holds_for_harmonic_noise() -> None:
    """The error is whitened and counted per degree of freedom, so the shape of the noise drops out."""
    size, t = 6000, 0.7
    batch = factor_space([5, 3] * (size // 2))
    losses = exact_loss(EDM(), batch, noise(size), times=At(t), weight=UniformWeight())
    expected = STD**2 * t**2 / (STD**2 + t**2)
    for part, dof in ((losses[::2], 12), (losses[1::2], 6)):
        assert float(part.mean()) == pytest.approx(expected, rel=4.5 * math.sqrt(2 / dof / len(part)))


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_edm_weight_makes_every_level_cost_one(name: str) -> None:
    size = 20_000
    losses = exact_loss(
        PROCESSES[name], space(size), noise(size), times=UniformTimes(), weight=EDMWeight(STD)
    )
    assert float(losses.mean()) == pytest.approx(1.0, rel=4.5 * math.sqrt(2 / 3 / size))


def test_any_other_denoiser_costs_more() -> None:
    size = 5000
    data = STD * Noise(123, torch.arange(size)).normal(space(size), 0)
    losses = {
        sigma_data: float(
            dsm(
                Denoiser(Silent(), VP(), sigma_data),
                data,
                space(size),
                times=UniformTimes(),
                weight=UniformWeight(),
                noise=noise(size),
            ).mean()
        )
        for sigma_data in (STD / 1.5, STD, STD * 1.5)
    }
    assert min(losses, key=losses.__getitem__) == STD


def test_weights() -> None:
    alpha, sigma = torch.tensor([0.8, 0.1]), torch.tensor([0.6, 0.99])
    torch.testing.assert_close(SNRWeight()(alpha, sigma), alpha**2 / sigma**2)
    assert torch.equal(UniformWeight()(alpha, sigma), torch.ones(2))
    edm = EDMWeight(0.5)(torch.ones(2), sigma)
    torch.testing.assert_close(edm, (sigma**2 + 0.25) / (sigma * 0.5) ** 2)


def test_snr_weight_is_the_plain_loss_on_eps() -> None:
    size = 50
    batch, keyed = space(size), noise(size)
    data = torch.randn(size, 3, dtype=torch.float64)
    denoiser = Denoiser(Silent(), VP(), 1.3)
    losses = dsm(denoiser, data, batch, times=UniformTimes(), weight=SNRWeight(), noise=keyed)
    state = noised(VP(), data, batch, times=UniformTimes(), noise=keyed)
    error = denoiser(state.x, state.t, batch).eps - keyed.normal(batch, 0)
    torch.testing.assert_close(losses, (error**2).mean(1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_log_normal_times(name: str) -> None:
    """``log(σ/α)`` of the drawn times has the asked quantiles, where the process reaches them."""
    sde = PROCESSES[name]
    times = LogNormalTimes(-1.0, 0.5)(torch.tensor([0.5, 0.8413447460685429, 0.15865525393145707]), sde)
    torch.testing.assert_close(
        -0.5 * log_snr(sde, times),
        torch.tensor([-1.0, -0.5, -1.5], dtype=torch.float64),
        atol=1e-5,
        rtol=0,
    )
    extreme = LogNormalTimes(0.0, 50.0)(torch.tensor([1e-15, 1.0], dtype=torch.float64), sde)
    assert extreme.tolist() == pytest.approx([sde.t_min, sde.t_max])


def test_uniform_times_cover_the_range() -> None:
    u = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert UniformTimes()(u, EDM()).tolist() == pytest.approx([0.002, 40.001, 80.0])


def test_a_sample_has_the_same_loss_in_any_batch() -> None:
    ids = torch.tensor([5, 2, 9, 4])
    data = torch.randn(4, 3, dtype=torch.float64)
    options = {"times": LogNormalTimes(), "weight": EDMWeight(STD), "step": 17}
    denoiser = Denoiser(Silent(), EDM(), STD)
    whole = dsm(denoiser, data, space(4), noise=Noise(0, ids), **options)
    for b in range(4):
        alone = dsm(denoiser, data[b : b + 1], space(1), noise=Noise(0, ids[b : b + 1]), **options)
        torch.testing.assert_close(alone[0], whole[b], rtol=1e-12, atol=0)
    assert not torch.allclose(
        whole, dsm(denoiser, data, space(4), noise=Noise(0, ids), **(options | {"step": 18}))
    )


def test_times_do_not_follow_the_noise() -> None:
    """The time and the noise of a sample come from different keys."""
    size = 20_000
    state = noised(EDM(), torch.zeros(size, 1), space(size, 1), times=UniformTimes(), noise=noise(size))
    n = (state.x[:, 0] / state.sigma).double()
    u = state.t - state.t.mean()
    assert abs(float((n * u).mean() / u.std())) < 4.5 / math.sqrt(size)
    assert abs(float(((n**2 - 1) * u).mean() / u.std())) < 4.5 * math.sqrt(2 / size)


def test_a_target_hook_replaces_the_target() -> None:
    data = torch.randn(4, 3, dtype=torch.float64)
    denoiser, options = Denoiser(Silent(), EDM(), STD), {"times": At(1.0), "weight": UniformWeight()}
    seen = []

    def own_prediction(x0: Tensor, state) -> Tensor:
        seen.append(state)
        assert x0 is data
        return denoiser(state.x, state.t, space(4)).x0

    losses = dsm(denoiser, data, space(4), noise=noise(4), target=own_prediction, **options)
    assert losses.tolist() == [0.0] * 4
    assert torch.equal(seen[0].t, torch.full((4,), 1.0, dtype=torch.float64))


# --------------------------------------------------------------------------------- several fields, balance


def test_the_loss_of_a_product_is_the_loss_of_its_fields() -> None:
    """Weighted error per field, over the degrees of freedom of all of them."""
    fields = {"a": EDM(), "b": VP()}
    sde, size = ProductSDE(fields), 4
    batch, keyed = ProductSpace({"a": space(size, 2), "b": space(size, 5)}), noise(size)
    data = Noise(5, keyed.ids).normal(batch, 0)
    options = {"times": UniformTimes(), "weight": SNRWeight(), "noise": keyed}
    together = dsm(Denoiser(Silent(), sde, (0.5, 1.5)), data, batch, **options)
    state = noised(sde, data, batch, times=UniformTimes(), noise=keyed)
    total = 0
    for name, width, spread in (("a", 2, 0.5), ("b", 5, 1.5)):
        x, x0 = batch.unpack(state.x)[name], batch.unpack(data)[name]
        t = state.t * fields[name].t_max
        estimate = Denoiser(Silent(), fields[name], spread)(x, t, space(size, width)).x0
        alpha, sigma = (v[:, None] for v in fields[name].marginal(t))
        total = total + ((alpha / sigma) ** 2 * (estimate - x0) ** 2).sum(1)
    torch.testing.assert_close(together, total / 7)


def test_a_learned_balance_finds_the_loss_of_each_level() -> None:
    """At its minimum ``e^u`` is the mean loss: here the posterior variance of N(0, s²), a known function."""
    torch.manual_seed(0)
    sde, size = EDM(0.05, 20.0), 4000
    balance = UncertaintyWeight(64)
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.03)
    times, weight = LogNormalTimes(0.0, 1.5), UniformWeight()
    for step in range(200):
        keyed = noise(size, seed=step)
        loss = exact_loss(sde, space(size), keyed, times=times, weight=weight, balance=balance)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    sigma = torch.tensor([0.1, 0.4, 1.0, 4.0], dtype=torch.float64)
    learned = balance.log_variance(torch.ones_like(sigma), sigma)
    exact = (STD**2 * sigma**2 / (STD**2 + sigma**2)).log()
    torch.testing.assert_close(learned.double(), exact, atol=0.15, rtol=0)


# ------------------------------------------------------------------------------------------------- sliced


@pytest.mark.parametrize("probes", [1, 4])
def test_sliced_score_matching_of_a_gaussian(probes: int) -> None:
    """For s(x) = −(x − m)/v on N(μ, τ²): ``E L = d(−1/v + (τ² + (μ−m)²)/2v²)``, least at the truth."""
    size, mean, std = 40_000, 0.7, 1.3
    data = mean + std * noise(size).normal(space(size), 0)

    def loss(m: Tensor, v: Tensor) -> Tensor:
        return sliced(lambda x: -(x - m) / v, data, space(size), noise=noise(size, 1), probes=probes).mean()

    m = torch.tensor(0.2, dtype=torch.float64)
    v = torch.tensor(2.5, dtype=torch.float64)
    expected = 3 * (-1 / v + (std**2 + (mean - m) ** 2) / (2 * v**2))
    assert float(loss(m, v).detach()) == pytest.approx(float(expected), abs=0.01)
    truth = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (mean, std**2)]
    slopes = torch.autograd.grad(loss(*truth), truth)
    assert max(abs(float(slope)) for slope in slopes) < 0.03


def test_sliced_score_matching_stays_in_the_projected_space() -> None:
    """Without the centre of mass, N(0, 1) has trace −dof: ``L = −dof + ½‖x‖²`` for its own score."""
    batch = factor_space([3, 5, 2])
    keyed = noise(batch.size)
    x = Noise(3, keyed.ids).white(batch, 0)
    draws = [sliced(lambda y: -y, x, batch, noise=keyed, step=step, probes=200).detach() for step in range(5)]
    exact = -batch.dof() + 0.5 * batch.sum(batch.project(x) ** 2)
    assert float(((sum(draws) / 5 - exact) / batch.dof()).abs().max()) < 0.15
    with pytest.raises(ValueError, match="probes must lie in"):
        sliced(lambda y: -y, x, batch, noise=keyed, probes=0)


def test_min_snr_is_capped() -> None:
    alpha, sigma = torch.ones(3, dtype=torch.float64), torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    assert MinSNRWeight(5.0)(alpha, sigma).tolist() == pytest.approx([5.0, 4.0, 0.25])
    with pytest.raises(ValueError, match="gamma must be positive"):
        MinSNRWeight(0.0)


def test_a_sample_without_freedom_has_no_loss() -> None:
    """One centred atom cannot move: its loss is 0, not 0/0, and the batch mean stays a number."""
    batch = RaggedSpace(torch.tensor([0, 1, 1, 1]), 2, center=True, dtype=torch.float64)
    loss = exact_loss(EDM(), batch, noise(2), times=LogNormalTimes(), weight=EDMWeight(STD))
    assert float(loss[0]) == 0.0
    assert float(loss[1]) > 0.0


@pytest.mark.parametrize("times", [UniformTimes(), LogSNRTimes()], ids=lambda t: type(t).__name__)
def test_likelihood_weights_of_a_product_add_up(times) -> None:
    """Each field's bound integrates over its own log-SNR; on one clock the sum is one loss."""
    sde, size = ProductSDE({"a": EDM(0.05, 20.0), "b": EDM(0.1, 10.0)}), 60_000
    batch = ProductSpace({"a": space(size, 1), "b": space(size, 1)})
    data = STD * Noise(123, torch.arange(size)).normal(batch, 0)
    loss = dsm(
        Denoiser(Silent(), sde, (STD, STD)),
        data,
        batch,
        times=times,
        weight=LikelihoodWeight(sde, times),
        noise=noise(size, 7),
    )
    exact = 0.0
    for part in sde.parts:
        high, low = log_snr(part, torch.tensor([sde.t_min, sde.t_max], dtype=torch.float64)).exp().tolist()
        exact += 0.5 * math.log((1 + STD**2 * high) / (1 + STD**2 * low)) / 2
    assert float(loss.mean()) == pytest.approx(exact, abs=5 * float(loss.std()) / math.sqrt(size))


def test_a_product_takes_a_width_for_each_field() -> None:
    alpha = torch.ones(2, 2, dtype=torch.float64)
    sigma = torch.tensor([[0.1, 2.0], [1.0, 3.0]], dtype=torch.float64)
    both = EDMWeight((0.5, 2.0))(alpha, sigma)
    torch.testing.assert_close(both[:, 0], EDMWeight(0.5)(alpha[:, 0], sigma[:, 0]))
    torch.testing.assert_close(both[:, 1], EDMWeight(2.0)(alpha[:, 1], sigma[:, 1]))
    assert UncertaintyWeight(8).log_variance(alpha, sigma).shape == (2,)
