"""Short-time Fourier analysis on hop-sized blocks.

Frame f of this transform is centred in the middle of block f of ``hop`` samples, as are the blocks of
:func:`scoregen.audio.prior.lapped` and the frames of :func:`scoregen.audio.mel.aligned` mels, so a signal
of ``F * hop`` samples has exactly F frames everywhere. Internally one more frame on either side covers the
outer halves of the first and last blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from scoregen.errors import InputError

from .mel import MelSpec


@dataclass(frozen=True)
class Grid:
    """Where an STFT is taken.

    Attributes:
        hop, n_fft, win_length: in samples; the window is Hann's.
    """

    hop: int
    n_fft: int
    win_length: int

    @classmethod
    def finer(cls, spec: MelSpec, times: int) -> Grid:
        """That of a mel convention with ``times`` as many frames.

        Raises:
            InputError: the hop is no multiple of twice ``times``.
        """
        if spec.hop % (2 * times):
            raise InputError(
                f"model.spectrum.finer: {times} times as many frames need a hop of a multiple of"
                f" {2 * times} samples, '{spec.name}' has {spec.hop}"
            )
        return cls(spec.hop // times, spec.n_fft, spec.win_length)


def analyse(spec: MelSpec | Grid, x: Tensor) -> Tensor:
    """``(B, F * hop)`` → complex ``(B, n_fft // 2 + 1, F + 2)``, the outer frames included."""
    half = spec.hop // 2
    padded = functional.pad(x[:, None], (half, spec.hop - half), mode="reflect")[:, 0]
    window = _window(spec.win_length, x.dtype, x.device)
    return torch.stft(
        padded, spec.n_fft, spec.hop, spec.win_length, window, pad_mode="constant", return_complex=True
    )


def synthesise(spec: MelSpec | Grid, spectrum: Tensor) -> Tensor:
    """Least-squares inverse of :func:`analyse`: complex ``(B, n_fft // 2 + 1, F + 2)`` → ``(B, F * hop)``.

    What ``torch.istft`` gives in less than half its time: pieces of frames that overlap are whole hops,
    so they are added as blocks.
    """
    window = _padded_window(spec, spectrum.real.dtype, spectrum.device)
    frames = torch.fft.irfft(spectrum.transpose(1, 2), spec.n_fft) * window
    weight = window.square().expand(1, *frames.shape[1:])
    added, weight = _overlapped(frames, spec.hop), _overlapped(weight, spec.hop)
    first = spec.n_fft // 2 + spec.hop // 2
    kept = slice(first, first + (spectrum.shape[-1] - 2) * spec.hop)
    return added[:, kept] / weight[:, kept]


def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """Overlap-add: ``(B, F, N)`` → ``(B, (F + ceil(N / hop) - 1) * hop)``."""
    size, count, length = frames.shape
    pieces = -(-length // hop)
    blocks = functional.pad(frames, (0, pieces * hop - length)).reshape(size, count, pieces, hop)
    out = frames.new_zeros(size, count + pieces - 1, hop)
    for piece in range(pieces):
        out[:, piece : piece + count] += blocks[:, :, piece]
    return out.flatten(1)


def outer(frames: Tensor) -> Tensor:
    """Add the outer frames, copies of the nearest: ``(B, K, F)`` → ``(B, K, F + 2)``."""
    return torch.cat((frames[..., :1], frames, frames[..., -1:]), dim=-1)


def unit(spectrum: Tensor) -> Tensor:
    """The phase factors of a complex spectrum."""
    power = spectrum.real.square() + spectrum.imag.square()
    return spectrum * (power + 1e-18).rsqrt()


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


@lru_cache(maxsize=16)
def _padded_window(spec: MelSpec | Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The window in the middle of a frame of ``n_fft`` samples."""
    left = (spec.n_fft - spec.win_length) // 2
    window = _window(spec.win_length, dtype, device)
    return functional.pad(window, (left, spec.n_fft - spec.win_length - left))
