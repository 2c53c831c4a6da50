"""``scoregen mel``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from scoregen.audio.mel import MelSpec


def mel(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Sound (.wav .flac .ogg) or folders of it; mels (.npy .pt .safetensors) are converted.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Mel file (for one input) or folder.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Convention to write; hifigan-22k when omitted. See --list.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Write the convention of this vocoder instead.")] = None,
    stats: Annotated[
        Path | None, typer.Option(help="z-norm what is written: .json .npy .npz or .safetensors.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Convention of input mels; folders are searched for mels.")
    ] = None,
    source_stats: Annotated[
        Path | None, typer.Option("--from-stats", help="Statistics that input mels are z-normed with.")
    ] = None,
    format_: Annotated[
        Literal["npy", "pt", "safetensors"] | None,
        typer.Option("--format", help="Of the files in a folder; npy when omitted."),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Print the presets and leave.")] = False,
    errors: Annotated[Path | None, typer.Option(help="CSV for the inputs that failed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Mel spectrograms of recordings, or of mels of another convention where that is exact.

    Every file states its convention, inside or (.npy) in NAME.mel.json beside it; scoregen vocode reads it.

    Exit code: 0 all good, 1 some inputs failed (each on stderr and in --errors), 2 wrong usage.
    """
    from scoregen.audio.conventions import listing, table
    from scoregen.audio.extract import run_mel
    from scoregen.audio.znorm import with_stats
    from scoregen.errors import InputError

    from .ui import emit, end_of_batch, failed_file, progress

    if show:
        emit(as_json, {"presets": table()}, listing())
        return
    if not inputs or out is None:
        raise InputError("scoregen mel needs INPUT and --out (or --list)")
    if source_stats is not None and source is None:
        raise InputError("--from-stats needs --from, the convention before the z-norm")
    spec, known = _wanted(preset, model), _preset(source)
    if stats is not None:
        spec = with_stats(spec, stats)
    if known is not None and source_stats is not None:
        known = with_stats(known, source_stats)
    with progress("mels") as on_done:
        summary = run_mel(
            inputs,
            out,
            spec,
            source=known,
            suffix=None if format_ is None else f".{format_}",
            errors=errors,
            on_failure=failed_file,
            on_done=on_done,
        )
    end_of_batch(summary, as_json, f"{len(summary.outputs)} mels of '{spec.name}'", out)


def _preset(name: str | None) -> MelSpec | None:
    from scoregen.audio.mel import MelSpec

    return None if name is None else MelSpec.preset(name)


def _wanted(preset: str | None, model: str | None) -> MelSpec:
    """The convention asked for, by preset or by vocoder."""
    from scoregen.audio.mel import MelSpec
    from scoregen.audio.vocoder import Vocoder
    from scoregen.errors import InputError

    if model is None:
        return MelSpec.preset(preset or "hifigan-22k")
    if preset is not None:
        raise InputError("--preset and --model both name a convention; give one")
    return Vocoder.from_pretrained(model).spec
