"""Recordings that no model was trained on, from a prepared cache or from folders of recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scoregen.audio.files import SOUND, find_inputs, read_clip, resample
from scoregen.audio.mel import MelSpec
from scoregen.audio.prepare import normalised, split_of
from scoregen.errors import InputError
from scoregen.training.cache import Cache

DEV_FRACTION = 0.03
"""What ``scoregen prepare audio`` keeps out of training unless told otherwise."""


@dataclass(frozen=True)
class Clip:
    """A recording at the level of training clips: float32 ``(T,)`` in [-1, 1] at ``rate`` Hz.

    ``split`` is ``dev`` (a trained speaker's clip that was kept out) or ``unseen`` (speaker never heard).
    """

    name: str
    speaker: str
    split: str
    wave: np.ndarray
    rate: int

    @property
    def sha256(self) -> str:
        """Of its samples and rate."""
        told = str(self.rate).encode() + np.ascontiguousarray(self.wave, np.float32).tobytes()
        return hashlib.sha256(told).hexdigest()[:16]


def from_cache(folder: Path, per_speaker: int, seconds: float) -> list[Clip]:
    """The first held-out clips of each speaker of a prepared cache, by name; 0 takes all."""
    cache = Cache(folder, "audio")
    rate = MelSpec.from_dict(cache.info["spec"]).sample_rate
    found = []
    for speaker in cache.info["speakers"]:
        for split in ("dev", "unseen"):
            for record in list(cache.select(speaker=speaker, split=split))[: per_speaker or None]:
                item = cache[int(record)]
                wave = item["wave"].astype(np.float32) / 32767
                name = f"{speaker}/{int(record)}"
                found.append(Clip(name, speaker, split, wave[: int(seconds * rate)], rate))
    if not found:
        raise InputError(f"{folder}: no dev or unseen clip in this cache")
    return found


def from_folders(
    folders: Sequence[Path],
    spec: MelSpec,
    unseen: Iterable[str],
    per_speaker: int,
    seconds: float,
    everything: bool = False,
) -> list[Clip]:
    """As :func:`from_cache`, by the rule that ``prepare`` splits by, at its level and sample rate.

    Args:
        folders: packs; the folder that holds a file is its speaker.
        spec: convention whose sample rate and level the clips are brought to.
        unseen: speakers of which all clips were kept out of training.
        per_speaker: how many, the first by name; 0 takes all.
        seconds: longer clips are cut.
        everything: take clips that were trained on too (split ``all``): for trials.

    Raises:
        InputError: no such clip.
    """
    held = set(unseen)
    groups: dict[tuple[str, str], list[Path]] = {}
    for path, _ in find_inputs(folders, SOUND):
        speaker = path.resolve().parent.name
        split = "unseen" if speaker in held else split_of(f"{speaker}/{path.stem}", DEV_FRACTION)
        if split == "train" and everything:
            split = "all"
        if split != "train":
            groups.setdefault((speaker, split), []).append(path)
    found = []
    for (speaker, split), paths in sorted(groups.items()):
        for path in paths[: per_speaker or None]:
            clip = read_clip(path)
            wave = normalised(resample(clip.wave, clip.sample_rate, spec.sample_rate), spec)
            wave = wave[: int(seconds * spec.sample_rate)]
            found.append(Clip(f"{speaker}/{path.stem}", speaker, split, wave, spec.sample_rate))
    if not found:
        names = ", ".join(str(folder) for folder in folders)
        raise InputError(
            f"{names}: no clip here was kept out of training; name unseen speakers with --unseen"
        )
    return found
