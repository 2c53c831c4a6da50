"""Time samplers against their densities, and the likelihood weight against the bound it stands for."""

import math

import pytest
import torch

from scoregen.core import (
    EDM,
    SDE,
    VE,
    VP,
    LikelihoodWeight,
    LogSNRTimes,
    RectifiedFlow,
    Stratified,
    SubVP,
    UniformTimes,
    log_snr,
)
from scoregen.core.weighting import DensitySampler

from .gaussian import noise, space
from .test_losses import STD, exact_loss

SMOOTH: dict[str, SDE] = {
    "vp": VP(t_min=0.01),
    "subvp": SubVP(t_min=0.01),
    "ve": VE(0.05, 20.0),
    "edm": EDM(0.05, 20.0),
    "rectified_flow": RectifiedFlow(t_min=0.05, t_max=0.95),
}


@pytest.mark.parametrize("name", sorted(SMOOTH))
@pytest.mark.parametrize("times", [UniformTimes(), LogSNRTimes()], ids=lambda t: type(t).__name__)
def test_densities_are_those_of_the_samplers(name: str, times: DensitySampler) -> None:
    """The sampler is an inverse distribution function, so its derivative is one over the density."""
    sde = SMOOTH[name]
    uniform = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    h = 1e-6
    slope = (times(uniform + h, sde) - times(uniform - h, sde)) / (2 * h)
    density = times.density(times(uniform, sde), sde)
    torch.testing.assert_close(slope.abs() * density, torch.ones_like(slope), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_log_snr_times_are_uniform_in_log_snr(name: str) -> None:
    sde, uniform = SMOOTH[name], torch.linspace(0, 1, 11, dtype=torch.float64)
    steps = log_snr(sde, LogSNRTimes()(uniform, sde)).diff()
    torch.testing.assert_close(steps, steps[:1].expand(10), rtol=1e-8, atol=0)


@pytest.mark.parametrize("name", sorted(SMOOTH))
@pytest.mark.parametrize("times", [UniformTimes(), LogSNRTimes()], ids=lambda t: type(t).__name__)
def test_the_likelihood_loss_is_the_mutual_information(name: str, times: DensitySampler) -> None:
    """For the exact denoiser of N(0, s²) it is ``½ ∫ mmse dSNR = ½ log((1 + s²γ_max)/(1 + s²γ_min))``."""
    sde, size = SMOOTH[name], 60_000
    loss = exact_loss(sde, space(size), noise(size, seed=4), times=times, weight=LikelihoodWeight(sde, times))
    high, low = log_snr(sde, torch.tensor([sde.t_min, sde.t_max], dtype=torch.float64)).exp().tolist()
    exact = 0.5 * math.log((1 + STD**2 * high) / (1 + STD**2 * low))
    error = float(loss.std()) / math.sqrt(size)
    assert float(loss.mean()) == pytest.approx(exact, abs=4.5 * error)
    assert error < 0.05 * exact


@pytest.mark.parametrize("name", ["vp", "ve", "edm", "rectified_flow"])
def test_importance_sampled_times_lower_the_variance(name: str) -> None:
    sde, size = SMOOTH[name], 20_000

    def spread(times: DensitySampler) -> float:
        weight = LikelihoodWeight(sde, times)
        return float(exact_loss(sde, space(size), noise(size), times=times, weight=weight).std())

    if name == "ve":  # uniform time is already uniform in log-SNR
        assert spread(LogSNRTimes()) == pytest.approx(spread(UniformTimes()), rel=0.05)
    else:
        assert spread(LogSNRTimes()) < 0.9 * spread(UniformTimes())


def test_an_infinite_range_is_refused() -> None:
    with pytest.raises(ValueError, match="log-SNR is infinite at an end"):
        LogSNRTimes()(torch.tensor([0.5]), RectifiedFlow())


def test_stratified_times_take_one_from_each_stratum() -> None:
    """The same law as free uniforms, with every stratum hit once whatever the draw."""
    uniform = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    times = Stratified(UniformTimes())(uniform, VE())
    strata = (times * 64).floor()
    assert strata.tolist() == list(range(64))
    torch.testing.assert_close(times * 64 - strata, uniform)
