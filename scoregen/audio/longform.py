"""Recordings and mels longer than memory: read in pieces, vocoded in blocks, written as they come.

A recording is read three times: for its length and its DC offset, for its level, and for its mel at the level
of the training clips. What is kept of it is the power of each frame, 1.3 MB an hour. The samples are those of
:meth:`scoregen.audio.vocoder.Vocoder.resynthesize`, which goes through the same steps in the same blocks:
soxr and :mod:`scoregen.audio.stream` give the same bits for any pieces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from scoregen.errors import InputError

from . import melfile
from .files import PIECE, Sound, bring, resampled, undershoot_notice
from .loudness import Level
from .mel import MelSpec
from .melstream import FRAMES, covering

if TYPE_CHECKING:
    from .vocoder import Vocoder

SILENCE = 1e-6
"""Waveforms with smaller peaks are digital silence (16 bits resolve 3e-5)."""

OFFSET = 0.02
"""A mean beyond this share of the root mean square is a DC offset: it leaks into the lowest bands."""


class Recording:
    """A recording that can be read more than once.

    Args:
        pieces: gives the samples from the beginning, float32 ``(T,)`` each.
        sample_rate: Hz.
        spec: mel convention of the vocoder it is for.

    Attributes:
        samples: its length.
        offset: DC offset that is taken away, in units of full scale; 0 where there is none to speak of.
        gain: factor to the level of the training clips.
        silent: nothing but digital silence.
    """

    def __init__(self, pieces: Callable[[], Iterable[np.ndarray]], sample_rate: float, spec: MelSpec):
        self._pieces, self.sample_rate, self.spec = pieces, sample_rate, spec
        self.samples, self.offset = measure(pieces(), spec.n_fft)
        self._peak = 0.0
        level = Level(spec, FRAMES)
        for mel in covering(spec, self._at_rate()):
            level.push(mel[None])
        self.gain = float(level.gain())
        self.silent = self._peak < SILENCE

    def mels(self) -> Iterator[Tensor]:
        """Its log-mel ``(n_mels, f)`` at the level of the training clips."""
        return covering(self.spec, (piece * np.float32(self.gain) for piece in self._at_rate()))

    def _at_rate(self) -> Iterator[np.ndarray]:
        offset = np.float32(self.offset)
        plain = (piece - offset if self.offset else piece for piece in self._pieces())
        for piece in resampled(plain, self.sample_rate, self.spec.sample_rate):
            self._peak = max(self._peak, float(np.abs(piece).max(initial=0.0)))
            yield piece


def measure(pieces: Iterable[np.ndarray], least: int = 1024) -> tuple[int, float]:
    """Number of samples and DC offset; of less than ``least`` samples the mean is sound, not an offset."""
    count, total, power = 0, 0.0, 0.0
    for piece in pieces:
        wide = piece.astype(np.float64)
        count, total, power = count + len(wide), total + float(wide.sum()), power + float(wide @ wide)
    mean = total / max(count, 1)
    return count, mean if count >= least and abs(mean) > OFFSET * (power / count) ** 0.5 else 0.0


class MelFile:
    """A mel file that is read in slices of frames; ``.npy`` files stay on the disk.

    Args:
        path: the file.
        spec: the convention wanted, as in :func:`scoregen.audio.files.read_mel`.

    Attributes:
        frames: its length.
        notices: what the user may want to know; complete when :meth:`slices` has come to its end.

    Raises:
        InputError: unreadable.
    """

    def __init__(self, path: str | os.PathLike[str], spec: MelSpec):
        self.path, self.spec = Path(path), spec
        self._values, self._stated = melfile.read_mel(path, mapped=True)
        self.frames = self._values.shape[1]
        self.notices: list[str] = []

    def slices(self) -> Iterator[Tensor]:
        """The log-mel in the convention wanted, ``(n_mels, f)`` each.

        Raises:
            InputError: of another shape, or of another convention that cannot be converted.
        """
        low = 0
        for first in range(0, max(self.frames, 1), FRAMES):
            part = self._values[:, first : first + FRAMES]
            mel, count = bring(part, self._stated, self.spec, str(self.path))
            low += count
            yield mel
        self.notices = undershoot_notice(self.path.name, low, self._values.numel())

    def gain(self) -> float:
        """Factor to the level of the training clips."""
        level = Level(self.spec, FRAMES)
        for mel in self.slices():
            level.push(mel[None])
        return float(level.gain())


def vocode_sound(
    vocoder: Vocoder, sound: Sound, *, steps: int, seed: int, block: int
) -> tuple[Recording, Iterator[np.ndarray]]:
    """A sound file through its mel and back, in pieces of its own sample rate and, in all, its length.

    Args:
        vocoder: the model.
        sound: the file.
        steps, seed, block: as in :meth:`scoregen.audio.vocoder.Vocoder.synthesize`.

    Returns:
        What was measured, and the pieces, float32 ``(T,)``.

    Raises:
        InputError: damaged, empty, or with NaN or infinite samples.
    """
    recording = Recording(sound.pieces, sound.sample_rate, vocoder.spec)
    if recording.samples == 0:
        raise InputError(f"{sound.path}: no samples (length 0)")
    return recording, _fitted(_through(vocoder, recording, steps, seed, block), recording.samples)


def vocode_mel(vocoder: Vocoder, mel: MelFile, *, steps: int, seed: int, block: int) -> Iterator[np.ndarray]:
    """The waveform of a mel file in pieces, ``frames * hop`` samples in all; arguments as above."""
    return vocoder.stream(
        mel.slices(), seed=seed, steps=steps, block=block, gain=mel.gain(), source=str(mel.path)
    )


def _through(
    vocoder: Vocoder, recording: Recording, steps: int, seed: int, block: int
) -> Iterator[np.ndarray]:
    if recording.silent:
        return
    made = vocoder.stream(recording.mels(), seed=seed, steps=steps, block=block, gain=1.0)
    level = (piece / recording.gain for piece in made)
    yield from resampled(level, vocoder.sample_rate, recording.sample_rate)


def _fitted(pieces: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Cut or continued with zeros to so many samples."""
    left = samples
    for piece in pieces:
        yield piece[:left]
        left -= min(left, len(piece))
    while left:
        count = min(left, PIECE)
        yield np.zeros(count, np.float32)
        left -= count
