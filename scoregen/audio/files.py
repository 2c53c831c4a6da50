"""Sound and mel files: soundfile in and out, soxr between sample rates, numpy and torch for mels.

Only ``prepare`` and inference import this module; training reads prepared caches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from torch import Tensor

from scoregen.errors import InputError
from scoregen.files import atomic_path

from . import melfile
from .convert import convert
from .mel import MelSpec, raised
from .melfile import MELS

SOUND = (".wav", ".flac", ".ogg")
__all__ = [
    "MELS",
    "PIECE",
    "SOUND",
    "Clip",
    "Sound",
    "bring",
    "check_wave",
    "find_inputs",
    "fit",
    "read_clip",
    "read_mel",
    "resample",
    "resampled",
    "sound_writer",
    "split",
    "undershoot_notice",
    "write_clip",
]

PIECE = 65536
"""Samples read or written at once."""

FULL_SCALE = 0.99
"""Samples that repeat from here on are clipped (8 bits reach 0.992)."""


@dataclass(frozen=True)
class Clip:
    """A mono waveform.

    Attributes:
        wave: float32 ``(T,)``.
        sample_rate: Hz.
        notices: what was done to it that the user may want to know (mixed down, …).
    """

    wave: np.ndarray
    sample_rate: int
    notices: tuple[str, ...] = ()


def read_clip(path: str | os.PathLike[str]) -> Clip:
    """Read a sound file as mono float32.

    Raises:
        InputError: missing, not a sound file, empty, or with NaN or infinite samples.
    """
    sound = Sound(path)
    wave = np.concatenate([np.zeros(0, np.float32), *sound.pieces()])
    return Clip(check_wave(wave, str(path)), sound.sample_rate, tuple(sound.notices))


class Sound:
    """A sound file that is read in pieces, as mono float32.

    Args:
        path: the file.

    Attributes:
        sample_rate, channels: of the file; Hz.
        seconds: its length, as its header says.
        notices: what the user may want to know; complete when :meth:`pieces` has come to its end.

    Raises:
        InputError: missing, or not a sound file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.notices: list[str] = []
        if not self.path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            with soundfile.SoundFile(self.path) as file:
                self.sample_rate, self.channels = int(file.samplerate), int(file.channels)
                self.seconds = file.frames / file.samplerate
        except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
            raise self._unreadable(error) from None

    def pieces(self) -> Iterator[np.ndarray]:
        """The samples, float32 ``(T,)``, :data:`PIECE` at once, channels mixed down to one.

        Raises:
            InputError: damaged, or with NaN or infinite samples.
        """
        clipping = _Clipping()
        self.notices.clear()
        if self.channels > 1:
            self.notices.append(f"{self.path.name}: {self.channels} channels mixed down to one")
        try:
            with soundfile.SoundFile(self.path) as file:
                for data in file.blocks(PIECE, dtype="float32", always_2d=True):
                    if not np.isfinite(data).all():
                        raise InputError(f"{self.path}: holds NaN or infinite samples")
                    clipping.push(data)
                    yield data.mean(axis=1)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise self._unreadable(error) from None
        if clipping.count:
            share = f"{100 * clipping.share:.2g} % of samples are at or beyond full scale"
            self.notices.append(f"{self.path.name}: the recording is clipped ({share})")

    def _unreadable(self, error: Exception) -> InputError:
        reason = str(error).split(": ", 1)[-1].rstrip(".")
        return InputError(f"{self.path}: not readable as sound ({reason}); give a WAV, FLAC or OGG file")


class _Clipping:
    """Counts clipped samples: equal neighbours near full scale, and values beyond it.

    A single sample at full scale is a normalised peak, not a clipped one.
    """

    def __init__(self) -> None:
        self.count = self.total = 0
        self._last: np.ndarray | None = None  # the row before, and which of its samples were counted
        self._counted: np.ndarray | None = None

    @property
    def share(self) -> float:
        return self.count / max(self.total, 1)

    def push(self, data: np.ndarray) -> None:
        """Take the next samples, ``(T, channels)``."""
        if not len(data):
            return
        if self._last is None or self._counted is None:
            self._last, self._counted = np.zeros_like(data[:1]), np.zeros(data[:1].shape, bool)
        rows = np.concatenate((self._last, data))
        flat = (rows[1:] == rows[:-1]) & (np.abs(rows[1:]) >= FULL_SCALE)
        marks = np.abs(rows) > 1
        marks[1:] |= flat
        marks[:-1] |= flat
        self.count += int(marks[1:].sum()) + int((marks[:1] & ~self._counted).sum())
        self.total += data.size
        self._last, self._counted = rows[-1:], marks[-1:]


def check_wave(wave: Any, source: str = "waveform") -> np.ndarray:
    """A waveform as finite float32 ``(T,)``; integer samples are scaled to [-1, 1].

    Raises:
        InputError: not one-dimensional, empty, or with NaN or infinite samples.
    """
    if isinstance(wave, Tensor):
        wave = wave.detach().cpu().numpy()
    wave = np.asarray(wave)
    if wave.ndim != 1:
        raise InputError(f"{source}: shape {wave.shape}; need one channel, shape (samples,)")
    if len(wave) == 0:
        raise InputError(f"{source}: no samples (length 0)")
    if np.issubdtype(wave.dtype, np.integer):
        wave = wave / float(np.iinfo(wave.dtype).max + 1)
    finite: np.ndarray = wave.astype(np.float32)
    if not np.isfinite(finite).all():
        raise InputError(f"{source}: holds NaN or infinite samples")
    return finite


