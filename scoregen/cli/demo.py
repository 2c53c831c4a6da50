"""``scoregen demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write.")] = Path("demo"),
    n: Annotated[int, typer.Option("-n", "--number", help="Conformers of each drug.")] = 8,
    seed: Annotated[int, typer.Option(help="Same seed, same results.")] = 0,
    conformer_model: Annotated[str, typer.Option(help="Model for the molecules.")] = "conformer-small",
    design_model: Annotated[str, typer.Option(help="Model for new molecules.")] = "design-druglike",
    vocoder_model: Annotated[str, typer.Option(help="Model for the speech.")] = "vocoder-fast-22k",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Everything once on shipped samples: SDF, WAV and a page to open."""
    from scoregen.report.demo import run_demo

    from .ui import emit, progress

    with progress("demo") as on_done:
        result = run_demo(
            out,
            n=n,
            seed=seed,
            conformer_model=conformer_model,
            design_model=design_model,
            vocoder_model=vocoder_model,
            on_done=on_done,
        )
    emit(as_json, result, "\n".join([*result["files"], f"open {result['page']} in a browser"]))
