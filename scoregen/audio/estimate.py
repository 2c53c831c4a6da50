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

from .mel import MelSpec, aligned
from .phase import analyse, griffin_lim, outer, synthesise
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
        slopes: also estimate corrections of the phase slopes (:mod:`scoregen.audio.heap`).
    """

    def __init__(
        self,
        spec: MelSpec,
        width: int = 256,
        dilations: tuple[int, ...] = (1, 2, 1, 2),
        slopes: bool = False,
    ):
        super().__init__()
        self.spec, self.dilations = spec, dilations
        self.first = nn.Conv1d(spec.n_mels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width, d) for d in dilations))
        self.last = nn.Conv1d(width, spec.n_fft // 2 + 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]
        self.turn: nn.Conv1d | None = None
        if slopes:
            self.turn = nn.Conv1d(width, 2 * (spec.n_fft // 2 + 1), 1)
            nn.init.zeros_(self.turn.weight)
            nn.init.zeros_(self.turn.bias)  # type: ignore[arg-type]

    def halo(self) -> int:
        """Frames on either side that an output frame depends on."""
        return 1 + sum(self.dilations)

    def forward(self, mel: Tensor) -> Tensor:
        """Aligned log-mel ``(B, n_mels, F)`` → log magnitudes ``(B, n_fft // 2 + 1, F)``."""
        return self.with_slopes(mel)[0]

    def with_slopes(self, mel: Tensor) -> tuple[Tensor, Tensor | None]:
        """Log magnitudes, and corrections of phase slopes per frame and per bin ``(B, 2, K, F)``, or None."""
        weight, mixing = band_interpolation(self.spec)
        level = (self.spec.expand(mel) / weight.to(mel)[:, None] + SMALLEST).log()
        base = mixing.to(mel).T @ level
        features = self.blocks(self.first(scaled(self.spec, mel)))
        detail: Tensor = self.last(features)
        turn = None if self.turn is None else self.turn(features).unflatten(1, (2, -1))
        return base + detail, turn


def scaled(spec: MelSpec, mel: Tensor) -> Tensor:
    """Log-mel brought to about zero mean and unit deviation for a network."""
    plain = spec.unnormed(mel)
    if spec.log == "db01":
        return (plain - 0.5) * 4
    return ((plain if spec.log == "ln" else plain * math.log(10)) + 5) / 2.5


def magnitude_loss(spec: MelSpec, log_magnitude: Tensor, wave: Tensor) -> Tensor:
    """Distance of the log magnitudes from those of ``wave`` ``(B, F * hop)``, one value.

    The mean absolute error of the logarithms plus twice the relative one of the square roots, which looks at
    the loud cells.
    """
    # The outermost frames see the reflected edges of the crop.
    true = analyse(spec, wave)[..., 3:-3].abs()
    found = log_magnitude[..., 2:-2]
    logs = ((true + SMALLEST).log() - found).abs().mean()
    roots = (true.sqrt() - (found / 2).exp()).abs().mean() / true.sqrt().mean().clamp(min=SMALLEST)
    return logs + 2 * roots


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


def with_mel(spec: MelSpec, magnitude: Tensor, mel: Tensor) -> Tensor:
    """``magnitude`` scaled so that its mel is ``mel`` (up to the interpolation between bands)."""
    found = spec.compress(spec.filterbank().to(mel).T @ magnitude)
    return magnitude * mel_gain(spec, mel, found)


def with_mel_of_wave(spec: MelSpec, wave: Tensor, mel: Tensor) -> Tensor:
    """``wave`` ``(B, F * hop)`` filtered in time and frequency so that its mel comes nearer to ``mel``."""
    found = aligned(spec, spec(wave), mel.shape[-1])
    return synthesise(spec, outer(mel_gain(spec, mel, found)) * analyse(spec, wave))


def consistent(
    spec: MelSpec, magnitude: Tensor, mel: Tensor, phases: Tensor, *, iterations: int, corrections: int = 2
) -> Tensor:
    """Griffin-Lim from the phases of a waveform, then corrections towards the mel.

    Griffin-Lim loses energy where its phases disagree; the mel says where, so it is given back.

    Args:
        spec: the mel convention.
        magnitude: ``(B, n_fft // 2 + 1, F)``.
        mel: aligned log-mel ``(B, n_mels, F)``.
        phases: waveform ``(B, F * hop)``.
        iterations: of Griffin-Lim.
        corrections: mel corrections of the result.

    Returns:
        ``(B, F * hop)``.
    """
    wave = griffin_lim(spec, magnitude, iterations=iterations, phases=phases)
    for _ in range(corrections):
        wave = with_mel_of_wave(spec, wave, mel)
    return wave


def estimate(
    spec: MelSpec, magnitude: Tensor, mel: Tensor, white: Tensor, *, rounds: int = 6, iterations: int = 8
) -> Tensor:
    """Waveform from phases of the noise ``white``; between rounds the magnitudes learn from the mel's error.

    Arguments and result as in :func:`consistent`; ``rounds`` times ``iterations`` of Griffin-Lim.
    """
    wave, target = white, magnitude
    for number in range(rounds):
        if number:
            found = aligned(spec, spec(wave), mel.shape[-1])
            target = target * mel_gain(spec, mel, found, strength=0.5)
        wave = griffin_lim(spec, target, iterations=iterations, phases=wave)
    return with_mel_of_wave(spec, wave, mel)
