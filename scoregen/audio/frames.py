r"""A denoiser at the frame rate: ConvNeXt over STFT frames and an inverse STFT, for synthesis on a CPU.

Vocos (Siuzdak, ICLR 2024) showed that a ConvNeXt stack (Liu et al., CVPR 2022) on frames with an inverse STFT
as its head needs a hundredth of the arithmetic of networks that work on samples. Here such a stack corrects a
denoiser that needs no training, as in deep Griffin-Lim iteration (Masuyama et al., ICASSP 2019).

The phase of a cell of the STFT, taken alone, says nothing: it turns with the delay of the clip and with the
place of the frame. So the network sees each phase relative to that of the classical estimate C in the same
cell, and C by how its own phase moves from frame to frame and from bin to bin (instantaneous frequency and
group delay); what it returns is a complex factor, turned back by C's phase. Delay the input by a hop, or turn
all phases by one angle, and the output follows exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scoregen.errors import InputError

from .convnext import ConvNeXtBlock
from .mel import MelSpec
from .wavegrad import LevelEncoding

FEATURES = 8
"""Numbers that the network sees of each cell."""

SPAN = 4.0
"""Logarithms of ratios are cut off at ±SPAN, and ratios at SPAN."""


@dataclass(frozen=True)
class FrameNetConfig:
    """Sizes of a frame-rate network.

    Attributes:
        width: channels of a frame.
        layers: ConvNeXt blocks.
        kernel: frames that a block's depthwise convolution spans, odd.
        expansion: width of a block's hidden layer, in widths.
    """

    width: int = 256
    layers: int = 6
    kernel: int = 7
    expansion: int = 3

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.expansion) < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise InputError("network: width, layers and expansion must be at least 1, and kernel odd")


class FrameNet(nn.Module):
    """Correction of a classical denoiser in the STFT domain; see the module docstring.

    Args:
        spec: mel convention; gives the STFT.
        config: sizes.
    """

    def __init__(self, spec: MelSpec, config: FrameNetConfig):
        super().__init__()
        self.spec, self.config = spec, config
        bins, width = spec.n_fft // 2 + 1, config.width
        self.first = nn.Linear(FEATURES * bins, width)
        self.encoding = LevelEncoding(width)
        self.level = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, config.kernel, config.expansion * width, level=True)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, 2 * bins)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def halo(self) -> int:
        """Frames on either side that an output frame depends on."""
        return 1 + self.config.layers * (self.config.kernel // 2)

    def forward(
        self, state: Tensor, classical: Tensor, magnitude: Tensor, deviation: Tensor, c_noise: Tensor
    ) -> Tensor:
        """Correction of the classical estimate.

        Args:
            state: STFT of the noisy waveform, complex ``(B, K, F)``.
            classical: STFT of the classical estimate, the same shape.
            magnitude: estimated magnitudes M, ``(B, K, F)``, positive.
            deviation: of the noise at this level, on the STFT's grid, ``(B, K, F)``.
            c_noise: noise level ``(B,)``.

        Returns:
            Complex ``(B, K, F)``, to be added to ``classical``.
        """
        spread = (magnitude.square() + deviation.square()).sqrt()
        phase = functional.normalize(torch.view_as_real(classical), dim=-1)
        turned = torch.view_as_complex(phase)
        features = relative(
            state, classical, turned, magnitude, deviation, spread, self.spec.hop / self.spec.n_fft
        )
        x = self.first(features.flatten(1, 2).transpose(1, 2))
        level = self.level(functional.silu(self.encoding(c_noise).transpose(1, 2)))
        for block in self.blocks:
            x = block(x, level)
        factor = self.last(self.norm(x)).transpose(1, 2).unflatten(1, (2, -1))
        # What is left unsaid by the state and the magnitudes: the deviation of their product of Gaussians.
        left = magnitude * deviation / spread
        return torch.complex(factor[:, 0] * left, factor[:, 1] * left) * turned


def relative(
    state: Tensor,
    classical: Tensor,
    turned: Tensor,
    magnitude: Tensor,
    deviation: Tensor,
    spread: Tensor,
    advance: float,
) -> Tensor:
    """What the network sees: nothing in it changes when all phases turn by one angle.

    Args:
        state, classical: complex STFTs ``(B, K, F)``.
        turned: phase factors of ``classical``.
        magnitude, deviation, spread: M, that of the noise S, and ``√(M² + S²)``, ``(B, K, F)``.
        advance: hop over FFT size: a sinusoid in the middle of bin k turns by ``2πk·advance`` a frame.

    Returns:
        ``(B, FEATURES, K, F)``: ln(M/S), ln(\\|C\\|/M), the state in C's frame (real and imaginary part), and
        cosine and sine of C's phase advance, over frames less the bin's own, and over bins.
    """
    small = 1e-6
    tilt = ((magnitude + small).log() - (deviation + small).log()).clamp(-SPAN, SPAN) / 2
    loudness = ((classical.abs() + small).log() - (magnitude + small).log()).clamp(-SPAN, SPAN) / 2
    own = (state * turned.conj() / spread).view(torch.complex64)
    rates = torch.arange(state.shape[1], device=state.device, dtype=magnitude.dtype)
    expected = torch.polar(torch.ones_like(rates), -2 * math.pi * advance * rates)[:, None]
    over_frames = functional.pad(turned[..., 1:] * turned[..., :-1].conj() * expected, (1, 0))
    over_bins = functional.pad(turned[:, 1:] * turned[:, :-1].conj(), (0, 0, 1, 0))
    parts: list[Any] = [tilt, loudness]
    for value in (own, over_frames, over_bins):
        parts += [value.real.clamp(-SPAN, SPAN), value.imag.clamp(-SPAN, SPAN)]
    return torch.stack(parts, dim=1)
