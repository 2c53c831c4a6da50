"""Log-mels of waveforms that arrive in pieces: the frames of the whole, on a fixed grid of blocks.

A block of frames is computed in one go, and blocks lie where they lie for the whole waveform. So the values
are the same bits however the waveform is cut: the search for phases would make a difference of the last bit
audible to a comparison, if to nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from .mel import MelSpec

BLOCK = 4096
"""Frames computed at once in :func:`mel_of`: a long recording costs a few copies of itself, not its
spectrogram."""

FRAMES = 256
"""Frames computed at once on the way to a vocoder."""


class MelStream:
    """The log-mel of a waveform, in pieces, both ends padded as those of the whole are.

    Put together, the pieces are :func:`mel_of` the whole, sample for sample for the same ``block``.

    Args:
        spec: the convention.
        block: frames computed at once; 1 gives each frame as soon as its samples are known.

    Example:
        >>> spec = MelSpec.preset("hifigan-22k")
        >>> stream = MelStream(spec, block=1)
        >>> [stream.push(np.zeros(1000, np.float32)).shape[1] for _ in range(3)], stream.close().shape[1]
        ([2, 4, 4], 1)
    """

    def __init__(self, spec: MelSpec, block: int = BLOCK):
        self.spec, self.block = spec, block
        self.samples = 0
        self.frames = 0
        self._pad = spec.n_fft // 2 if spec.centre else (spec.n_fft - spec.hop) // 2
        self._held = torch.zeros(0)  # padded samples from the first frame on that is not made yet
        self._tail = torch.zeros(0)  # the last samples, which the end mirrors
        self._begun = False

    def push(self, wave: np.ndarray | Tensor) -> Tensor:
        """Take the next samples, float32 ``(T,)``; the frames ``(n_mels, f)`` of the blocks now known."""
        wave = torch.as_tensor(wave, dtype=torch.float32)
        self.samples += len(wave)
        self._extend(wave)
        ready = max(0, (len(self._held) - self.spec.n_fft) // self.spec.hop + 1) if self._begun else 0
        return self._make(ready // self.block * self.block)

    def close(self) -> Tensor:
        """The rest of the frames; clips shorter than an analysis window are continued with zeros."""
        spec, pad = self.spec, self._pad
        self._extend(torch.zeros(max(0, spec.n_fft - self.samples)))
        back = self._tail[len(self._tail) - pad - 1 : -1].flip(0)
        self._held = torch.cat((self._held, back if spec.padding == "reflect" else torch.zeros(pad)))
        return self._make(max(spec.frames(self.samples), 1) - self.frames)

    def _extend(self, wave: Tensor) -> None:
        pad = self._pad
        self._tail = torch.cat((self._tail, wave[-pad - 1 :]))[-pad - 1 :]
        self._held = torch.cat((self._held, wave))
        if not self._begun and len(self._held) > pad:
            front = self._held[1 : pad + 1].flip(0)
            if self.spec.padding != "reflect":
                front = torch.zeros(pad)
            self._held, self._begun = torch.cat((front, self._held)), True

    def _make(self, count: int) -> Tensor:
        spec, hop = self.spec, self.spec.hop
        blocks = [torch.zeros(spec.n_mels, 0)]
        for first in range(0, count, self.block):
            last = min(first + self.block, count)
            part = self._held[first * hop : (last - 1) * hop + spec.n_fft]
            blocks.append(spec.from_magnitude(spec.magnitude_of_padded(part)))
        self._held = self._held[count * hop :]
        self.frames += count
        return torch.cat(blocks, dim=-1)


def mel_of(spec: MelSpec, wave: np.ndarray | Tensor, block: int = BLOCK) -> Tensor:
    """The log-mel of a waveform at the convention's rate, in blocks of frames.

    Args:
        spec: the convention.
        wave: float32 ``(T,)``; shorter ones than an analysis window are continued with zeros.
        block: frames computed at once.

    Returns:
        float32 ``(n_mels, max(spec.frames(T), 1))``, as ``spec(wave)`` gives for longer ones.
    """
    stream = MelStream(spec, block)
    return torch.cat((stream.push(wave), stream.close()), dim=-1)


def covering(spec: MelSpec, pieces: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """The log-mel whose F blocks of one hop just cover a waveform, at least two analysis windows.

    The waveform is continued with zeros. All pieces but the last have a multiple of :data:`FRAMES` frames.

    Args:
        spec: the convention.
        pieces: float32 ``(T,)`` at its rate.

    Yields:
        ``(n_mels, f)``, F in all.
    """
    stream, hop = MelStream(spec, FRAMES), spec.hop
    for piece in pieces:
        made = stream.push(piece)
        if made.shape[1]:
            yield made
    blocks = max(-(-stream.samples // hop), -(-2 * spec.n_fft // hop))
    made = torch.cat((stream.push(torch.zeros(blocks * hop - stream.samples)), stream.close()), dim=-1)
    yield made[:, :-1] if spec.centre else made
