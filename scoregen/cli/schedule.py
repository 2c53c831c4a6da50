"""``scoregen schedule``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scoregen.audio.schedules import Candidate


def schedule(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="WaveGrad: shipped name, model folder, or owner/name.")
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Sound (.wav .flac .ogg), mel (.npy .pt), or folders of them."),
    ],
    steps: Annotated[int, typer.Option(help="Network calls that the schedule is for.")] = 6,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="JSON file for the schedule and what was tried.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL_FOLDER", help="Store it in this model: vocode --steps takes it from there."
        ),
    ] = None,
    budget: Annotated[int, typer.Option(help="Schedules to try.")] = 150,
    seed: Annotated[int, typer.Option(help="Same seed, same search.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Rows of the table.")] = 10,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Search the noise schedule of few steps that suits a trained WaveGrad best (its paper, section 4).

    Schedules are scored by the log-mel error of the waveforms they give for the clips: a few clips that the
    model was not trained on are enough. The middle 256 frames of each are used.

    Exit code: 0 all good, 1 some inputs could not be used, 2 wrong usage.
    """
    import json
    import time

    from scoregen.audio.files import MELS, SOUND, find_inputs
    from scoregen.audio.schedules import chain_of, read_mels, search_schedule, store_schedule
    from scoregen.audio.vocoder import Vocoder
    from scoregen.errors import InputError
    from scoregen.files import atomic_path

    from .ui import emit, failed_file, pick_device, progress

    if steps < 1:
        raise InputError(f"--steps {steps}: need at least 1")
    vocoder = Vocoder.from_pretrained(model, pick_device(device))
    chain_of(vocoder)
    mels, failures = read_mels([path for path, _ in find_inputs(inputs, SOUND + MELS)], vocoder)
    for name, reason in failures:
        failed_file(name, reason)
    if not mels:
        raise InputError("none of the inputs can be used; give recordings or mels of a few seconds")
    started = time.monotonic()
    with progress("schedules") as on_done:
        betas, table = search_schedule(vocoder, mels, steps, budget=budget, seed=seed, on_done=on_done)
    seconds = time.monotonic() - started
    found = {"model": vocoder.name, "steps": steps, "seed": seed, "clips": len(mels), "betas": betas}
    tried = [{"betas": row.betas, "log_mel_mse": row.error} for row in table[:top]]
    found |= {"log_mel_mse": table[0].error, "tried": len(table), "best": tried}
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
    if into is not None:
        store_schedule(into, betas)
    places = [str(place) for place in (out, into) if place is not None]
    emit(
        as_json,
        {**found, "seconds": seconds, "outputs": places, "failures": failures},
        f"{_rows(table[:top])}\n{len(table)} schedules on {len(mels)} clips in {seconds:.1f} s → "
        f"{', '.join(places) or 'nowhere (give -o or --into)'}",
    )
    raise typer.Exit(1 if failures else 0)


def _rows(table: Sequence[Candidate]) -> str:
    """The table for people: error and β, best first."""
    head = f"{'log-mel MSE':>11}  β"
    return "\n".join([head, *(f"{row.error:11.4f}  {_numbers(row.betas)}" for row in table)])


def _numbers(betas: Sequence[float]) -> str:
    return " ".join(f"{beta:.3g}" for beta in betas)
