"""The classical estimate, with one learned step: mel spectrogram to STFT magnitudes, then Griffin-Lim.

A mel band above 1 kHz holds several harmonics; its pseudo-inverse smears them, and that limits Griffin-Lim.
A small convolutional network at the frame rate undoes the smear: it sees the pitch in the low bands and draws
the harmonics above. It costs a few per cent of a waveform network's arithmetic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .mel import MelSpec
from .phase import analyse, griffin_lim
from .prior import band_interpolation

SMALLEST = 1e-4
"""Magnitudes below this count as silence."""


class ResidualBlock(nn.Module):
    """Dilated convolution over frames and a 1x1 convolution, starting as the identity."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.mix = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, F)`` → the same shape."""
        change: Tensor = self.out(functional.gelu(self.mix(x)))
        return x + change


class MagnitudeNet(nn.Module):
    """Log-mel → log STFT magnitudes; starts as the interpolation of the mel envelope.

    Args:
        spec: the mel convention.
        width: channels.
        dilations: one residual block each.
    """

    def __init__(self, spec: MelSpec, width: int = 256, dilations: tuple[int, ...] = (1, 2, 1, 2)):
        super().__init__()
        self.spec, self.dilations = spec, dilations
        self.first = nn.Conv1d(spec.n_mels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width, d) for d in dilations))
        self.last = nn.Conv1d(width, spec.n_fft // 2 + 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def halo(self) -> int:
        """Frames on either side that an output frame depends on."""
        return 1 + sum(self.dilations)

    def forward(self, mel: Tensor) -> Tensor:
        """Aligned log-mel ``(B, n_mels, F)`` → log magnitudes ``(B, n_fft // 2 + 1, F)``."""
        weight, mixing = band_interpolation(self.spec)
        level = (self.spec.expand(mel) / weight.to(mel)[:, None] + SMALLEST).log()
        base = mixing.to(mel).T @ level
        detail: Tensor = self.last(self.blocks(self.first(scaled(self.spec, mel))))
        return base + detail


def scaled(spec: MelSpec, mel: Tensor) -> Tensor:
    """Log-mel brought to about zero mean and unit deviation for a network."""
    return (mel + 5) / 2.5 if spec.log == "ln" else (mel - 0.5) * 4


def magnitude_loss(spec: MelSpec, log_magnitude: Tensor, wave: Tensor) -> Tensor:
    """Mean absolute error of the log magnitudes against those of ``wave`` ``(B, F * hop)``, one value."""
    true = analyse(spec, wave)[..., 1:-1].abs()
    # The outermost frames see the reflected edges of the crop.
    return ((true + SMALLEST).log() - log_magnitude)[..., 2:-2].abs().mean()


def pseudo_inverse(spec: MelSpec, mel: Tensor) -> Tensor:
    """Magnitudes without learning: Moore-Penrose inverse of the mel filters, negative values set to 0."""
    inverse = torch.linalg.pinv(spec.filterbank().T.to(torch.float64)).to(mel)
    magnitude: Tensor = (inverse @ spec.expand(mel)).clamp(min=0)
    if spec.window_norm:
        magnitude = magnitude * math.sqrt(float(torch.hann_window(spec.win_length).square().sum()))
    return magnitude


def estimate(spec: MelSpec, magnitude: Tensor, white: Tensor, iterations: int) -> Tensor:
    """Waveforms ``(B, F * hop)`` by fast Griffin-Lim from the phases of the noise ``white``."""
    return griffin_lim(spec, magnitude, iterations=iterations, phases=white)
