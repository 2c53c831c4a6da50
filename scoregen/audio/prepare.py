"""From folders of recordings to a prepared cache: mono, one sample rate, one loudness, split by clip."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scoregen.errors import InputError
from scoregen.training.cache import CacheWriter

from .files import SOUND, Clip, find_inputs, read_clip, read_mel, resample
from .loudness import TARGET_DB, gain_to_target, scale_mel
from .mel import MelSpec
from .pairs import match, paired

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


def place(name: str) -> float:
    """Where a name lies between 0 and 1 in the order that clips are held out in; depends on it alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_of(name: str, dev_fraction: float) -> str:
    """``"dev"`` for about ``dev_fraction`` of all names, else ``"train"``; depends on the name alone."""
    return "dev" if place(name) < dev_fraction else "train"


def training_gain(wave: np.ndarray, spec: MelSpec) -> float:
    """The factor that brings ``wave`` to the training level, its peak below full scale.

    Raises:
        InputError: too short for a mel, or nothing but silence.
    """
    x = torch.from_numpy(wave)[None]
    gain = float(gain_to_target(spec, spec(x))[0])
    peak = float(x.abs().max())
    if peak * gain < 1e-3:
        raise InputError("silent")
    return min(gain, PEAK / peak)


def normalised(wave: np.ndarray, spec: MelSpec) -> np.ndarray:
    """``wave`` at the training level; see :func:`training_gain`."""
    return wave * np.float32(training_gain(wave, spec))


def prepare_audio(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    spec: str | MelSpec = "hifigan-22k",
    dev_fraction: float = 0.03,
    holdout_speakers: Iterable[str] = (),
    mels: str | os.PathLike[str] | None = None,
    least_frames: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedAudio:
    """Read clips from files and folders into a cache of kind ``"audio"``.

    A record holds ``wave`` (int16) and the facts ``name``, ``speaker`` (the folder's name), ``split``
    (``train``, ``dev`` by a hash of speaker and name, or ``unseen`` for all clips of a held-out speaker).
    With ``mels`` it holds also ``mel`` (float32, frames first): what a TTS made of the same words at the same
    pace, brought to the convention ``spec`` and scaled by the gain of the recording. Both are then cut to the
    frames they share.

    Args:
        sources: sound files or folders.
        out: cache folder to write.
        spec: mel convention, by value or preset name; gives the sample rate.
        dev_fraction: share of clips kept out of training.
        holdout_speakers: speakers kept out of training altogether.
        mels: folder of mel files (or one file), matched with the recordings by name
            (see :mod:`scoregen.audio.pairs`).
        least_frames: clips of fewer mel frames are refused.
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
    partners: dict[Path, Path] | None = None
    if mels is not None:
        partners, lost = match(inputs, mels)
        report.failed.extend(lost)
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
                arrays = _arrays(clip, path, spec, partners, least_frames, report.notices)
            except InputError as error:
                report.failed.append((str(path), str(error).removeprefix(f"{path}: ")))
            else:
                split = "unseen" if speaker in held else split_of(clip_name(path), dev_fraction)
                cache.add(arrays, {"name": path.stem, "speaker": speaker, "split": split})
                report.clips[split] = report.clips.get(split, 0) + 1
                seconds = len(arrays["wave"]) / spec.sample_rate
                report.seconds[split] = report.seconds.get(split, 0.0) + seconds
            if progress is not None:
                progress(done, len(inputs))
        if not report.clips:
            first = ": ".join(report.failed[0])
            raise InputError(f"no usable clip among {len(inputs)} inputs; first: {first}")
    return report


def clip_name(path: Path) -> str:
    """Speaker and name of a clip, by which it is held out or not."""
    return f"{path.resolve().parent.name}/{path.stem}"


def _arrays(
    clip: Clip,
    path: Path,
    spec: MelSpec,
    partners: dict[Path, Path] | None,
    least_frames: int,
    notices: list[str],
) -> dict[str, np.ndarray]:
    """Wave, and mel where there are partners, at the training level."""
    wave = resample(clip.wave, clip.sample_rate, spec.sample_rate)
    if len(wave) < least_frames * spec.hop:
        need = least_frames * spec.hop / spec.sample_rate
        raise InputError(f"too short: lasts {len(wave) / spec.sample_rate:.2f} s, need {need:.2f} s")
    gain = training_gain(wave, spec)
    if partners is None:
        return {"wave": _int16(wave * np.float32(gain))}
    if path not in partners:
        raise InputError("no mel of that name")
    wave, mel = paired(wave, read_mel(partners[path], spec, notices), spec, str(partners[path]))
    mel = scale_mel(spec, mel[None], torch.tensor([gain]))[0]
    return {"wave": _int16(wave * np.float32(gain)), "mel": mel.T.contiguous().numpy()}


def _int16(wave: np.ndarray) -> np.ndarray:
    return np.round(wave * 32767).astype(np.int16)
