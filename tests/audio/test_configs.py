"""The audio configurations that ship: each builds, and what its comment says of its size is true."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import nn

from scoregen.audio.config import VocoderDataConfig, VocoderModelConfig, build_denoiser
from scoregen.audio.guided import Guided
from scoregen.audio.objective import VocoderTask
from scoregen.audio.prepare import prepare_audio
from scoregen.audio.wavegrad import WaveGrad
from scoregen.core.ddpm import linear_betas
from scoregen.training.config import CONFIGS, load_config

from .helpers import SPEECH

AUDIO = sorted(p.stem for p in CONFIGS.glob("*.yaml") if "modality: audio" in p.read_text())
WAVEGRADS = [name for name in AUDIO if name.startswith("wavegrad")]
PUBLISHED = ["wavegrad-22k-base", "wavegrad-24k"]


@lru_cache
def built(name: str) -> tuple[VocoderModelConfig, VocoderDataConfig, Any]:
    _, model, data = load_config(name).resolve()
    # Sizes alone count here, and orthogonal matrices of that size take seconds.
    with patch("torch.nn.init.orthogonal_"):
        return model, data, build_denoiser(model).network


def said(name: str, pattern: str) -> float:
    """A number in the comments of a configuration."""
    found = re.search(pattern, (CONFIGS / f"{name}.yaml").read_text())
    assert found, f"{name}: no '{pattern}' in its comments"
    return float(found[1].replace(",", ""))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def macs_per_second(network: WaveGrad, rate: int) -> float:
    """Multiply-adds of one call for each second of sound, from the sizes of the convolutions."""
    factors, hop = network.config.factors, network.config.hop
    frames = rate / hop
    positions, total = {"mel": frames}, 0.0
    reached = frames
    for k, factor in enumerate(factors):
        positions[f"up.{k}.shortcut"] = reached
        reached *= factor
        positions[f"up.{k}.layers"] = reached
        positions[f"film.{k}"] = reached
    positions |= {"first": reached, "last": reached}
    for k, factor in enumerate(factors[:0:-1]):
        reached /= factor
        positions[f"down.{k}"] = reached
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv1d):
            length = next(n for prefix, n in positions.items() if name.startswith(prefix))
            total += length * layer.in_channels * layer.out_channels * layer.kernel_size[0]
    return total


def test_there_are_configurations_to_check() -> None:
    assert {"vocoder-fast-22k", "wavegrad-22k", *PUBLISHED} <= set(AUDIO)


@pytest.mark.parametrize("name", AUDIO)
def test_it_builds(name: str) -> None:
    model, data, network = built(name)
    assert parameters(network) > 0
    assert data.frames * model.spec().hop > model.spec().n_fft


@pytest.mark.parametrize("name", WAVEGRADS)
def test_the_stated_size_is_the_size(name: str) -> None:
    model, _, network = built(name)
    count = parameters(network)
    assert said(name, r"([\d,]+) parameters") == count
    assert said(name, r"([\d.]+) MB in float16") == pytest.approx(2 * count / 1e6, abs=0.05)
    macs = macs_per_second(network, model.spec().sample_rate)
    assert said(name, r"([\d.]+) GMAC") == pytest.approx(macs / 1e9, abs=0.06)


def test_the_narrow_one_fits_the_weight_limit() -> None:
    _, _, network = built("wavegrad-22k")
    assert 2 * parameters(network) < 15e6


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_ones_are_as_published(name: str) -> None:
    """Channels, dilations, noise and optimiser of section 4 and of the lmnt implementation."""
    model, data, network = built(name)
    run = load_config(name).train
    assert [block.layers[0].out_channels for block in network.up] == [512, 512, 256, 128, 128]
    up = [tuple(layer.dilation[0] for layer in block.layers) for block in network.up]
    assert up == [(1, 2, 1, 2)] * 2 + [(1, 2, 4, 8)] * 3
    assert [tuple(layer.dilation[0] for layer in block.layers) for block in network.down] == [(1, 2, 4)] * 4
    assert (network.config.patch, network.config.whiten) == (1, False)
    assert (model.prior.kind, model.prior.gains) == ("identity", (1.0,))
    assert model.chain is not None
    assert model.chain.process().betas == linear_betas(1000, 1e-6, 0.01)
    assert (run.learning_rate, run.clip, run.betas, run.weight_decay) == (2e-4, 1.0, (0.9, 0.999), 0)
    assert data.frames == 24


def test_the_fast_one_works_on_frames_alone() -> None:
    model, data, network = built("vocoder-fast-22k")
    assert isinstance(network, Guided) and model.chain is None
    assert not any(isinstance(module, WaveGrad) for module in network.modules())
    assert 2 * parameters(network) < 15e6
    assert data.spectrum_weight > 0 or network.correction is not None


def test_the_24_khz_one_has_the_papers_mel() -> None:
    spec = built("wavegrad-24k")[0].spec()
    assert (spec.sample_rate, spec.n_mels, spec.hop, spec.win_length) == (24_000, 128, 300, 1200)
    assert (spec.n_fft, spec.f_min, spec.f_max) == (2048, 20.0, 12_000.0)


def test_the_narrow_one_learns(tmp_path: Path) -> None:
    """Three steps on one batch: the error of the noise falls from that of a network of zeros, √(2/π)."""
    prepare_audio([SPEECH], tmp_path / "cache", dev_fraction=0.3)
    overrides = [f"data.cache={tmp_path / 'cache'}", "data.batch=2", "data.frames=24"]
    _, model, data = load_config("wavegrad-22k", overrides).resolve()
    torch.manual_seed(0)
    task, denoiser = VocoderTask(model, data, 0), build_denoiser(model)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=2e-4)
    batch, losses = task.batch(0), []
    for _ in range(4):
        loss = task.loss(denoiser, batch, 0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(0.798, abs=0.03)
    assert losses[-1] < losses[0] - 0.01
