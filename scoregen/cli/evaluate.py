"""``scoregen evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

evaluate = typer.Typer(
    help="Score generated conformers, candidates or audio against references.", no_args_is_help=True
)


@evaluate.command()
def conformers(
    generated: Annotated[Path, typer.Argument(metavar="GENERATED.sdf", help="Conformers to score.")],
    reference: Annotated[Path, typer.Option(help="SDF of reference conformers.")],
    delta: Annotated[
        list[float] | None, typer.Option(metavar="Å", help="Coverage thresholds; default 0.5 and 0.1.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Coverage (COV) and average minimum RMSD (AMR), recall and precision, mean over molecules.

    Molecules are matched by their SMILES with stereo, read from the structures.
    """
    from scoregen.molecules.evaluation import evaluate_conformers

    from .ui import emit, failed

    thresholds = tuple(delta or (0.5, 0.1))
    result = evaluate_conformers(generated, reference, thresholds)
    for text, reason in result["problems"]:
        failed(text, None, reason)
    lines = [f"{'molecules':<16}{result['molecules']}", f"{'not generated':<16}{result['failures']}"]
    for key, value in result.items():
        if key.startswith(("amr", "cov")) and not key.endswith("_scored"):
            shown = "-" if value is None else f"{value:.3f}{' Å' if key.startswith('amr') else ''}"
            lines.append(f"{key.upper().replace('_', '-', 1).replace('_', ' '):<16}{shown}")
    emit(as_json, result, "\n".join(lines))
    raise typer.Exit(1 if result["problems"] or result["failures"] else 0)


@evaluate.command()
def candidates(
    generated: Annotated[Path, typer.Argument(metavar="GENERATED.sdf", help="Molecules to score.")],
    reference: Annotated[Path, typer.Option(help="Known molecules: .smi, .csv or .sdf, plain or gzipped.")],
    pose: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="PoseBusters: mol, mol_fast or none; default mol if installed."),
    ] = None,
    pose_limit: Annotated[int, typer.Option(min=1, help="Molecules PoseBusters checks.")] = 100,
    strain: Annotated[
        str, typer.Option(metavar="METHOD", help="Relaxation energy: gfn2, mmff or none.")
    ] = "none",
    strain_limit: Annotated[int, typer.Option(min=1, help="Molecules that are relaxed.")] = 100,
    csv: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Write every value here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Validity as written, uniqueness, novelty, diversity, descriptors, alerts, PoseBusters, distances.

    Molecules are the same when their SMILES without stereo are. Distances are Wasserstein-1 and total
    variation; beside them stand those between two parts of the reference.
    """
    from scoregen.errors import MissingExtra
    from scoregen.files import spared
    from scoregen.molecules.design.assess import AssessSettings, write_csv
    from scoregen.molecules.design.evaluation import evaluate_candidates
    from scoregen.molecules.design.pose import check_available

    from .candidates_table import candidates_table
    from .ui import emit, failed, progress

    spared([] if csv is None else [csv], [generated, reference])
    if pose is None:
        try:
            check_available()
            pose = "mol"
        except MissingExtra as error:
            typer.echo(f"note: PoseBusters is left out: {error}", err=True)
    settings = AssessSettings(
        pose=None if pose == "none" else pose,
        pose_limit=pose_limit,
        strain=None if strain == "none" else strain,
        strain_limit=strain_limit,
    )
    with progress("scored") as update:
        result, rows = evaluate_candidates(generated, reference, settings, update)
    if csv is not None:
        write_csv(csv, rows)
    for text, reason in result["problems"]:
        failed(text, None, reason)
    emit(as_json, result, candidates_table(result))
    raise typer.Exit(1 if result["problems"] else 0)


@evaluate.command()
def audio(
    generated: Annotated[Path, typer.Argument(metavar="GENERATED", help="Sound file or folder to score.")],
    reference: Annotated[Path, typer.Option(help="Reference sound file or folder, matched by file name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """PESQ-WB, STOI, multi-resolution STFT distance, MCD, F0 and voicing errors, mean over clips."""
    from scoregen.audio.evaluation import evaluate_audio

    from .ui import emit, failed

    result = evaluate_audio(generated, reference)
    for text, reason in result["problems"]:
        failed(text, None, reason)
    for notice in result["notices"]:
        typer.echo(f"note: {notice}", err=True)
    names = {
        "pesq_wb": "PESQ-WB",
        "stoi": "STOI",
        "mr_stft": "MR-STFT",
        "mcd": "MCD, dB",
        "f0_rmse_hz": "F0 RMSE, Hz",
        "f0_rmse_cents": "F0 RMSE, cents",
        "vuv_error": "V/UV error",
        "vuv_f1": "V/UV F1",
    }
    lines = [f"{'clips':<16}{result['clips']}"]
    lines += [
        f"{title:<16}{'-' if result[key] is None else f'{result[key]:.3f}'}" for key, title in names.items()
    ]
    emit(as_json, result, "\n".join(lines))
    raise typer.Exit(1 if result["problems"] else 0)
