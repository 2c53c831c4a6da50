"""``scoregen conformers``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def conformers(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="SMILES, .smi, .csv or .sdf files, or - for stdin."),
    ],
    n: Annotated[
        str, typer.Option("-n", "--number", help="Conformers of each molecule; auto: by rotatable bonds.")
    ] = "10",
    out: Annotated[Path, typer.Option("-o", "--out", help="SDF to write (.sdf or .sdf.gz).")] = Path(
        "conformers.sdf"
    ),
    draws: Annotated[
        float | None,
        typer.Option(help="Geometries drawn for each one kept, which stands for the others; 4 up to -n 20."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same conformers.")] = 0,
    model: Annotated[
        str, typer.Option(help="Shipped name, model folder, or owner/name on the Hugging Face Hub.")
    ] = "conformer-small",
    steps: Annotated[
        int | None, typer.Option(help="Network calls of each draw; the start's own default.")
    ] = None,
    init: Annotated[
        str, typer.Option(help="Start of each draw: auto, mix, noise, etkdg, mmff; a+b takes turns.")
    ] = "auto",
    sigma: Annotated[
        float | None, typer.Option(metavar="Å", help="Noise put on etkdg and mmff starts; their own default.")
    ] = None,
    solver: Annotated[str, typer.Option(help="Integration rule, see docs/core.md.")] = "dpmpp-2m",
    theory: Annotated[
        str, typer.Option(help="Kind of geometry, where the model knows: auto, dft, gfn2, mmff, experiment.")
    ] = "auto",
    enumerate_stereo: Annotated[
        bool, typer.Option("--enumerate-stereo", help="Every stereoisomer of what is left open.")
    ] = False,
    relax: Annotated[str, typer.Option(help="Relax afterwards: none, mmff or gfn2.")] = "none",
    keep_raw: Annotated[
        bool, typer.Option("--keep-raw", help="Geometries before relaxation too, in OUT_raw.sdf.")
    ] = False,
    rank: Annotated[
        str, typer.Option(help="Order of conformers: none, energy, likelihood or population.")
    ] = "none",
    prune: Annotated[
        float | None,
        typer.Option(metavar="Å", help="Drop conformers nearer than this RMSD; 0, with -n auto 0.5."),
    ] = None,
    energy_window: Annotated[
        float | None,
        typer.Option(metavar="KCAL", help="Drop conformers this far above the lowest, kcal/mol."),
    ] = None,
    errors: Annotated[Path | None, typer.Option(help="CSV for the inputs that failed.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep finished parts when interrupted; go on from them.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """3D conformers with the stereo the input states, as SDF.

    Exit code: 0 all good, 1 some inputs failed (each on stderr and in --errors), 2 wrong usage.
    """
    from scoregen.molecules.conformers import ConformerGenerator
    from scoregen.molecules.pipeline import run_conformers
    from scoregen.molecules.settings import Settings

    from .ui import emit, failed, pick_device, progress

    settings = Settings(
        n=int(n) if n.lstrip("+-").isdecimal() else n,
        draws=draws,
        seed=seed,
        steps=steps,
        init=init,
        sigma=sigma,
        solver=solver,
        theory=theory,
        relax=relax,
        rank=rank,
        prune=prune,
        energy_window=energy_window,
    )
    generator = ConformerGenerator.from_pretrained(model, pick_device(device))
    with progress("conformers") as on_done:
        summary = run_conformers(
            inputs,
            out,
            generator,
            settings,
            enumerate_stereo=enumerate_stereo,
            keep_raw=keep_raw,
            errors=errors,
            resume=resume,
            on_failure=failed,
            on_done=on_done,
        )
    lost = f"; {len(summary.failures)} of {summary.inputs} inputs failed" if summary.failures else ""
    emit(
        as_json,
        summary.as_dict(),
        f"{summary.records} conformers of {summary.molecules} molecules in "
        f"{summary.seconds:.1f} s → {out}{lost}",
    )
    raise typer.Exit(1 if summary.failures else 0)
