"""The vocoding job: files or folders in, files or a folder out, every bad input reported."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scoregen.errors import InputError

from .batch import Batch, run_batch
from .files import MELS, SOUND, Sound, find_inputs, read_clip, read_mel, sound_writer, split, write_clip
from .longform import MelFile, measure, vocode_mel, vocode_sound
from .render import DEFAULT_STEPS
from .stream import BLOCK
from .vocoder import Vocoder

LONG = 600.0
"""Seconds; longer inputs are streamed without being asked."""


@dataclass
class VocodeSummary(Batch):
    """What a vocoding job did; ``latency`` is in seconds, of streams of blocks of ``block`` frames."""

    model: str = ""
    steps: int = 0
    seed: int = 0
    block: int = BLOCK
    streamed: int = 0
    latency: float | None = None


def run_vocode(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    vocoder: Vocoder,
    *,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    stream: bool = False,
    block: int = BLOCK,
    errors: str | os.PathLike[str] | None = None,
    on_failure: Callable[[str, str], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> VocodeSummary:
    """Vocode sound files (through their mel) and mel files.

    One input file and an ``out`` with a sound suffix give that file; otherwise ``out`` is a folder that
    mirrors the inputs: sound keeps its suffix, ``a.npy`` becomes ``a.wav``, or ``a.npy.wav`` where another
    input makes ``a.wav``. Outputs appear whole; a waveform from sound has the input's length and sample rate,
    one from a mel ``frames * hop`` samples.

    Args:
        inputs: files or folders.
        out: file or folder.
        vocoder: the model.
        steps, seed: as in :meth:`scoregen.audio.vocoder.Vocoder.synthesize`. Every file gets the noise it
            would get alone.
        stream: read, vocode and write in pieces, so that memory does not grow with the length; the samples
            are the same. Inputs of more than :data:`LONG` seconds are streamed anyway.
        block: frames rendered at once.
        errors: CSV of the inputs that failed (header only when none did).
        on_failure: called with (input, reason) as failures are met.
        on_done: progress, called with (done, all).

    Raises:
        InputError: ``steps < 1``, ``block < 1``, many inputs for one output file, or no place to write to.
    """
    if steps < 1:
        raise InputError(f"--steps {steps}: need at least 1")
    if block < 1:
        raise InputError(f"--block {block}: need at least 1 frame")
    summary = VocodeSummary(model=vocoder.name, steps=steps, seed=seed, block=block)
    target = Path(out)
    single = target.suffix.lower() in SOUND and not target.is_dir()
    if single and (len(inputs) != 1 or Path(inputs[0]).is_dir()):
        raise InputError(f"{out}: one file cannot hold several outputs; give a folder")
    if not single and target.suffix.lower() in (*MELS, ".mp3", ".m4a", ".aac"):
        raise InputError(f"{out}: cannot write '{target.suffix}'; use one of {', '.join(SOUND)} or a folder")
    _check_writable(target.parent if single else target)
    wanted = Counter(_output_name(relative) for relative in _relative(inputs))

    def place(relative: Path) -> Path:
        if single:
            return target
        name = _output_name(relative)
        if wanted[name] > 1 and relative.suffix.lower() in MELS:
            name = relative.with_name(f"{relative.name}.wav")
        return target / name

    job = _Job(vocoder, summary, stream)

    run_batch(
        summary,
        inputs,
        SOUND + MELS,
        place,
        job.run,
        errors=errors,
        on_failure=on_failure,
        on_done=on_done,
    )
    return summary


def _output_name(relative: Path) -> Path:
    return relative if relative.suffix.lower() in SOUND else relative.with_suffix(".wav")


def _relative(inputs: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    for source in inputs:
        with suppress(InputError):  # reported when its turn comes
            yield from (relative for _, relative in find_inputs([source], SOUND + MELS))


def _check_writable(folder: Path) -> None:
    """One line for a job that cannot write anything, instead of one for every input."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"{there}: a file, where a folder is needed to write to; choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there}: no permission to write there; choose another folder")


@dataclass
class _Job:
    """One file after the other; facts and notices go to the summary."""

    vocoder: Vocoder
    summary: VocodeSummary
    stream: bool

    def run(self, path: Path, output: Path) -> float:
        """Vocode one file; seconds of audio made."""
        if path.suffix.lower() in MELS:
            return self._mel(path, output)
        return self._sound(path, output)

    def _mel(self, path: Path, output: Path) -> float:
        vocoder, options, rate = self.vocoder, self._options(), self.vocoder.sample_rate
        mel = MelFile(path, vocoder.spec)
        seconds = vocoder.spec.samples(mel.frames) / rate
        if self._streams(path, seconds):
            _write(output, vocode_mel(vocoder, mel, **options), rate)
            self.summary.notices.extend(mel.notices)
        else:
            values = read_mel(path, vocoder.spec, self.summary.notices)
            write_clip(output, vocoder.synthesize(values, **options, source=str(path)), rate)
        return seconds

    def _sound(self, path: Path, output: Path) -> float:
        vocoder, options, notices = self.vocoder, self._options(), self.summary.notices
        sound = Sound(path)
        if self._streams(path, sound.seconds):
            recording, pieces = vocode_sound(vocoder, sound, **options)
            notices.extend((*sound.notices, *_offset_notice(path, recording.offset)))
            _write(output, pieces, sound.sample_rate)
            return recording.samples / sound.sample_rate
        clip = read_clip(path)
        _, offset = measure(split(clip.wave), vocoder.spec.n_fft)
        notices.extend((*clip.notices, *_offset_notice(path, offset)))
        wave = vocoder.resynthesize(clip.wave, clip.sample_rate, **options, source=str(path))
        write_clip(output, wave, clip.sample_rate)
        return len(wave) / clip.sample_rate

    def _options(self) -> dict[str, Any]:
        return {"steps": self.summary.steps, "seed": self.summary.seed, "block": self.summary.block}

    def _streams(self, path: Path, seconds: float) -> bool:
        """Whether a file is streamed; says so where nobody asked."""
        summary = self.summary
        if not self.stream and seconds <= LONG:
            return False
        if not self.stream:
            summary.notices.append(f"{path.name}: {seconds / 60:.0f} minutes long, so it is streamed")
        summary.streamed += 1
        summary.latency = self.vocoder.latency(steps=summary.steps, block=summary.block)
        return True


def _offset_notice(path: Path, offset: float) -> list[str]:
    return [f"{path.name}: DC offset of {offset:.2g} removed"] if offset else []


def _write(path: Path, pieces: Iterator[np.ndarray], sample_rate: int) -> None:
    with sound_writer(path, sample_rate) as write:
        for piece in pieces:
            write(piece)
