"""One network call as a function: of a model of ours, of a configuration, of other packages.

Weights of configurations and of other packages are random: they take the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from scoregen.audio.config import VocoderModelConfig, build_denoiser
from scoregen.audio.guided import Guided
from scoregen.audio.matching import scaled
from scoregen.audio.vocoder import Vocoder
from scoregen.hub import Model
from scoregen.training.config import load_config

Call = Callable[[], Any]

PEERS = {"lmnt wavegrad": "wavegrad", "vocos": "vocos"}
"""Name in the table → package."""

FULL = "wavegrad-24k"
"""Our configuration of the width that lmnt's package has: the paper's base model, hop 300 at 24 kHz."""


def ours(vocoder: Vocoder, seconds: float) -> tuple[Call, float]:
    """A call on so many seconds of sound, and how many it really is (whole frames).

    Args:
        vocoder: the model.
        seconds: wanted.
    """
    spec, denoiser = vocoder.spec, vocoder.denoiser
    frames = max(8, round(seconds * vocoder.sample_rate / spec.hop))
    random = torch.Generator().manual_seed(0)
    # A mel of noise at the level of training clips: neither the floor nor beyond the convention's ceiling.
    wave = 0.1 * torch.randn(1, (frames + 8) * spec.hop, generator=random)
    mel = spec(wave)[..., :frames]
    space = vocoder.config.make_prior().space(mel)
    network = vocoder.network
    condition = network.condition(mel, space) if isinstance(network, Guided) else scaled(spec, mel)
    x = torch.randn(1, frames * spec.hop, generator=random)
    t = torch.full((1,), denoiser.sde.t_max / 2, dtype=torch.float64)

    def call() -> Any:
        return denoiser(x, t, space, condition).x0

    return call, frames * spec.hop / vocoder.sample_rate


def of_config(name: str) -> Vocoder:
    """A vocoder of a shipped configuration with random weights."""
    config = load_config(name).resolve()[1]
    assert isinstance(config, VocoderModelConfig)
    # Orthogonal matrices of that size take longer than the timing; any weights take the same time.
    quick = patch("torch.nn.init.orthogonal_", nn.init.normal_) if config.chain else nullcontext()
    with quick:
        denoiser = build_denoiser(config).eval().requires_grad_(False)
    return Vocoder(Model(name, "audio", config, denoiser))


def peer(name: str, seconds: float) -> tuple[Call, float, nn.Module]:
    """A call of another package's network at its published size, on so many seconds of 24 kHz sound.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    if name == "vocos":
        backbone_class = import_module("vocos.models").VocosBackbone
        head_class = import_module("vocos.heads").ISTFTHead
        # charactr/vocos-mel-24khz.
        backbone = backbone_class(input_channels=100, dim=512, intermediate_dim=1536, num_layers=8)
        head = head_class(dim=512, n_fft=1024, hop_length=256)
        network: nn.Module = nn.Sequential(backbone, head).eval()
        frames = round(seconds * 24_000 / 256)
        mel = torch.randn(1, 100, frames)
        return lambda: network(mel), frames * 256 / 24_000, network
    module = import_module("wavegrad.model")
    with patch("torch.nn.init.orthogonal_", nn.init.normal_):
        network = module.WaveGrad(None).eval()
    frames = round(seconds * 24_000 / 300)
    wave, mel, level = torch.randn(1, frames * 300), torch.randn(1, 128, frames), torch.tensor([0.5])
    return lambda: network(wave, mel, level), frames * 300 / 24_000, network
