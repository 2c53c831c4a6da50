"""Recordings and the mels that a TTS made of the same words at the same pace (teacher-forced).

A vocoder trained on such pairs learns to make the recording of what the TTS gives it, blur and all. So the
two must belong together: the same name, the same length, the same level, and loud in the same places.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scoregen.errors import InputError

from .files import SOUND, find_inputs
from .loudness import level_db
from .mel import MelSpec
from .melfile import MELS
from .prior import frame_deviation

SLACK = 2
"""Frames by which a recording and its mel may differ in length: front ends pad and cut in their own ways."""

LEVEL_DB = 8.0
"""Largest difference in level; a TTS blurs its mels, which costs some decibels."""

ALIKE = 0.5
"""Least correlation, over frames, of the loudness of the two."""


def match(
    recordings: Sequence[tuple[Path, Path]], mels: str | os.PathLike[str]
) -> tuple[dict[Path, Path], list[tuple[str, str]]]:
    """The mel of each recording: of the same path inside its folder, or the only one of the same name.

    Args:
        recordings: files with their paths relative to what they were found in.
        mels: folder of mel files, or one file.

    Returns:
        Recording → mel, and ``(file, reason)`` of the mels that belong to none.

    Raises:
        InputError: no such folder, one without a mel file, or no pair at all.
    """
    if not Path(mels).exists():
        raise InputError(f"{mels}: no such folder of mels")
    found = find_inputs([mels], MELS)
    by_path = _grouped([(path, _plain(relative)) for path, relative in found])
    by_name = _grouped([(path, _plain(relative).name) for path, relative in found])
    names = _grouped([(path, _plain(relative).name) for path, relative in recordings])
    pairs: dict[Path, Path] = {}
    for path, relative in recordings:
        plain = _plain(relative)
        candidates = by_path.get(plain, [])
        if not candidates and len(names[plain.name]) == 1:
            candidates = by_name.get(plain.name, [])
        if len(candidates) == 1:
            pairs[path] = candidates[0]
    if not pairs:
        raise InputError(
            f"{mels}: no mel has the name of a recording (a.wav goes with a.npy, a.pt or a.safetensors)"
        )
    taken = set(pairs.values())
    known = set(names)
    lost = [
        (
            str(path),
            "several mels or recordings share this name"
            if _plain(relative).name in known
            else "no recording of that name",
        )
        for path, relative in found
        if path not in taken
    ]
    return pairs, lost


def paired(wave: np.ndarray, mel: Tensor, spec: MelSpec, name: str) -> tuple[np.ndarray, Tensor]:
    """A recording and its mel, cut to the frames they share.

    Args:
        wave: float32 ``(T,)`` at the convention's rate.
        mel: ``(n_mels, F)`` of the convention.
        spec: the convention.
        name: of the mel, for messages.

    Returns:
        ``(G * hop,)`` and ``(n_mels, G)``; of a centred convention one frame more, where there is one.

    Raises:
        InputError: lengths that differ by more than :data:`SLACK` frames, levels by more than
            :data:`LEVEL_DB`, or a mel that is loud in other places than the recording.
    """
    want, have = spec.frames(len(wave)), mel.shape[-1]
    if abs(want - have) > SLACK:
        raise InputError(
            f"{name} has {have} frames, the recording {want}: make the mel teacher-forced,"
            f" at hop {spec.hop} of {spec.sample_rate} Hz"
        )
    frames = min(len(wave) // spec.hop, max(have - int(spec.centre), 1))
    wave, mel = wave[: frames * spec.hop], mel[:, : frames + int(spec.centre)]
    own = spec(torch.from_numpy(wave))
    shared = min(own.shape[-1], mel.shape[-1])
    own, other = own[None, :, :shared], mel[None, :, :shared]
    offset = float(level_db(spec, other)[0] - level_db(spec, own)[0])
    if abs(offset) > LEVEL_DB:
        way = "louder" if offset > 0 else "softer"
        raise InputError(
            f"{name} is {abs(offset):.0f} dB {way} than the recording: another mel convention, or the TTS was"
            " trained on recordings of another level (then give those)"
        )
    loudness = torch.cat([frame_deviation(spec, x).clamp(min=1e-4).log() for x in (own, other)])
    likeness = float(torch.corrcoef(loudness)[0, 1])
    if not likeness >= ALIKE:
        raise InputError(
            f"{name} does not follow the recording (correlation of loudness {likeness:.2f}): "
            "make the mel teacher-forced, from the same recording"
        )
    return wave, mel


def _plain(relative: Path) -> Path:
    """A path without the suffix of its kind: ``a.wav``, ``a.npy`` and ``a.wav.npy`` are all ``a``."""
    relative = relative.with_suffix("")
    return relative.with_suffix("") if relative.suffix.lower() in SOUND else relative


def _grouped(items: Sequence[tuple[Path, object]]) -> dict[object, list[Path]]:
    groups: dict[object, list[Path]] = {}
    for path, key in items:
        groups.setdefault(key, []).append(path)
    return groups
