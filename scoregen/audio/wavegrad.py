"""WaveGrad (Chen et al., ICLR 2021): a waveform denoiser conditioned on a mel spectrogram.

A *downsampling path* (:class:`DBlock`) reads the noisy waveform at ever lower rates; an *upsampling path*
(:class:`UBlock`) turns mel frames into samples; at each rate a :class:`FiLM` module turns the former and the
continuous noise level into a shift and a scale for the latter. Sizes, factors and dilations are free; the
product of the factors (and the patch) is the hop.

Two additions, both off in the paper's setting: the network may work on the *whitened* waveform (``whiten``:
the coordinates in which the prior's noise is white), and on several samples at a time (``patch``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scoregen.core import Space
from scoregen.errors import InputError

CLIP = 8.0
"""Largest whitened amplitude that the network sees. FiLM multiplies, so one outlier (an estimate with energy
where the prior expects none) would grow with the fourth power."""


@dataclass(frozen=True)
class WaveGradConfig:
    """Sizes of a WaveGrad network (the defaults are the paper's, for a hop of 256).

    Attributes:
        n_mels: bands of the mel condition.
        factors: upsampling factors, frame rate first; their product times ``patch`` is the hop.
        up: channels of the UBlocks, one for each factor.
        down: channels after the first convolution and after each DBlock, one for each factor; the DBlocks
            use ``factors[:0:-1]``.
        frame: channels of the mel convolution.
        up_dilations: four dilations of each UBlock.
        down_dilations: three dilations of the DBlocks.
        whiten: work in whitened coordinates.
        patch: consecutive samples that share one position of the fastest layer, as channels; 1 in the paper.
            A CPU spends most of WaveGrad's time on few channels at the full rate; a patch of 4 avoids that.
    """

    n_mels: int = 80
    factors: tuple[int, ...] = (4, 4, 4, 2, 2)
    up: tuple[int, ...] = (512, 512, 256, 128, 128)
    down: tuple[int, ...] = (32, 128, 128, 256, 512)
    frame: int = 768
    up_dilations: tuple[tuple[int, int, int, int], ...] = ((1, 2, 1, 2),) * 2 + ((1, 2, 4, 8),) * 3
    down_dilations: tuple[int, int, int] = (1, 2, 4)
    whiten: bool = False
    patch: int = 1

    def __post_init__(self) -> None:
        count = len(self.factors)
        if count == 0 or any(len(x) != count for x in (self.up, self.down, self.up_dilations)):
            raise InputError(
                f"network: factors, up, down and up_dilations need equal lengths, got"
                f" {count}, {len(self.up)}, {len(self.down)}, {len(self.up_dilations)}"
            )
        if min(*self.factors, *self.up, *self.down, self.frame, self.n_mels) < 1:
            raise InputError("network: every factor and size must be at least 1")

    @property
    def hop(self) -> int:
        """Samples for each mel frame."""
        return math.prod(self.factors) * self.patch

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WaveGradConfig:
        """Rebuild from :meth:`to_dict` (JSON has lists where this class has tuples)."""

        def tuples(value: Any) -> Any:
            return tuple(tuples(v) for v in value) if isinstance(value, list | tuple) else value

        try:
            return cls(**{key: tuples(value) for key, value in values.items()})
        except TypeError as error:
            raise InputError(f"network config: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict of the sizes."""
        return asdict(self)


class LevelEncoding(nn.Module):
    """Sinusoidal encoding of the continuous noise level (WaveGrad, section 3), added to every sample.

    The paper encodes 5000·√ᾱ (``alpha``). Else the level is ``c_noise = ¼ log(σ/α)`` as it comes, scaled so
    that neighbouring levels of a 1,000-step schedule are about as far apart as in the paper.
    """

    rates: Tensor

    def __init__(self, channels: int, alpha: bool = False):
        super().__init__()
        self.alpha, scale = alpha, 5000.0 if alpha else 500.0
        half = max(channels // 2, 1)
        rates = scale * 10.0 ** (-4.0 * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("rates", rates, persistent=False)
        self.channels = channels

    def forward(self, level: Tensor) -> Tensor:
        """``(B,)`` → ``(B, channels, 1)``."""
        if self.alpha:
            level = (1 + (8 * level).exp()).rsqrt()
        angle = level[:, None] * self.rates.to(level.dtype)
        code = torch.cat((angle.sin(), angle.cos()), dim=1)
        return functional.pad(code, (0, self.channels - code.shape[1]))[:, :, None]


def conv(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """A length-keeping convolution with orthogonal initial weights and zero bias."""
    layer = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2 * dilation, dilation=dilation)
    nn.init.orthogonal_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def act(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.2, the only non-linearity."""
    return functional.leaky_relu(x, 0.2)


class DBlock(nn.Module):
    """Downsampling block: three dilated convolutions beside a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int, factor: int, dilations: Sequence[int]):
        super().__init__()
        self.factor = factor
        self.shortcut = conv(inputs, outputs, 1)
        sizes = [inputs] + [outputs] * len(dilations)
        self.layers = nn.ModuleList(
            conv(a, b, 3, d) for a, b, d in zip(sizes, sizes[1:], dilations, strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, L)`` → ``(B, outputs, L / factor)``."""
        # Averaging instead of the reference's nearest sample: no aliasing, and it commutes with the 1x1.
        x = functional.avg_pool1d(x, self.factor) if self.factor > 1 else x
        short = self.shortcut(x)
        for layer in self.layers:
            x = layer(act(x))
        out: Tensor = x + short
        return out


class FiLM(nn.Module):
    """Feature-wise linear modulation by the downsampled waveform and the noise level (figure 4)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.input = conv(inputs, inputs, 3)
        self.level = LevelEncoding(inputs, alpha=True)
        self.output = conv(inputs, 2 * outputs, 3)

    def forward(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, inputs, L)`` and ``(B,)`` → shift and scale, ``(B, outputs, L)`` each."""
        shift, scale = self.output(act(self.input(x)) + self.level(level)).chunk(2, dim=1)
        return shift, scale


class UBlock(nn.Module):
    """Upsampling block: two residual pairs of dilated convolutions, modulated three times (figure 3)."""

    def __init__(self, inputs: int, outputs: int, factor: int, dilations: Sequence[int]):
        super().__init__()
        self.factor = factor
        self.shortcut = conv(inputs, outputs, 1)
        sizes = [inputs, outputs, outputs, outputs]
        self.layers = nn.ModuleList(
            conv(size, outputs, 3, d) for size, d in zip(sizes, dilations, strict=True)
        )

    def forward(self, x: Tensor, film: tuple[Tensor, Tensor]) -> Tensor:
        """``(B, inputs, L)`` → ``(B, outputs, L * factor)``."""
        shift, scale = film
        # A 1x1 convolution commutes with repetition, so the shortcut runs at the low rate.
        short = self._repeat(self.shortcut(x))
        y = self.layers[0](self._repeat(act(x)))
        y = self.layers[1](act(torch.addcmul(shift, scale, y)))
        x = short + y
        y = self.layers[2](act(torch.addcmul(shift, scale, x)))
        y = self.layers[3](act(torch.addcmul(shift, scale, y)))
        out: Tensor = x + y
        return out

    def _repeat(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.factor, dim=-1) if self.factor > 1 else x


class WaveGrad(nn.Module):
    """The network; see the module docstring.

    Its output at a sample depends on :meth:`halo` frames on either side, no more.

    Args:
        config: sizes.
    """

    def __init__(self, config: WaveGradConfig):
        super().__init__()
        self.config = config
        factors, up, down = config.factors, config.up, config.down
        self.mel = conv(config.n_mels, config.frame, 3)
        self.first = conv(config.patch, down[0], 5)
        self.down = nn.ModuleList(
            DBlock(a, b, f, config.down_dilations)
            for a, b, f in zip(down, down[1:], factors[:0:-1], strict=False)
        )
        self.film = nn.ModuleList(FiLM(a, b) for a, b in zip(down[::-1], up, strict=True))
        self.up = nn.ModuleList(
            UBlock(a, b, f, d)
            for a, b, f, d in zip((config.frame, *up), up, factors, config.up_dilations, strict=False)
        )
        self.last = conv(up[-1], config.patch, 3)
        # Start as the zero function: the denoiser then starts as the linear (Wiener) one.
        nn.init.zeros_(self.last.weight)

    def halo(self) -> int:
        """Frames on either side that an output sample can depend on (an upper bound)."""
        config = self.config
        # Samples between neighbouring positions, at the input and after each DBlock.
        strides = [config.patch]
        for factor in config.factors[:0:-1]:
            strides.append(strides[-1] * factor)
        reach = 2 * strides[0] + sum(s * (sum(config.down_dilations) + 1) for s in strides[1:])
        # A UBlock runs at the rate of the features that modulate it, with two FiLM convolutions.
        reach += sum(s * (sum(d) + 3) for s, d in zip(reversed(strides), config.up_dilations, strict=True))
        return -(-(reach + strides[0]) // config.hop) + 2

    def forward(self, x_in: Tensor, c_noise: Tensor, space: Space, cond: Tensor) -> Tensor:
        """Run the network.

        Args:
            x_in: scaled noisy waveform ``(B, F * hop)``.
            c_noise: noise level ``(B,)``.
            space: the batch; used when ``config.whiten``.
            cond: log-mel ``(B, n_mels, F)``, scaled.

        Returns:
            ``(B, F * hop)``.

        Raises:
            ValueError: the length of ``x_in`` is not the number of frames times the hop.
        """
        if x_in.shape[1] != cond.shape[2] * self.config.hop:
            raise ValueError(f"{x_in.shape[1]} samples for {cond.shape[2]} frames of {self.config.hop}")
        wave = space.whiten(x_in).clamp(-CLIP, CLIP) if self.config.whiten else x_in
        x = self.first(wave.reshape(wave.shape[0], -1, self.config.patch).transpose(1, 2))
        rates = [x]
        for block in self.down:
            rates.append(block(rates[-1]))
        y = self.mel(cond)
        for block, film, features in zip(self.up, self.film, reversed(rates), strict=True):
            y = block(y, film(features, c_noise))
        out = self.last(y).transpose(1, 2).flatten(1)
        return space.color(out) if self.config.whiten else out
