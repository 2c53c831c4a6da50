"""Short-time Fourier analysis on hop-sized blocks, and phase retrieval.

Frame f of this transform is centred in the middle of block f of ``hop`` samples, as are the blocks of
:func:`scoregen.audio.prior.lapped` and the frames of :func:`scoregen.audio.mel.aligned` mels, so a signal
of ``F * hop`` samples has exactly F frames everywhere. Internally one more frame on either side covers the
outer halves of the first and last blocks.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from .mel import MelSpec


def analyse(spec: MelSpec, x: Tensor) -> Tensor:
    """``(B, F * hop)`` → complex ``(B, n_fft // 2 + 1, F + 2)``, the outer frames included."""
    half = spec.hop // 2
    padded = functional.pad(x[:, None], (half, spec.hop - half), mode="reflect")[:, 0]
    window = _window(spec.win_length, x.dtype, x.device)
    return torch.stft(
        padded, spec.n_fft, spec.hop, spec.win_length, window, pad_mode="constant", return_complex=True
    )


def synthesise(spec: MelSpec, spectrum: Tensor) -> Tensor:
    """Least-squares inverse of :func:`analyse`: complex ``(B, n_fft // 2 + 1, F + 2)`` → ``(B, F * hop)``."""
    length = (spectrum.shape[-1] - 2) * spec.hop
    window = _window(spec.win_length, spectrum.real.dtype, spectrum.device)
    padded = torch.istft(spectrum, spec.n_fft, spec.hop, spec.win_length, window, length=length + spec.hop)
    half = spec.hop // 2
    return padded[:, half : half + length]


def outer(frames: Tensor) -> Tensor:
    """Add the outer frames, copies of the nearest: ``(B, K, F)`` → ``(B, K, F + 2)``."""
    return torch.cat((frames[..., :1], frames, frames[..., -1:]), dim=-1)


def unit(spectrum: Tensor) -> Tensor:
    """The phase factors of a complex spectrum."""
    return spectrum / (spectrum.abs() + 1e-9)


def project(spec: MelSpec, x: Tensor, magnitude: Tensor) -> Tensor:
    """Give ``x`` the STFT magnitudes ``(B, n_fft // 2 + 1, F)``, keep its phases: one Griffin-Lim step."""
    return synthesise(spec, outer(magnitude) * unit(analyse(spec, x)))


def griffin_lim(
    spec: MelSpec, magnitude: Tensor, *, iterations: int = 32, momentum: float = 0.99, phases: Tensor
) -> Tensor:
    """Fast Griffin-Lim phase retrieval (Perraudin, Balazs & Søndergaard 2013).

    Args:
        spec: gives the STFT.
        magnitude: ``(B, n_fft // 2 + 1, F)``.
        iterations: number of projections; 0 takes the phases as they are.
        momentum: acceleration in [0, 1); 0 is the original algorithm (Griffin & Lim 1984).
        phases: where to start, a waveform ``(B, F * hop)`` such as white noise.

    Returns:
        ``(B, F * hop)``.
    """
    target = outer(magnitude)
    angle = unit(analyse(spec, phases))
    previous = torch.zeros_like(angle)
    for _ in range(iterations):
        rebuilt = analyse(spec, synthesise(spec, target * angle))
        angle = unit(rebuilt - momentum / (1 + momentum) * previous)
        previous = rebuilt
    return synthesise(spec, target * angle)


def faded(x: Tensor, samples: int) -> Tensor:
    """Fade both ends over ``samples`` samples with a quarter sine.

    The lapped transform does not overlap there, and a signal that starts at full level would leak into
    the treble, where the prior expects next to nothing.
    """
    ramp = torch.sin(math.pi / 2 * (torch.arange(samples, dtype=x.dtype, device=x.device) + 0.5) / samples)
    gain = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
    gain[:samples] *= ramp
    gain[-samples:] *= ramp.flip(0)
    return x * gain


@lru_cache(maxsize=16)
def _window(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.hann_window(length, dtype=dtype, device=device)
