"""``scoregen vocode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def vocode(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Sound (.wav .flac .ogg), mels (.npy .pt .safetensors), or folders of them.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Sound file (for one input) or folder.")],
    model: Annotated[
        str, typer.Option(help="Shipped name, model folder, or owner/name on the Hugging Face Hub.")
    ] = "vocoder-fast-22k",
    steps: Annotated[int, typer.Option(min=1, help="Network calls.")] = 4,
    seed: Annotated[int, typer.Option(help="Same seed, same waveforms.")] = 0,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read, vocode and write in pieces: constant memory, same samples."),
    ] = False,
    block: Annotated[
        int, typer.Option(min=1, help="Frames rendered at once; fewer come sooner and cost more.")
    ] = 256,
    errors: Annotated[Path | None, typer.Option(help="CSV for the inputs that failed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Waveforms of mel spectrograms, or of recordings through their mel and back.

    A waveform has exactly the input's length and sample rate; that of a mel has frames times hop samples.
    In a folder, sound keeps its name, and a.npy becomes a.wav (a.npy.wav where another input makes a.wav).
    Inputs of more than ten minutes are streamed anyway.

    Exit code: 0 all good, 1 some inputs failed (each on stderr and in --errors), 2 wrong usage.
    """
    from scoregen.audio.pipeline import run_vocode
    from scoregen.audio.vocoder import Vocoder

    from .ui import end_of_batch, failed_file, pick_device, progress

    vocoder = Vocoder.from_pretrained(model, pick_device(device))
    with progress("clips") as on_done:
        summary = run_vocode(
            inputs,
            out,
            vocoder,
            steps=steps,
            seed=seed,
            stream=stream,
            block=block,
            errors=errors,
            on_failure=failed_file,
            on_done=on_done,
        )
    wait = "" if summary.latency is None else f", latency {summary.latency:.2f} s"
    end_of_batch(summary, as_json, f"{len(summary.outputs)} waveforms", out, wait)
