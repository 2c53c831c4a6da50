r"""What a mel spectrogram says about the STFT of its speech, learned: magnitudes, and how phases move.

A mel band above 1 kHz holds several harmonics; a ConvNeXt stack at the frame rate sees the pitch in the low
bands and draws the harmonics above. It draws frames finer than the mel's: at a redundancy of eight, phases
follow from magnitudes almost without loss (Průša, Balazs & Søndergaard 2017), at four they do not. Their
slopes, which theory gives for magnitudes that are exact, it corrects, each with a certainty
(:mod:`scoregen.audio.synchrony`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scoregen.errors import InputError

from . import heap
from .convnext import ConvNeXtBlock
from .matching import scaled
from .mel import MelSpec
from .phase import Grid, analyse
from .prior import band_interpolation
from .synchrony import Edges, edges_of, von_mises_loss

SMALLEST = 1e-4
"""Magnitudes below this count as silence."""

CERTAINTY = (-3.0, 8.0)
"""Range of ln κ."""

EDGE = 2
"""Frames of mel at either end of a crop that its losses leave out: they see reflected samples."""


@dataclass(frozen=True)
class SpectrumConfig:
    """Sizes of a :class:`SpectrumNet`.

    Attributes:
        width: channels of a frame.
        layers: ConvNeXt blocks, of dilation 1 and 2 in turn.
        kernel: frames of their convolutions, odd.
        expansion: width of their hidden layers, in widths.
        finer: frames of the STFT in a frame of the mel; a divisor of the hop.
        bins: lowest frequencies whose phase slopes are corrected; above, noise has no slope to learn.
    """

    width: int = 320
    layers: int = 6
    kernel: int = 5
    expansion: int = 3
    finer: int = 2
    bins: int = 256

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.expansion, self.finer, self.bins) < 1 or self.kernel % 2 == 0:
            raise InputError("spectrum: all sizes must be at least 1, and kernel odd")


@dataclass(frozen=True)
class Spectrum:
    """An estimated STFT, but for one angle.

    Attributes:
        log_magnitude: natural logarithms ``(B, K, F * finer)``.
        edges: differences of phases, in the bins that the mel covers (``SpectrumNet.band`` of them).
    """

    log_magnitude: Tensor
    edges: Edges


@dataclass(frozen=True)
class Heads:
    """What the network gives, before edges are made of it.

    Attributes:
        log_magnitude: ``(B, K, G)``.
        slopes: differences by the magnitudes alone, radians, in the band of the mel: across
            ``(B, band, G - 1)`` and up ``(B, band - 1, G)``.
        turns: their corrections for the lowest bins, ``(B, 3, bins, ·)`` each: cosine less 1, sine, ln κ
            less 1.
    """

    log_magnitude: Tensor
    slopes: tuple[Tensor, Tensor]
    turns: tuple[Tensor, Tensor]


class SpectrumNet(nn.Module):
    """Log-mel → an STFT's log magnitudes and phase differences, on a grid finer than the mel's.

    Starts as the interpolation of the mel's envelope, with the phase slopes of its magnitudes.

    Args:
        spec: mel convention.
        config: sizes.

    Raises:
        InputError: the hop is no multiple of twice ``finer``, or more ``bins`` than the mel covers.
    """

    band: int
    """Bins that the mel covers, from 0 Hz on."""

    def __init__(self, spec: MelSpec, config: SpectrumConfig):
        super().__init__()
        self.spec, self.config = spec, config
        self.grid = Grid.finer(spec, config.finer)
        width, bins = config.width, spec.n_fft // 2 + 1
        self.band = min(bins, math.ceil(spec.f_max * spec.n_fft / spec.sample_rate) + 1)
        if config.bins >= self.band:
            raise InputError(
                f"model.spectrum.bins: {config.bins}, but the mel of '{spec.name}' has {self.band}"
            )
        self.first = nn.Conv1d(spec.n_mels, width, config.kernel, padding=config.kernel // 2)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, config.kernel, config.expansion * width, 1 + layer % 2)
            for layer in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.magnitude = nn.Linear(width, config.finer * bins)
        self.phase = nn.Linear(width, config.finer * 6 * config.bins)
        for layer in (self.magnitude, self.phase):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def halo(self) -> int:
        """Frames of the mel on either side that an output frame depends on."""
        return self.config.kernel // 2 + sum(block.reach for block in self.blocks) + 2  # type: ignore[misc]

    def forward(self, mel: Tensor) -> Spectrum:
        """Aligned log-mel ``(B, n_mels, F)`` → its :class:`Spectrum`."""
        heads = self.heads(mel)
        made = [
            _edge(slope, turn, self.config.bins)
            for slope, turn in zip(heads.slopes, heads.turns, strict=True)
        ]
        return Spectrum(heads.log_magnitude, Edges(*made))

    def heads(self, mel: Tensor) -> Heads:
        """What :meth:`forward` and :func:`spectrum_loss` start from."""
        finer, bins = self.config.finer, self.config.bins
        weight, mixing = band_interpolation(self.spec)
        level = (self.spec.expand(mel) / weight.to(mel)[:, None] + SMALLEST).log()
        base = functional.interpolate(mixing.to(mel).T @ level, scale_factor=finer, mode="linear")
        x = self.first(scaled(self.spec, mel)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        size, frames = x.shape[0], x.shape[1] * finer
        detail = self.magnitude(x).view(size, frames, -1).transpose(1, 2)
        turns = self.phase(x).view(size, frames, 2, 3, bins).permute(2, 0, 3, 4, 1)
        log_magnitude = base + detail
        slopes = heap.between(*heap.slopes(self.grid, log_magnitude[:, : self.band].detach()))
        return Heads(log_magnitude, slopes, (turns[0][..., :-1], turns[1]))


def _edge(slope: Tensor, turn: Tensor, bins: int) -> Tensor:
    """Certainty and difference: ``(B, ·, G)`` and ``(B, 3, bins, G)`` → complex ``(B, ·, G)``."""
    cosine, sine, level = functional.pad(turn, (0, 0, 0, slope.shape[1] - bins)).unbind(1)
    size = ((1 + cosine).square() + sine.square() + 1e-18).rsqrt()
    factor = torch.complex((1 + cosine) * size, sine * size)
    return factor * torch.polar((level + 1).clamp(*CERTAINTY).exp(), slope)


def spectrum_loss(network: SpectrumNet, heads: Heads, wave: Tensor) -> dict[str, Tensor]:
    """Losses of an estimated spectrum against recordings ``(B, F * hop)``, one value each.

    ``magnitude``: mean absolute error of the log magnitudes, plus twice the relative one of the square roots,
    which looks at the loud cells. ``across`` and ``up``: negative log-likelihoods of the phase differences,
    loud cells count more.
    """
    inner = slice(EDGE * network.config.finer, -EDGE * network.config.finer)
    spectrum = analyse(network.grid, wave)[..., 1:-1]
    true, found = spectrum.abs()[..., inner], heads.log_magnitude[..., inner]
    density = _bark_density(network.spec, true.shape[1]).to(true)[:, None]
    logs = (density * ((true + SMALLEST).log() - found).abs()).mean()
    roots = (density * (true.sqrt() - (found / 2).exp()).abs()).mean()
    roots = roots / (density * true.sqrt()).mean().clamp(min=SMALLEST)
    values = {"magnitude": logs + 2 * roots}
    bins = network.config.bins
    with torch.no_grad():
        edges = edges_of(spectrum[:, : bins + 1])
    pairs = zip((edges.across[:, :bins], edges.up), heads.slopes, heads.turns, strict=True)
    for name, (edge, slope, turn) in zip(("across", "up"), pairs, strict=True):
        with torch.no_grad():
            strength = edge.abs()
            ahead = edge / (strength + 1e-9) * torch.polar(torch.ones_like(strength), -slope[:, :bins])
            weight = (density[: strength.shape[1]] * strength.sqrt())[..., inner]
        cosine, sine = 1 + turn[:, 0], turn[:, 1]
        size = (cosine.square() + sine.square() + 1e-9).rsqrt()
        agreement = (cosine * ahead.real + sine * ahead.imag) * size
        likelihood = von_mises_loss(agreement, (turn[:, 2] + 1).clamp(*CERTAINTY).exp())[..., inner]
        values[name] = (weight * likelihood).sum() / weight.sum().clamp(min=1e-9)
    return values


def _bark_density(spec: MelSpec, bins: int) -> Tensor:
    """Critical bands in a bin, relative to their mean: the derivative of the Bark scale (Traunmüller,
    *Analytical expressions for the tonotopic sensory scale*, JASA 1990), ``(bins,)``."""
    frequency = torch.arange(bins) * spec.sample_rate / spec.n_fft
    density = (1960.0 + frequency).pow(-2)
    return density / density.mean()
