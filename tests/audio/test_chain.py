"""WaveGrad as published: sizes, levels, objective, and sampling along chains."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from scoregen.audio.config import ChainConfig, VocoderDataConfig, VocoderModelConfig, build_denoiser
from scoregen.audio.objective import ChainTimes, VocoderTask
from scoregen.audio.prepare import prepare_audio
from scoregen.audio.render import ChainRenderer
from scoregen.audio.vocoder import Vocoder
from scoregen.audio.wavegrad import LevelEncoding, WaveGrad, WaveGradConfig
from scoregen.core import Noise
from scoregen.core.ddpm import DDPM, linear_betas
from scoregen.errors import InputError
from scoregen.hub import Model

from .helpers import SPEC, SPEECH, mel_of, speech

SMALL = {"factors": [4, 4], "patch": 16, "frame": 16, "up": [16, 8], "down": [8, 16], "whiten": False}


def config(**chain: object) -> VocoderModelConfig:
    values = {"network": SMALL, "chain": {"steps": 8, "last": 0.3, **chain}, "prior": {"kind": "identity"}}
    return VocoderModelConfig.model_validate(values)


@lru_cache
def vocoder() -> Vocoder:
    made = config(schedules={3: (1e-4, 1e-2, 0.5)})
    torch.manual_seed(0)
    denoiser = build_denoiser(made).eval().requires_grad_(False)
    denoiser.network.last.weight.normal_(0, 0.02)
    return Vocoder(Model("small-chain", "audio", made, denoiser))


def test_the_published_network_has_the_published_size() -> None:
    base = WaveGrad(
        WaveGradConfig(n_mels=128, factors=(5, 5, 3, 2, 2), down=(32, 128, 128, 256, 512), frame=768)
    )
    assert base.config.hop == 300
    # "The base model has 15 million parameters" (section 4).
    assert 15e6 < sum(p.numel() for p in base.parameters()) < 16.5e6


def test_the_level_is_the_root_of_alpha_bar() -> None:
    alpha = torch.tensor([0.999999, 0.7, 0.01])
    level = ((1 - alpha**2).sqrt() / alpha).log() / 4
    code = LevelEncoding(8, alpha=True)(level)[:, :, 0]
    # Formula of section 3: sinusoids of 5000·√ᾱ at geometric rates from 1 to 1e-4.
    rates = 5000 * 10 ** (-4 * torch.arange(4) / 4)
    expected = torch.cat([(alpha[:, None] * rates).sin(), (alpha[:, None] * rates).cos()], dim=1)
    torch.testing.assert_close(code, expected, atol=2e-2, rtol=0)


def test_levels_are_uniform_between_neighbours_of_a_random_step() -> None:
    chain = ChainConfig(steps=10, last=0.3).process()
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha, _ = chain.marginal(ChainTimes()(uniform, chain))
    knots = chain.marginal(torch.arange(11.0))[0].flip(0)
    step = torch.searchsorted(knots, alpha).clamp(1, 10)
    counts = torch.bincount(step, minlength=11)[1:]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    inside = (alpha - knots[step - 1]) / (knots[step] - knots[step - 1])
    assert stats.kstest(inside.numpy(), "uniform").pvalue > 1e-3


def test_the_loss_is_the_mean_absolute_error_of_the_noise(tmp_path: Path) -> None:
    prepare_audio([SPEECH], tmp_path / "cache", dev_fraction=0.3)
    made = config()
    data = VocoderDataConfig.model_validate({"cache": tmp_path / "cache", "frames": 32, "batch": 4})
    task = VocoderTask(made, data, 0)
    denoiser = build_denoiser(made)
    batch = task.batch(0)
    # A fresh network predicts zero, so the error is that of white noise: E|n| = √(2/π).
    loss = task.loss(denoiser, batch, 0)["loss"]
    assert float(loss.detach()) == pytest.approx(math.sqrt(2 / math.pi), rel=0.02)
    loss.backward()
    assert float(denoiser.network.last.weight.grad.abs().max()) > 0


def test_ancestral_sampling_is_algorithm_two() -> None:
    made, length = vocoder(), 12 * SPEC.hop
    mels = mel_of(speech(0))[None, :, :12]
    noise = Noise(5, torch.tensor([7]))
    render = made.renderer
    assert isinstance(render, ChainRenderer)
    betas = (1e-3, 0.05, 0.4)
    found = render.along(DDPM(betas), mels, noise)

    space = render.prior.space(mels)
    alphas = [1 - beta for beta in betas]
    bars = [math.prod(alphas[: k + 1]) for k in range(3)]
    y = noise.normal(space, -1)
    # x_K has deviation √(1−ᾱ_K), as the forward process leaves it; the paper takes 1.
    y = y * math.sqrt(1 - bars[-1])
    for k in (2, 1, 0):
        level = torch.tensor([math.log(math.sqrt(1 - bars[k]) / math.sqrt(bars[k])) / 4])
        eps = made.network(y, level, space, (mels + 5) / 2.5)
        y = (y - betas[k] / math.sqrt(1 - bars[k]) * eps) / math.sqrt(alphas[k])
        if k > 0:
            sigma = math.sqrt((1 - bars[k - 1]) / (1 - bars[k]) * betas[k])
            y = y + sigma * noise.normal(space, 2 - k)
    assert found.shape == (1, length)
    torch.testing.assert_close(found, y, atol=1e-4, rtol=1e-3)


def test_schedules_serve_their_number_of_steps() -> None:
    made, mel = vocoder(), mel_of(speech(0))[:, :20]
    calls: list[int] = []
    handle = made.network.register_forward_hook(lambda *_: calls.append(1))
    try:
        few = made.synthesize(mel, steps=3)
        assert len(calls) == 3
        more = made.synthesize(mel, steps=4)
        assert len(calls) == 7
        made.synthesize(mel, steps=1000)
        assert len(calls) == 7 + 8  # the whole chain
    finally:
        handle.remove()
    assert few.shape == more.shape == (20 * SPEC.hop,)
    assert abs(few - more).max() > 1e-3


def test_blocks_of_a_chain_equal_the_whole() -> None:
    made, mel = vocoder(), mel_of(speech(0))
    whole = made.synthesize(mel, steps=3, block=10_000)
    np.testing.assert_allclose(made.synthesize(mel, steps=3, block=40), whole, atol=1e-5)


def test_a_chain_has_no_estimate_and_no_frame_network() -> None:
    with pytest.raises(InputError, match="starts from noise"):
        vocoder().estimate(mel_of(speech(0)))
    for network, chain, reason in (
        ({"kind": "frames"}, {}, "goes with a network of kind wavegrad"),
        (None, {}, "goes with a network of kind wavegrad"),
        (SMALL, None, "a WaveGrad goes with model.chain"),
    ):
        with pytest.raises(InputError, match=reason):
            build_denoiser(VocoderModelConfig.model_validate({"network": network, "chain": chain}))


def test_the_default_chain_is_that_of_the_base_model() -> None:
    assert ChainConfig().process().betas == linear_betas(1000, 1e-6, 0.01)
