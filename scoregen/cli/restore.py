"""``scoregen restore``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scoregen.audio.damage import Damage


def restore(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Sound (.wav .flac .ogg), or folders of it.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Sound file (for one input) or folder.")],
    gap: Annotated[
        str | None, typer.Option(metavar="START:END[,…]", help="Lost stretches, in seconds.")
    ] = None,
    gaps: Annotated[
        Path | None, typer.Option(help="The same as CSV with the columns start, end and, if need be, file.")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(metavar="HZ", help="Nothing above this frequency is kept; it is made.")
    ] = None,
    snr: Annotated[
        str | None,
        typer.Option(metavar="DB", help="Stationary noise at this signal-to-noise ratio, or 'auto'."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Shipped name, model folder, or owner/name on the Hugging Face Hub.")
    ] = "vocoder-fast-22k",
    steps: Annotated[int, typer.Option(min=1, help="Network calls a draw.")] = 4,
    seed: Annotated[int, typer.Option(help="Same seed, same waveforms.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Draws; the first is written.")] = 1,
    spread: Annotated[
        Path | None, typer.Option(help="JSON for the spread of the draws, a value for every 10 ms.")
    ] = None,
    errors: Annotated[Path | None, typer.Option(help="CSV for the inputs that failed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recordings with gaps, missing treble or noise, restored; same length, sample rate and level.

    Give one of --gap, --gaps, --bandwidth and --snr. Outside gaps no sample changes.

    Exit code: 0 all good, 1 some inputs failed (each on stderr and in --errors), 2 wrong usage.
    """
    from scoregen.audio.restore_files import run_restore
    from scoregen.audio.vocoder import Vocoder

    from .ui import end_of_batch, failed_file, pick_device, progress

    damage = _damage(gap, gaps, bandwidth, snr)
    vocoder = Vocoder.from_pretrained(model, pick_device(device))
    with progress("clips") as on_done:
        summary = run_restore(
            inputs,
            out,
            vocoder,
            damage,
            steps=steps,
            seed=seed,
            samples=samples,
            spread=spread,
            errors=errors,
            on_failure=failed_file,
            on_done=on_done,
        )
    end_of_batch(summary, as_json, f"{len(summary.outputs)} restored", out)


def _damage(
    gap: str | None, gaps: Path | None, bandwidth: float | None, snr: str | None
) -> Damage | Mapping[str | None, Damage]:
    """The one damage that was named."""
    from scoregen.audio.damage import Bandwidth, Gap, Noise, read_gaps
    from scoregen.errors import InputError

    if sum(given is not None for given in (gap, gaps, bandwidth, snr)) != 1:
        raise InputError("say what is wrong by one of --gap, --gaps, --bandwidth and --snr")
    if gap is not None:
        return Gap.parse(gap)
    if gaps is not None:
        return read_gaps(gaps)
    if bandwidth is not None:
        return Bandwidth(bandwidth)
    try:
        return Noise(None if snr == "auto" else float(snr or ""))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--snr '{snr}': need a number of dB, or auto") from None
