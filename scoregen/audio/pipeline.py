"""The vocoding job: files or folders in, files or a folder out, every bad input reported."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scoregen.errors import InputError

from .batch import Batch, run_batch
from .files import MELS, SOUND, read_clip, read_mel, write_clip
from .vocoder import DEFAULT_STEPS, Vocoder


@dataclass
class VocodeSummary(Batch):
    """What a vocoding job did."""

    model: str = ""
    steps: int = 0
    seed: int = 0


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
    summary = VocodeSummary(model=vocoder.name, steps=steps, seed=seed)
    target = Path(out)
    single = target.suffix.lower() in SOUND
    if single and (len(inputs) != 1 or Path(inputs[0]).is_dir()):
        raise InputError(f"{out}: one file cannot hold several outputs; give a folder")
    if not single and target.suffix.lower() in (*MELS, ".mp3", ".m4a", ".aac"):
        raise InputError(f"{out}: cannot write '{target.suffix}'; use one of {', '.join(SOUND)} or a folder")

    def place(relative: Path) -> Path:
        return target if single else target / _output_name(relative)

    def work(path: Path, output: Path) -> float:
        return _one(path, output, vocoder, steps, seed, summary.notices)

    run_batch(
        summary,
        inputs,
        SOUND + MELS,
        place,
        work,
        errors=errors,
        on_failure=on_failure,
        on_done=on_done,
    )
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
