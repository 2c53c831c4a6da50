"""``scoregen prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    kind: Annotated[str, typer.Argument(metavar="molecules|audio", help="What the sources hold.")],
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE", help="SDF files, or sound files and folders.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Cache folder to write.")],
    holdout: Annotated[
        list[str] | None,
        typer.Option(help="Kept out of training: a file of record titles or an SDF; for audio a speaker."),
    ] = None,
    dev_fraction: Annotated[float | None, typer.Option(help="Share kept out for the held-out loss.")] = None,
    max_records: Annotated[int | None, typer.Option(help="At most so many of each SDF.")] = None,
    mel: Annotated[str, typer.Option(help="Mel convention of an audio cache.")] = "hifigan-22k",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn data into the cache that training reads; RDKit and soundfile work here, once."""
    from scoregen.errors import InputError

    if kind == "molecules":
        _molecules(sources, out, holdout or [], dev_fraction, max_records, as_json)
    elif kind == "audio":
        if max_records is not None:
            raise InputError("--max-records is for molecules; give fewer files instead")
        _audio(sources, out, holdout or [], dev_fraction, mel, as_json)
    else:
        raise InputError(f"cannot prepare '{kind}'; known: molecules, audio")


def _molecules(
    sources: list[Path],
    out: Path,
    holdout: list[str],
    dev_fraction: float | None,
    max_records: int | None,
    as_json: bool,
) -> None:
    from scoregen.molecules.prepare import prepare_molecules

    from .ui import emit, progress

    options = {} if dev_fraction is None else {"dev_fraction": dev_fraction}
    with progress("records") as update:
        done = prepare_molecules(
            sources,
            out,
            holdout_ids=holdout or None,
            max_records=max_records,
            progress=lambda seen: update(seen, seen),
            **options,
        )
    skipped = f"; skipped {sum(done.skipped.values())}: {dict(done.skipped)}" if done.skipped else ""
    emit(
        as_json,
        {"output": str(out), **done.as_dict()},
        f"{done.records} records ({_counts(done.splits)}) → {out}{skipped}",
    )


def _audio(
    sources: list[Path], out: Path, holdout: list[str], dev_fraction: float | None, mel: str, as_json: bool
) -> None:
    from dataclasses import asdict

    from scoregen.audio.prepare import prepare_audio

    from .ui import emit, failed, progress

    options = {} if dev_fraction is None else {"dev_fraction": dev_fraction}
    with progress("clips") as update:
        done = prepare_audio(sources, out, spec=mel, holdout_speakers=holdout, progress=update, **options)
    for path, reason in done.failed:
        failed(path, None, reason)
    minutes = sum(done.seconds.values()) / 60
    emit(
        as_json,
        {"output": str(out), **asdict(done)},
        f"{sum(done.clips.values())} clips, {minutes:.1f} min ({_counts(done.clips)}) → {out}",
    )
    raise typer.Exit(1 if done.failed else 0)


def _counts(splits: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(splits.items()))
