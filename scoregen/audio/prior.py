r"""Noise shaped like speech: the covariance Σ of the forward process, computed from the mel spectrogram.

PriorGrad (Lee et al., ICLR 2022) gives each sample a standard deviation that follows the frame energy.
That noise is white in frequency, while speech falls by 40-60 dB towards 8 kHz, so at every noise level
the treble drowns long before the bass. SpecGrad (Koizumi et al., Interspeech 2022) filters the noise with
the spectral envelope, through an STFT that is neither square nor orthogonal. Here the filter is diagonal
in a *lapped orthogonal transform* (the MDCT of Princen & Bradley 1986) :math:`C` instead:

.. math::  Σ^{1/2} = C^⊤ \operatorname{diag}(s)\,C, \qquad Σ^{-1/2} = C^⊤ \operatorname{diag}(1/s)\,C,
           \qquad \log\det Σ = 2 \textstyle\sum \log s,

exactly linear, symmetric and invertible. A block of the transform is one hop, its window is centred where
the mel frame's is, so :math:`s` needs no interpolation in time. Whitened speech is flat: every
time-frequency cell counts the same in the loss and has the same signal-to-noise ratio at a noise level.

:math:`s` is calibrated: per frequency, so that whitened training speech has standard deviation 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from scoregen.core import DenseSpace
from scoregen.errors import InputError

from .mel import MelSpec, aligned


def lapped(x: Tensor, block: int) -> Tensor:
    """MDCT with a sine window, orthogonal on a finite signal: the outermost half blocks do not overlap.

    Args:
        x: ``(B, F * block)``.
        block: even number of samples.

    Returns:
        ``(B, F, block)``; coefficient k of a block lies at ``(k + 1/2) / (2 block)`` of the sample rate.
    """
    size, length = x.shape
    cosine, _, _ = _tables(block, x.dtype, x.device)
    return _rotate(x, block, 1.0).reshape(size, length // block, block) @ cosine


def unlapped(coefficients: Tensor) -> Tensor:
    """The inverse of :func:`lapped`: ``(B, F, block)`` → ``(B, F * block)``."""
    size, frames, block = coefficients.shape
    cosine, _, _ = _tables(block, coefficients.dtype, coefficients.device)
    return _rotate((coefficients @ cosine).reshape(size, frames * block), block, -1.0)


def _rotate(x: Tensor, block: int, sign: float) -> Tensor:
    """Rotate each pair of samples mirrored at an inner block boundary (the fold of the MDCT)."""
    size, length = x.shape
    frames, half = length // block, block // 2
    if frames < 2:
        return x
    _, large, small = _tables(block, x.dtype, x.device)
    inner = x[:, half : length - half].reshape(size, frames - 1, 2, half)
    left, right = inner[:, :, 0].flip(-1), inner[:, :, 1]
    new_left = large * left - sign * small * right
    new_right = large * right + sign * small * left
    inner = torch.stack((new_left.flip(-1), new_right), dim=2).reshape(size, -1)
    return torch.cat((x[:, :half], inner, x[:, length - half :]), dim=1)


@lru_cache(maxsize=16)
def _tables(block: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """DCT-IV matrix ``(block, block)`` (symmetric, its own inverse) and the rotation's cosine and sine."""
    if block % 2:
        raise InputError(f"a hop of {block} samples is odd; the spectral prior needs an even hop")
    n = torch.arange(block, dtype=torch.float64) + 0.5
    cosine = math.sqrt(2 / block) * torch.cos(math.pi / block * n[:, None] * n)
    angle = math.pi / 4 * (1 + 2 * n[: block // 2] / block)
    large, small = angle.sin(), angle.cos()
    return cosine.to(device, dtype), large.to(device, dtype), small.to(device, dtype)


@dataclass(frozen=True)
class LappedSpace(DenseSpace):
    """Waveforms ``(B, F * block)`` whose noise is diagonal in the lapped transform.

    Args:
        shape: ``(B, F * block)``.
        spectrum: standard deviation of each coefficient, positive, ``(B, F, block)``.
    """

    spectrum: Tensor | None = None

    def color(self, z: Tensor) -> Tensor:
        assert self.spectrum is not None
        return unlapped(lapped(z, self.spectrum.shape[-1]) * self.spectrum.to(z.dtype))

    def whiten(self, x: Tensor) -> Tensor:
        assert self.spectrum is not None
        return unlapped(lapped(x, self.spectrum.shape[-1]) / self.spectrum.to(x.dtype))

    def logdet(self) -> Tensor:
        assert self.spectrum is not None
        return 2 * self.spectrum.to(torch.float64).log().sum((1, 2))


@dataclass(frozen=True)
class Prior:
    """From a mel spectrogram to the space of its waveforms.

    Attributes:
        spec: the mel convention.
        kind: ``"spectral"`` (above), ``"energy"`` (PriorGrad: per-sample deviation, interpolated between
            frames) or ``"identity"``.
        floor: smallest standard deviation, in units of full scale; keeps Σ regular in silence.
        gains: calibration factors at frequencies evenly spaced from 0 to half the sample rate, interpolated
            linearly between (spectral), or one factor in all.
    """

    spec: MelSpec
    kind: Literal["spectral", "energy", "identity"] = "spectral"
    floor: float = 1e-5
    gains: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.kind not in ("spectral", "energy", "identity"):
            raise InputError(f"prior '{self.kind}' is not one of spectral, energy, identity")
        if not self.gains or not all(g > 0 for g in self.gains):
            raise InputError("prior: gains must be positive numbers")
        if self.kind != "spectral" and len(self.gains) > 1:
            raise InputError(f"prior '{self.kind}' takes one gain, got {len(self.gains)}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the spec is stored beside, not inside."""
        values = asdict(self)
        del values["spec"]
        return {**values, "gains": [round(g, 4) for g in self.gains]}

    @classmethod
    def from_dict(cls, spec: MelSpec, values: dict[str, Any]) -> Prior:
        """Rebuild from :meth:`to_dict`."""
        return cls(spec, **{**values, "gains": tuple(values["gains"])})

    def deviation(self, mel: Tensor) -> Tensor:
        """Spectral envelope as the standard deviation of the lapped transform's coefficients.

        A band's magnitude over the sum of its filter's weights is the mean STFT magnitude in the band; over
        the window's root energy it is the deviation of a noise that would give it.

        Args:
            mel: log-mel ``(B, n_mels, F)``.

        Returns:
            ``(B, F, hop)``, positive.
        """
        level = envelope(self.spec, mel, self.floor)
        if self.kind == "spectral":
            level = level * _between_knots(self.gains, self.spec.hop).to(mel)
        return level.clamp(min=self.floor)

    def space(self, mel: Tensor) -> DenseSpace:
        """The space of waveforms ``(B, F * hop)`` for log-mels ``(B, n_mels, F)``."""
        shape = (mel.shape[0], self.spec.samples(mel.shape[-1]))
        common: dict[str, Any] = {"dtype": mel.dtype, "device": mel.device}
        if self.kind == "identity":
            return DenseSpace(shape, torch.full((1, 1), self.gains[0], **common), **common)
        spectrum = self.deviation(mel)
        if self.kind == "spectral":
            return LappedSpace(shape, spectrum=spectrum, **common)
        energy = spectrum.square().mean(-1).sqrt() * self.gains[0]
        return DenseSpace(shape, _between_frames(energy, self.spec.hop), **common)

    def calibrated(self, waves: Iterable[np.ndarray | Tensor], knots: int = 33) -> Prior:
        """A copy whose whitened ``waves`` have standard deviation 1 (at each frequency, if spectral).

        Args:
            waves: clips ``(T,)`` at the spec's rate, loudness normalised as in training.
            knots: number of gains of the spectral kind.

        Raises:
            InputError: no clip, or only silence.
        """
        plain, hop = replace(self, gains=(1.0,)), self.spec.hop
        total, frames = torch.zeros(hop, dtype=torch.float64), 0
        for wave in waves:
            x = torch.as_tensor(wave, dtype=torch.float32)
            x = x[: len(x) // hop * hop][None]
            mel = aligned(self.spec, self.spec(x), x.shape[1] // hop)
            cells = lapped(plain.space(mel).whiten(x), hop)[0, 1:-1].to(torch.float64).square()
            total += cells.sum(0)
            frames += cells.shape[0]
        if frames == 0 or not bool((total > 0).all()):
            raise InputError("the prior cannot be calibrated: no clips, or nothing but silence")
        power = total / frames
        if self.kind != "spectral":
            return replace(plain, gains=(float(power.mean().sqrt()),))
        near = torch.linspace(0, hop - 1, knots).round().to(torch.int64)
        width = max(1, hop // (2 * knots))
        gains = [float(power[max(0, k - width) : k + width + 1].mean().sqrt()) for k in near.tolist()]
        return replace(plain, gains=tuple(gains))


def _between_knots(values: tuple[float, ...], count: int) -> Tensor:
    """``count`` values interpolated linearly between evenly spaced knots."""
    knots = np.linspace(0, count - 1, len(values)) if len(values) > 1 else np.zeros(1)
    return torch.from_numpy(np.interp(np.arange(count), knots, values)).to(torch.float32)


def envelope(spec: MelSpec, mel: Tensor, floor: float = 1e-5) -> Tensor:
    """Standard deviation of a noise that would have this log-mel, at the lapped transform's frequencies.

    Args:
        spec: the mel convention.
        mel: ``(B, n_mels, F)``.
        floor: added to the deviation of each band, in units of full scale.

    Returns:
        ``(B, F, hop)``; beyond the outermost bands the nearest band's value.
    """
    bands, mixing = _envelope(spec)
    level = spec.expand(mel) * bands.to(mel)[:, None] + floor
    return (level.log().transpose(1, 2) @ mixing.to(mel)).exp()


def frame_deviation(spec: MelSpec, mel: Tensor) -> Tensor:
    """Root mean square amplitude of each frame within the mel's range, ``(B, n_mels, F)`` → ``(B, F)``."""
    frequency = (torch.arange(spec.hop) + 0.5) * spec.sample_rate / (2 * spec.hop)
    inside = (frequency >= spec.f_min) & (frequency <= spec.f_max)
    power = (
        envelope(spec, mel, 0.0 if spec.log == "ln" and spec.guard == "clamp" else 1e-9)[..., inside]
        .square()
        .sum(-1)
    )
    return (power / spec.hop).sqrt()


def _between_frames(values: Tensor, hop: int) -> Tensor:
    """Interpolate ``(B, F)`` frame values linearly to ``(B, F * hop)`` samples; frame centres keep theirs."""
    return torch.nn.functional.interpolate(values[:, None], scale_factor=hop, mode="linear")[:, 0]


@lru_cache(maxsize=16)
def _envelope(spec: MelSpec) -> tuple[Tensor, Tensor]:
    """Factor of each band ``(n_mels,)`` and interpolation to the coefficients, ``(n_mels, hop)``."""
    weight, _ = band_interpolation(spec)
    window = float(torch.hann_window(spec.win_length).square().sum().sqrt())
    # The magnitude of a complex Gaussian of power 1 has mean sqrt(pi)/2.
    bands = 2 / math.sqrt(math.pi) / (weight * window)
    target = (np.arange(spec.hop) + 0.5) * spec.sample_rate / (2 * spec.hop)
    return bands, _interpolation(spec, target)


@lru_cache(maxsize=16)
def band_interpolation(spec: MelSpec) -> tuple[Tensor, Tensor]:
    """Sum of each filter's weights ``(n_mels,)`` and linear interpolation between the bands' centres.

    Returns:
        ``weight (n_mels,)``: a linear mel over it is the mean STFT magnitude in the band;
        ``mixing (n_mels, n_fft // 2 + 1)``.
    """
    weight = spec.filterbank().sum(0).clamp(min=1e-12)
    bins = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1)
    factor = 1.0
    if spec.window_norm:
        factor = float(torch.hann_window(spec.win_length).square().sum().sqrt())
    return weight / factor, _interpolation(spec, bins)


def _interpolation(spec: MelSpec, frequencies: np.ndarray) -> Tensor:
    filters = spec.filterbank().to(torch.float64).numpy()
    bins = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1)
    centre = (filters * bins[:, None]).sum(0) / np.maximum(filters.sum(0), 1e-12)
    # A filter narrower than a bin is empty; its centre follows from its neighbours.
    full = filters.sum(0) > 1e-9
    centre = np.interp(np.arange(spec.n_mels), np.flatnonzero(full), centre[full])
    mixing = np.stack([np.interp(frequencies, centre, row) for row in np.eye(spec.n_mels)])
    return torch.from_numpy(mixing).to(torch.float32)
