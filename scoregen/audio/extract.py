"""The mel job: sound files or mels of another convention in, mel files that state theirs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from scoregen.errors import InputError

from .batch import Batch, run_batch
from .convert import convert
from .files import SOUND, read_clip, resample
from .mel import MelSpec
from .melfile import MELS, read_mel, write_mel
from .melstream import mel_of


@dataclass
class MelSummary(Batch):
    """What a mel job did; ``audio_seconds`` is the sound the mels stand for."""

    convention: str = ""
    spec: dict[str, Any] = field(default_factory=dict)


def run_mel(
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    spec: MelSpec,
    *,
    source: MelSpec | None = None,
    suffix: str | None = None,
    errors: str | os.PathLike[str] | None = None,
    on_failure: Callable[[str, str], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> MelSummary:
    """Write mels of the convention ``spec``, one file an input.

    One input file and an ``out`` with a mel suffix give that file; otherwise ``out`` is a folder that mirrors
    the inputs. Sound is mixed down and resampled, its level is kept. Mel files are converted, where that is
    exact (:func:`scoregen.audio.convert.convert`).

    Args:
        inputs: files or folders; folders are searched for sound, with ``source`` for mels.
        out: file or folder.
        spec: the convention to write.
        source: convention of input mels that state none.
        suffix: of the outputs in a folder, one of :data:`scoregen.audio.melfile.MELS`; ``.npy`` when omitted.
        errors, on_failure, on_done: as in :func:`scoregen.audio.batch.run_batch`.

    Raises:
        InputError: many inputs for one output file, or a suffix that is none of a mel file.
    """
    target = Path(out)
    ending = target.suffix.lower()
    single = ending in MELS
    if single and (len(inputs) != 1 or Path(inputs[0]).is_dir()):
        raise InputError(f"{out}: one file cannot hold several outputs; give a folder")
    if ending in (*SOUND, ".mp3", ".npz", ".h5"):
        raise InputError(f"{out}: cannot write '{ending}'; use one of {', '.join(MELS)} or a folder")
    if single and suffix not in (None, ending):
        raise InputError(f"{out}: the format asked for is '{suffix}'; drop one of the two")
    if suffix is not None and suffix not in MELS:
        raise InputError(f"no mel format '{suffix}'; use one of {', '.join(MELS)}")
    summary = MelSummary(convention=spec.name, spec=spec.to_dict())

    def place(relative: Path) -> Path:
        return target if single else target / relative.with_suffix(suffix or ".npy")

    def work(path: Path, output: Path) -> float:
        if path.suffix.lower() in MELS:
            mel = _converted(path, source, spec)
        else:
            clip = read_clip(path)
            summary.notices.extend(clip.notices)
            wave = resample(clip.wave, clip.sample_rate, spec.sample_rate)
            if len(wave) < spec.n_fft:
                summary.notices.append(f"{path.name}: shorter than one analysis window; zeros added")
            mel = mel_of(spec, wave)
        write_mel(output, mel, spec)
        return spec.samples(mel.shape[-1]) / spec.sample_rate

    run_batch(
        summary,
        inputs,
        SOUND if source is None else MELS,
        place,
        work,
        errors=errors,
        on_failure=on_failure,
        on_done=on_done,
    )
    return summary


def _converted(path: Path, source: MelSpec | None, spec: MelSpec) -> Tensor:
    mel, stated = read_mel(path)
    if stated is None and source is None:
        raise InputError(f"{path}: states no mel convention; name it with --from")
    if stated is not None and source is not None and stated.to_dict() != source.to_dict():
        raise InputError(
            f"{path}: states the mel convention '{stated.name}', not '{source.name}'; check --from"
        )
    known = stated or source
    assert known is not None
    return convert(mel, known, spec, str(path))
