"""``scoregen prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scoregen.molecules.minima import EnsembleSettings


def prepare(
    kind: Annotated[str, typer.Argument(metavar="molecules|candidates|audio", help="What the sources hold.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="SDF files, or sound files and folders; with --ensembles SMILES, .smi or .csv files.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Cache folder to write; with --ensembles an SDF.")],
    holdout: Annotated[
        list[str] | None,
        typer.Option(help="Kept out of training: a file of record titles or an SDF; for audio a speaker."),
    ] = None,
    dev_fraction: Annotated[float | None, typer.Option(help="Share kept out for the held-out loss.")] = None,
    max_records: Annotated[int | None, typer.Option(help="At most so many of each SDF.")] = None,
    mel: Annotated[str, typer.Option(help="Mel convention of an audio cache.")] = "hifigan-22k",
    ensembles: Annotated[
        bool,
        typer.Option("--ensembles", help="Make conformer ensembles of SMILES, an SDF to prepare afterwards."),
    ] = False,
    level: Annotated[
        str | None, typer.Option(help="Ensembles: minima of mmff, gfnff or gfn2.", show_default="gfn2")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Ensembles: ETKDG starts; 10 and 5 for each rotatable bond.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="KCAL", help="Ensembles: keep minima so far above the lowest.", show_default="6"
        ),
    ] = None,
    dedup: Annotated[
        float | None,
        typer.Option(metavar="Å", help="Ensembles: nearer minima of one energy are one.", show_default="0.1"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Ensembles: same seed, same ensembles.", show_default="0")
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Ensembles: give a molecule up after.", show_default="600"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Ensembles: processes, one core each.", show_default="1")
    ] = None,
    errors: Annotated[Path | None, typer.Option(help="Ensembles: CSV for the inputs that failed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn data into the cache that training reads; RDKit and soundfile work here, once.

    With --ensembles the sources are SMILES and the output is an SDF of conformers at a level of theory; the
    same command goes on where an interrupted one stopped.
    """
    from scoregen.errors import InputError

    how = _given(
        level=level, candidates=candidates, window=window, dedup=dedup, seed=seed, time_limit=time_limit
    )
    job = _given(workers=workers, errors=errors)
    if ensembles:
        if kind != "molecules":
            raise InputError("--ensembles is for molecules")
        if holdout or dev_fraction is not None or max_records is not None:
            raise InputError(
                "--holdout, --dev-fraction and --max-records belong to the cache: give them when preparing "
                "it from the SDF, not with --ensembles"
            )
        from scoregen.molecules.minima import EnsembleSettings

        _ensembles(sources, out, EnsembleSettings(**how), job, as_json)
    elif how or job:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in how | job)
        raise InputError(f"{names}: only with --ensembles")
    elif kind in ("molecules", "candidates"):
        _molecules(kind, sources, out, holdout or [], dev_fraction, max_records, as_json)
    elif kind == "audio":
        if max_records is not None:
            raise InputError("--max-records is for molecules; give fewer files instead")
        _audio(sources, out, holdout or [], dev_fraction, mel, as_json)
    else:
        raise InputError(f"cannot prepare '{kind}'; known: molecules, candidates, audio")


def _molecules(
    kind: str,
    sources: list[str],
    out: Path,
    holdout: list[str],
    dev_fraction: float | None,
    max_records: int | None,
    as_json: bool,
) -> None:
    from scoregen.molecules.design.prepare import prepare_candidates
    from scoregen.molecules.prepare import prepare_molecules

    from .ui import emit, progress

    options = {} if dev_fraction is None else {"dev_fraction": dev_fraction}
    with progress("records") as update:
        done = (prepare_molecules if kind == "molecules" else prepare_candidates)(
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


def _ensembles(
    sources: list[str],
    out: Path,
    settings: EnsembleSettings,
    job: dict[str, Any],
    as_json: bool,
) -> None:
    from scoregen.molecules.ensemble_jobs import make_ensembles

    from .ui import emit, failed, progress

    with progress("molecules") as update:
        done = make_ensembles(sources, out, settings, **job, on_failure=failed, on_done=update)
    lost = f"; {len(done.failures)} of {done.inputs} inputs failed" if done.failures else ""
    emit(
        as_json,
        done.as_dict(),
        f"{done.records} conformers of {done.molecules} molecules in {done.seconds:.1f} s → {out}{lost}",
    )
    raise typer.Exit(1 if done.failures else 0)


def _audio(
    sources: list[str], out: Path, holdout: list[str], dev_fraction: float | None, mel: str, as_json: bool
) -> None:
    from dataclasses import asdict

    from scoregen.audio.prepare import prepare_audio

    from .ui import emit, failed, progress

    options: dict[str, Any] = {} if dev_fraction is None else {"dev_fraction": dev_fraction}
    with progress("clips") as update:
        done = prepare_audio(
            [Path(source) for source in sources],
            out,
            spec=mel,
            holdout_speakers=holdout,
            progress=update,
            **options,
        )
    for path, reason in done.failed:
        failed(path, None, reason)
    minutes = sum(done.seconds.values()) / 60
    emit(
        as_json,
        {"output": str(out), **asdict(done)},
        f"{sum(done.clips.values())} clips, {minutes:.1f} min ({_counts(done.clips)}) → {out}",
    )
    raise typer.Exit(1 if done.failed else 0)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given; the others keep the defaults of what they are passed to."""
    return {name: value for name, value in options.items() if value is not None}


def _counts(splits: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(splits.items()))
