"""``scoregen vocode``: recordings or mel spectrograms to waveforms."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scoregen.errors import ScoregenError


def vocode(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Sound (.wav .flac .ogg), mel (.npy .pt), or folders of them."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Sound file (one input) or folder.")],
    model: Annotated[str, typer.Option("--model", help="Model name or folder.")] = "vocoder-small-22k",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Network calls.")] = 6,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.")] = 0,
    errors: Annotated[Path | None, typer.Option("--errors", help="CSV of inputs that failed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make waveforms from mel spectrograms, or send recordings through theirs and back.

    A waveform has exactly the input's length (frames times hop for a mel). One bad input never stops the
    others. Exit code 0: all good, 1: some inputs failed, 2: wrong usage.
    """
    from scoregen.audio.pipeline import run_vocode
    from scoregen.audio.vocoder import Vocoder

    bar = Progress(
        TextColumn("vocoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
    )
    try:
        vocoder = Vocoder.from_pretrained(model)
        with bar:
            task = bar.add_task("vocoding", total=None)
            summary = run_vocode(
                inputs,
                out,
                vocoder,
                steps=steps,
                seed=seed,
                errors=errors,
                on_failure=lambda name, reason: print(_line(name, reason), file=sys.stderr),
                on_done=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except ScoregenError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    for notice in summary.notices:
        print(f"note: {notice}", file=sys.stderr)
    if as_json:
        print(json.dumps(summary.as_dict()))
    else:
        print(
            f"{len(summary.outputs)} of {summary.inputs} inputs vocoded to {out}:"
            f" {summary.audio_seconds:.1f} s of audio in {summary.seconds:.1f} s"
            f" ({summary.model}, {steps} steps)"
        )
    if summary.failures:
        raise typer.Exit(1)


def _line(name: str, reason: str) -> str:
    return f"failed: {reason}" if reason.startswith(name) else f"failed: {name}: {reason}"
