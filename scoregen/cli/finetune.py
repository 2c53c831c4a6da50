"""``scoregen finetune``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer


def finetune(
    sources: Annotated[
        list[Path], typer.Argument(metavar="MY.sdf...", help="3D structures, .sdf or .sdf.gz.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model folder to write.")],
    model: Annotated[
        str, typer.Option(help="Model to start from: shipped name, folder, or owner/name on the Hub.")
    ] = "conformer-small",
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1000,
    theory: Annotated[
        str,
        typer.Option(
            help="What made the structures: dft, gfn2, mmff, experiment or unknown; auto: what the model is "
            "told by default. The new model is told the same by default."
        ),
    ] = "auto",
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-4,
    dev_fraction: Annotated[
        float, typer.Option(help="Share of the molecules kept to compare before and after.")
    ] = 0.15,
    holdout: Annotated[
        list[Path] | None,
        typer.Option(help="Molecules to leave out: a file of record titles, or an SDF."),
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="CACHE", help="Prepared cache to mix in, against forgetting.")
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Development molecules to generate conformers of, before and after.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same run.")] = 0,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop training after 90s, 30m, 2h or 1h30m.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped or interrupted.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fine-tune a conformer model on your own structures, measured before and after on molecules kept out.

    Exit code: 0 the model got better, 1 it did not (it is written all the same, and its card says so),
    2 wrong usage.
    """
    from scoregen.molecules.finetune import FinetuneSettings
    from scoregen.molecules.finetune import finetune as run
    from scoregen.molecules.finetune_card import figures_table

    from .train import parse_time
    from .ui import emit, pick_device

    settings = FinetuneSettings(
        model=model,
        steps=steps,
        learning_rate=learning_rate,
        theory=theory,
        dev_fraction=dev_fraction,
        samples=samples,
        seed=seed,
    )
    done = run(
        sources,
        out,
        settings,
        holdout=holdout or [],
        replay=replay,
        resume=resume,
        max_seconds=math.inf if max_time is None else parse_time(max_time),
        device=pick_device(device),
        notify=lambda line: typer.echo(line, err=True),
    )
    lost = f"; skipped {sum(done.skipped.values())}: {done.skipped}" if done.skipped else ""
    more = "" if done.finished else f" of {steps}; --resume goes on"
    emit(
        as_json,
        done.as_dict(),
        f"{done.records['train']} conformers of {done.molecules['train']} molecules, {done.steps} steps{more}"
        f" → {out}{lost}\n{figures_table(done)}",
    )
    if not done.improved:
        typer.echo(
            f"warning: on molecules kept out of training {model} was better than the new model; "
            "try a lower --learning-rate, fewer --steps or more molecules",
            err=True,
        )
    raise typer.Exit(0 if done.improved else 1)
