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
    LogNormalTimes,
    Noise,
    SNRWeight,
    UniformTimes,
    UniformWeight,
    dsm,
    log_snr,
)
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
