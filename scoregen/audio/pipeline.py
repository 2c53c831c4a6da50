"""The vocoding job: files or folders in, files or a folder out, every bad input reported."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scoregen.errors import InputError
from scoregen.files import atomic_path

from .files import MELS, SOUND, find_inputs, read_clip, read_mel, write_clip
from .vocoder import DEFAULT_STEPS, Vocoder


@dataclass
class VocodeSummary:
    """What a vocoding job did; ``failures`` are (input, reason), ``outputs`` the files written."""

    inputs: int = 0
    outputs: list[str] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0
    model: str = ""
    steps: int = 0
    seed: int = 0
    notices: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return asdict(self)


def run_vocode(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    vocoder: Vocoder,
    *,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    errors: str | os.PathLike[str] | None = None,
    on_failure: Callable[[str, str], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> VocodeSummary:
    """Vocode sound files (through their mel) and mel files.

    One input file and an ``out`` with a sound suffix give that file; otherwise ``out`` is a folder that
    mirrors the inputs (sound keeps its suffix, mels become ``.wav``). Outputs appear whole; a waveform from
    sound has the input's length and sample rate, one from a mel ``frames * hop`` samples.

    Args:
        inputs: files or folders.
        out: file or folder.
        vocoder: the model.
        steps, seed: as in :meth:`scoregen.audio.vocoder.Vocoder.synthesize`. Every file gets the noise it
            would get alone.
        errors: CSV of the inputs that failed (header only when none did).
        on_failure: called with (input, reason) as failures are met.
        on_done: progress, called with (done, all).

    Raises:
        InputError: ``steps < 1``, or many inputs for one output file.
    """
    if steps < 1:
        raise InputError(f"--steps {steps}: need at least 1")
    started = time.monotonic()
    summary = VocodeSummary(model=vocoder.name, steps=steps, seed=seed)

    def fail(name: str, reason: str) -> None:
        summary.failures.append((name, reason))
        if on_failure is not None:
            on_failure(name, reason)

    jobs: list[tuple[Path, Path]] = []
    for source in inputs:
        try:
            jobs.extend(find_inputs([source], SOUND + MELS))
        except InputError as error:
            fail(str(source), str(error))
    target = Path(out)
    single = target.suffix.lower() in SOUND
    if single and (len(inputs) != 1 or Path(inputs[0]).is_dir()):
        raise InputError(f"{out}: one file cannot hold several outputs; give a folder")
    if not single and target.suffix.lower() in (*MELS, ".mp3", ".m4a", ".aac"):
        raise InputError(f"{out}: cannot write '{target.suffix}'; use one of {', '.join(SOUND)} or a folder")

    summary.inputs = len(jobs) + len(summary.failures)
    taken: dict[Path, Path] = {}
    for done, (path, relative) in enumerate(jobs, start=1):
        place = target if single else target / _output_name(relative)
        try:
            if place in taken:
                raise InputError(f"{path}: its output {place} is already that of {taken[place]}; rename one")
            taken[place] = path
            if place.resolve() == path.resolve():
                raise InputError(f"{path}: the output would replace the input; choose another folder")
            summary.audio_seconds += _one(path, place, vocoder, steps, seed, summary.notices)
            summary.outputs.append(str(place))
        except (InputError, OSError) as error:
            fail(str(path), str(error))
        if on_done is not None:
            on_done(done, len(jobs))
    if errors is not None:
        _write_errors(errors, summary.failures)
    summary.seconds = time.monotonic() - started
    return summary


def _output_name(relative: Path) -> Path:
    return relative if relative.suffix.lower() in SOUND else relative.with_suffix(".wav")


def _one(path: Path, place: Path, vocoder: Vocoder, steps: int, seed: int, notices: list[str]) -> float:
    """Vocode one file; seconds of audio made."""
    if path.suffix.lower() in MELS:
        mel = read_mel(path, vocoder.spec)
        wave, rate = vocoder.synthesize(mel, steps=steps, seed=seed, source=str(path)), vocoder.sample_rate
    else:
        clip = read_clip(path)
        notices.extend(clip.notices)
        wave = vocoder.resynthesize(clip.wave, clip.sample_rate, steps=steps, seed=seed, source=str(path))
        rate = clip.sample_rate
    write_clip(place, wave, rate)
    return len(wave) / rate


def _write_errors(path: str | os.PathLike[str], failures: Sequence[tuple[str, str]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.writer(stream)
        # A sound or mel file is one input, so the line number of the common format stays empty.
        writer.writerow(("input", "line", "reason"))
        writer.writerows((name, "", reason) for name, reason in failures)