def resample(wave: np.ndarray, source_rate: float, target_rate: float) -> np.ndarray:
    """Resample with soxr (high quality); float32 in and out.

    Raises:
        InputError: a rate is not positive.
    """
    _check_rates(source_rate, target_rate)
    if source_rate == target_rate:
        return wave.astype(np.float32)
    return np.asarray(soxr.resample(wave, source_rate, target_rate), dtype=np.float32)


def _check_rates(source_rate: float, target_rate: float) -> None:
    if source_rate <= 0 or target_rate <= 0:
        raise InputError(f"sample rate must be positive, got {source_rate} and {target_rate}")


def resampled(pieces: Iterable[np.ndarray], source_rate: float, target_rate: float) -> Iterator[np.ndarray]:
    """:func:`resample` of a waveform in pieces: the same samples.

    Raises:
        InputError: a rate is not positive.
    """
    _check_rates(source_rate, target_rate)
    if source_rate == target_rate:
        yield from pieces
        return
    stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32")
    for piece in pieces:
        yield stream.resample_chunk(np.ascontiguousarray(piece, dtype=np.float32))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def split(wave: np.ndarray) -> Iterator[np.ndarray]:
    """A waveform in pieces of :data:`PIECE` samples."""
    return (wave[first : first + PIECE] for first in range(0, len(wave), PIECE))


def fit(wave: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-pad the end so that the length is exactly ``samples``."""
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def write_clip(path: str | os.PathLike[str], wave: np.ndarray, sample_rate: int) -> None:
    """Write 16-bit WAV or FLAC, or OGG Vorbis, whole or not at all. Samples beyond full scale are clipped.

    Raises:
        InputError: the suffix is not one of .wav, .flac, .ogg, or the format refuses the rate.
    """
    with sound_writer(path, sample_rate) as write:
        for piece in split(wave):
            write(piece)


@contextmanager
def sound_writer(path: str | os.PathLike[str], sample_rate: int) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield what writes the next samples ``(T,)`` of a sound file; see :func:`write_clip`.

    The file appears when the block ends without an error.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SOUND:
        raise InputError(f"{path}: cannot write '{path.suffix}'; use one of {', '.join(SOUND)}")
    options = {"subtype": "VORBIS" if kind == ".ogg" else "PCM_16", "format": kind[1:].upper()}
    with atomic_path(path) as temporary:
        try:
            file = soundfile.SoundFile(temporary, "w", sample_rate, 1, **options)
        except (soundfile.SoundFileError, ValueError) as error:
            raise InputError(f"{path}: cannot write {sample_rate} Hz {kind[1:]} ({error})") from None

        def write(wave: np.ndarray) -> None:
            try:
                file.write(np.clip(wave, -1.0, 1.0))
            except soundfile.SoundFileError as error:
                raise InputError(f"{path}: cannot write ({error})") from None

        with file:
            yield write


def read_mel(path: str | os.PathLike[str], spec: MelSpec, notices: list[str] | None = None) -> Tensor:
    """Read a log-mel ``(n_mels, F)`` and bring it to the convention ``spec``.

    A file that states another convention (see :mod:`scoregen.audio.melfile`) is converted where that is
    exact; one that states none is taken to be of ``spec``. Values up to one nat below the floor are raised to
    it, with a notice where they are many.

    Args:
        path: the file.
        spec: the convention wanted.
        notices: what the user may want to know is added here.

    Raises:
        InputError: unreadable, of another shape, or of another convention that cannot be converted.
    """
    mel, stated = melfile.read_mel(path)
    mel, low = bring(mel, stated, spec, str(path))
    if notices is not None:
        notices.extend(undershoot_notice(Path(path).name, low, mel.numel()))
    return mel


def bring(mel: Tensor, stated: MelSpec | None, spec: MelSpec, source: str) -> tuple[Tensor, int]:
    """A log-mel of the convention ``stated`` (or ``spec``) in the convention ``spec``.

    Returns:
        ``(n_mels, F)``, and how many values were raised to the floor.

    Raises:
        InputError: of another shape, or of another convention that cannot be converted.
    """
    mel, low = raised(stated or spec, mel)
    if stated is not None:
        mel = convert(mel, stated, spec, source)
    spec.check(mel, source)
    return mel, low


def undershoot_notice(name: str, low: int, values: int) -> list[str]:
    """What to say about a mel of which ``low`` values lay below the floor: nothing where they are few."""
    if low <= 0.01 * values:
        return []
    return [
        f"{name}: {100 * low / values:.2g} % of the values lie below the convention's floor; raised to it"
    ]


def find_inputs(
    sources: Iterable[str | os.PathLike[str]], suffixes: tuple[str, ...]
) -> list[tuple[Path, Path]]:
    """Files to work on, each with its path relative to the source it was found in.

    A file stands for itself, whatever its suffix; a folder for all files in it, at any depth, with one of
    ``suffixes``, sorted by name.

    Raises:
        InputError: a folder holds no such file.
    """
    found: list[tuple[Path, Path]] = []
    for source in map(Path, sources):
        if not source.is_dir():
            found.append((source, Path(source.name)))
            continue
        inside = sorted(p for p in source.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        if not inside:
            raise InputError(f"{source}: no file with suffix {', '.join(suffixes)} in this folder")
        found.extend((p, p.relative_to(source)) for p in inside)
    return found
