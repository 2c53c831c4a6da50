"""Mel spectrograms as targets: what a network sees of them, and signals that are brought to them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .mel import MelSpec, aligned
from .phase import analyse, outer, synthesise
from .prior import band_interpolation


def scaled(spec: MelSpec, mel: Tensor) -> Tensor:
    """Log-mel brought to about zero mean and unit deviation for a network."""
    plain = spec.unnormed(mel)
    if spec.log == "db01":
        return (plain - 0.5) * 4
    return ((plain if spec.log == "ln" else plain * math.log(10)) + 5) / 2.5


def pseudo_inverse(spec: MelSpec, mel: Tensor) -> Tensor:
    """Magnitudes without learning: Moore-Penrose inverse of the mel filters, negative values set to 0."""
    inverse = torch.linalg.pinv(spec.filterbank().T.to(torch.float64)).to(mel)
    magnitude: Tensor = (inverse @ spec.expand(mel)).clamp(min=0)
    if spec.window_norm:
        magnitude = magnitude * math.sqrt(float(torch.hann_window(spec.win_length).square().sum()))
    return magnitude


def mel_gain(spec: MelSpec, mel: Tensor, found: Tensor, strength: float = 1.0) -> Tensor:
    """Factors for the cells of an STFT that bring its log-mel ``found`` to ``mel``, both ``(B, n_mels, F)``.

    Returns:
        ``(B, n_fft // 2 + 1, F)``, interpolated between bands, each within a factor of e².
    """
    _, mixing = band_interpolation(spec)
    wanted, have = (spec.expand(m).clamp(min=spec.floor).log() for m in (mel, found))
    nats = (wanted - have).clamp(-2, 2)
    return (strength * (mixing.to(mel).T @ nats)).exp()


def with_mel_of_wave(spec: MelSpec, wave: Tensor, mel: Tensor) -> Tensor:
    """``wave`` ``(B, F * hop)`` filtered in time and frequency so that its mel comes nearer to ``mel``."""
    found = aligned(spec, spec(wave), mel.shape[-1])
    return synthesise(spec, outer(mel_gain(spec, mel, found)) * analyse(spec, wave))
