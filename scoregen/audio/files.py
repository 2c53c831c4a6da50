"""Sound and mel files: soundfile in and out, soxr between sample rates, numpy and torch for mels.

Only ``prepare`` and inference import this module; training reads prepared caches.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
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
from .mel import MelSpec
from .melfile import MELS

SOUND = (".wav", ".flac", ".ogg")
__all__ = [
    "MELS",
    "SOUND",
    "Clip",
    "check_wave",
    "find_inputs",
    "fit",
    "read_clip",
    "read_mel",
    "resample",
    "write_clip",
]


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
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        data, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        reason = str(error).split(": ", 1)[-1].rstrip(".")
        raise InputError(f"{path}: not readable as sound ({reason}); give a WAV, FLAC or OGG file") from None
    notices: tuple[str, ...] = ()
    if data.shape[1] > 1:
        notices = (f"{path.name}: {data.shape[1]} channels mixed down to one",)
    return Clip(check_wave(data.mean(axis=1), str(path)), int(rate), notices)


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
    if source_rate <= 0 or target_rate <= 0:
        raise InputError(f"sample rate must be positive, got {source_rate} and {target_rate}")
    if source_rate == target_rate:
        return wave.astype(np.float32)
    return np.asarray(soxr.resample(wave, source_rate, target_rate), dtype=np.float32)


def fit(wave: np.ndarray, samples: int) -> np.ndarray:
    """Cut or zero-pad the end so that the length is exactly ``samples``."""
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def write_clip(path: str | os.PathLike[str], wave: np.ndarray, sample_rate: int) -> None:
    """Write 16-bit WAV or FLAC, or OGG Vorbis, whole or not at all. Samples beyond full scale are clipped.

    Raises:
        InputError: the suffix is not one of .wav, .flac, .ogg, or the format refuses the rate.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SOUND:
        raise InputError(f"{path}: cannot write '{path.suffix}'; use one of {', '.join(SOUND)}")
    subtype = "VORBIS" if kind == ".ogg" else "PCM_16"
    with atomic_path(path) as temporary:
        try:
            soundfile.write(
                temporary, np.clip(wave, -1.0, 1.0), sample_rate, subtype=subtype, format=kind[1:].upper()
            )
        except (soundfile.SoundFileError, ValueError) as error:
            raise InputError(f"{path}: cannot write {sample_rate} Hz {kind[1:]} ({error})") from None


def read_mel(path: str | os.PathLike[str], spec: MelSpec) -> Tensor:
    """Read a log-mel ``(n_mels, F)`` and bring it to the convention ``spec``.

    A file that states another convention (see :mod:`scoregen.audio.melfile`) is converted where that is
    exact; one that states none is taken to be of ``spec``.

    Raises:
        InputError: unreadable, of another shape, or of another convention that cannot be converted.
    """
    mel, stated = melfile.read_mel(path)
    if stated is not None:
        mel = convert(mel, stated, spec, str(path))
    spec.check(mel, str(path))
    return mel


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
