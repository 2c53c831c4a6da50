"""The restoring job: files or folders in, files or a folder out, every bad input reported."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scoregen.errors import InputError
from scoregen.files import atomic_path

from .batch import Batch, run_batch
from .damage import Damage
from .drawing import STEP
from .files import SOUND, read_clip, write_clip
from .render import DEFAULT_STEPS
from .restore import restore
from .vocoder import Vocoder

_UNWRITABLE = (".mp3", ".m4a", ".aac", ".npy", ".pt", ".safetensors")


@dataclass
class RestoreSummary(Batch):
    """What a restoring job did."""

    model: str = ""
    steps: int = 0
    seed: int = 0
    samples: int = 1


def run_restore(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    vocoder: Vocoder,
    damage: Damage | Mapping[str | None, Damage],
    *,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    samples: int = 1,
    spread: str | os.PathLike[str] | None = None,
    errors: str | os.PathLike[str] | None = None,
    on_failure: Callable[[str, str], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> RestoreSummary:
    """Restore sound files; outputs have the input's length, sample rate, name and format.

    One input file and an ``out`` with a sound suffix give that file; otherwise ``out`` is a folder like
    the inputs'. Every file gets the noise it would get alone.

    Args:
        inputs: files or folders.
        out: file or folder.
        vocoder: the model.
        damage: of all files, or by file name, with None for those not named.
        steps, seed, samples: as in :func:`~scoregen.audio.restore.restore`.
        spread: JSON file for the spread of the draws, by output file; needs ``samples >= 2``.
        errors: CSV of the inputs that failed (header only when none did).
        on_failure: called with (input, reason) as failures are met.
        on_done: progress, called with (done, all).

    Raises:
        InputError: many inputs for one output file, a suffix that cannot be written, or a spread of one draw.
    """
    if steps < 1 or samples < 1:
        raise InputError(f"--steps {steps} --samples {samples}: need at least 1 of each")
    if spread is not None and samples < 2:
        raise InputError("--spread needs --samples of at least 2: one draw has no spread")
    target = Path(out)
    single = target.suffix.lower() in SOUND
    if single and (len(inputs) != 1 or Path(inputs[0]).is_dir()):
        raise InputError(f"{out}: one file cannot hold several outputs; give a folder")
    if target.suffix.lower() in _UNWRITABLE:
        raise InputError(f"{out}: cannot write '{target.suffix}'; use one of {', '.join(SOUND)} or a folder")
    summary = RestoreSummary(model=vocoder.name, steps=steps, seed=seed, samples=samples)
    spreads: dict[str, list[float]] = {}

    def place(relative: Path) -> Path:
        return target if single else target / relative

    def work(path: Path, output: Path) -> float:
        clip = read_clip(path)
        summary.notices.extend(clip.notices)
        wrong = _damage_of(path, damage)
        done = restore(
            vocoder,
            clip.wave,
            clip.sample_rate,
            wrong,
            steps=steps,
            seed=seed,
            samples=samples,
            source=str(path),
        )
        write_clip(output, done.wave, clip.sample_rate)
        if done.spread is not None:
            spreads[str(output)] = [float(f"{value:.4g}") for value in done.spread]
        return len(done.wave) / clip.sample_rate

    run_batch(summary, inputs, SOUND, place, work, errors=errors, on_failure=on_failure, on_done=on_done)
    if spread is not None:
        with atomic_path(spread) as temporary:
            content = {"unit": "full scale, rms", "step_s": STEP, "samples": samples, "files": spreads}
            temporary.write_text(json.dumps(content, ensure_ascii=False) + "\n")
    return summary


def _damage_of(path: Path, damage: Damage | Mapping[str | None, Damage]) -> Damage:
    if not isinstance(damage, Mapping):
        return damage
    found = damage.get(path.name, damage.get(None))
    if found is None:
        raise InputError(f"{path}: no gap is listed for '{path.name}'; add its rows, or leave this file out")
    return found
