"""From folders of recordings to a prepared cache: mono, one sample rate, one loudness, split by clip."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from scoregen.errors import InputError
from scoregen.training.cache import CacheWriter

from .files import SOUND, find_inputs, read_clip, resample
from .loudness import TARGET_DB, gain_to_target
from .mel import MelSpec

PEAK = 0.99


@dataclass
class PreparedAudio:
    """What :func:`prepare_audio` did.

    Attributes:
        clips: number of clips of each split.
        seconds: their length of each split.
        failed: ``(file, reason)`` of each input left out.
        notices: what was done to inputs that the user may want to know.
    """

    clips: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def split_of(name: str, dev_fraction: float) -> str:
    """``"dev"`` for about ``dev_fraction`` of all names, else ``"train"``; depends on the name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return "dev" if int.from_bytes(digest[:8], "big") < dev_fraction * 2**64 else "train"


def normalised(wave: np.ndarray, spec: MelSpec) -> np.ndarray:
    """``wave`` at the training level, its peak below full scale.

    Raises:
        InputError: too short for a mel, or nothing but silence.
    """
    x = torch.from_numpy(wave)[None]
    gain = float(gain_to_target(spec, spec(x))[0])
    peak = float(x.abs().max())
    if peak * gain < 1e-3:
        raise InputError("silent")
    return wave * np.float32(min(gain, PEAK / peak))


def prepare_audio(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    spec: str | MelSpec = "hifigan-22k",
    dev_fraction: float = 0.03,
    holdout_speakers: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> PreparedAudio:
    """Read clips from files and folders into a cache of kind ``"audio"``.

    A record holds ``wave`` (int16) and the facts ``name``, ``speaker`` (the folder's name), ``split``
    (``train``, ``dev`` by a hash of speaker and name, or ``unseen`` for all clips of a held-out speaker).

    Args:
        sources: sound files or folders.
        out: cache folder to write.
        spec: mel convention, by value or preset name; gives the sample rate.
        dev_fraction: share of clips kept out of training.
        holdout_speakers: speakers kept out of training altogether.
        progress: called with (done, total).

    Raises:
        InputError: nothing usable in the sources, an unknown preset or held-out speaker.
    """
    spec = MelSpec.preset(spec) if isinstance(spec, str) else spec
    if not 0 <= dev_fraction < 1:
        raise InputError(f"dev fraction {dev_fraction} is not in [0, 1)")
    inputs = find_inputs(sources, SOUND)
    speakers = {path.resolve().parent.name for path, _ in inputs}
    held = set(holdout_speakers)
    if held - speakers:
        raise InputError(f"no speaker {sorted(held - speakers)}; the folders are {sorted(speakers)}")
    report = PreparedAudio()
    info: dict[str, Any] = {
        "spec": spec.to_dict(),
        "level_db": TARGET_DB,
        "speakers": sorted(speakers),
        "held_out_speakers": sorted(held),
        "dev_fraction": dev_fraction,
    }
    with CacheWriter(out, "audio", info) as cache:
        for done, (path, _) in enumerate(inputs, start=1):
            speaker = path.resolve().parent.name
            try:
                clip = read_clip(path)
                report.notices.extend(clip.notices)
                wave = normalised(resample(clip.wave, clip.sample_rate, spec.sample_rate), spec)
            except InputError as error:
                report.failed.append((str(path), str(error)))
            else:
                split = "unseen" if speaker in held else split_of(f"{speaker}/{path.stem}", dev_fraction)
                facts = {"name": path.stem, "speaker": speaker, "split": split}
                cache.add({"wave": np.round(wave * 32767).astype(np.int16)}, facts)
                report.clips[split] = report.clips.get(split, 0) + 1
                seconds = len(wave) / spec.sample_rate
                report.seconds[split] = report.seconds.get(split, 0.0) + seconds
            if progress is not None:
                progress(done, len(inputs))
        if not report.clips:
            raise InputError(f"no usable clip among {len(inputs)} inputs; first: {report.failed[0]}")
    return report
