"""What the audio tests share: the shipped recordings and a small untrained vocoder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from scoregen.audio.config import VocoderModelConfig, build_denoiser
from scoregen.audio.files import read_clip
from scoregen.audio.mel import MelSpec, aligned
from scoregen.audio.prepare import normalised
from scoregen.audio.prior import Prior
from scoregen.audio.vocoder import Vocoder
from scoregen.hub import Model

SPEECH = Path(__file__).parents[2] / "data" / "speech"
CLIPS = tuple(sorted(SPEECH.rglob("*.flac")))
SPEC = MelSpec.preset("hifigan-22k")


@lru_cache
def speech(index: int = 0, level: bool = True) -> np.ndarray:
    """A shipped recording, whole hops, brought to the training level unless ``level`` is off."""
    wave = read_clip(CLIPS[index]).wave
    wave = wave[: len(wave) // SPEC.hop * SPEC.hop]
    return normalised(wave, SPEC) if level else wave


def mel_of(wave: np.ndarray) -> torch.Tensor:
    """Aligned log-mel ``(80, F)`` of a waveform of whole hops."""
    return aligned(SPEC, SPEC(torch.from_numpy(wave)), len(wave) // SPEC.hop)


@lru_cache
def calibrated(kind: str) -> Prior:
    """A prior calibrated on the shipped recordings."""
    return Prior(SPEC, kind).calibrated([speech(i) for i in range(len(CLIPS))])  # type: ignore[arg-type]


def small_config(**changes: object) -> VocoderModelConfig:
    """A vocoder small enough for tests."""
    values = {
        "network": {"kind": "frames", "width": 16, "layers": 2, "kernel": 3, "expansion": 2},
        "spectrum": {"width": 16, "layers": 2, "expansion": 2, "bins": 64},
        "prior": calibrated("spectral").to_dict(),
        "rounds": 2,
        "iterations": 2,
        **changes,
    }
    return VocoderModelConfig.model_validate(values)


@lru_cache
def small_vocoder() -> Vocoder:
    """An untrained vocoder whose every weight matters."""
    config = small_config()
    torch.manual_seed(0)
    denoiser = build_denoiser(config).eval().requires_grad_(False)
    for parameter in denoiser.parameters():
        if not bool(parameter.any()):
            parameter.normal_(0, 0.02)
    return Vocoder(Model("small", "audio", config, denoiser))
