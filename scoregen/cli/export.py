"""``scoregen export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[
        str,
        typer.Argument(help="Vocoder: shipped name, model folder, or owner/name on the Hugging Face Hub."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """One call of each network of a vocoder as ONNX files, compared with PyTorch; a JSON explains them.

    Needs the extra onnx. Takes a minute or two.
    """
    from scoregen.audio.onnx import export_onnx
    from scoregen.hub import from_pretrained

    from .ui import emit, pick_device

    pick_device("cpu")
    done = export_onnx(from_pretrained(model, "audio", "cpu"), out)
    worst = max(done.difference.values())
    emit(
        as_json,
        {"model": model, "files": [str(path) for path in done.files], "difference": done.difference},
        f"{len(done.files)} files, at most {worst:.0e} from PyTorch → {out}",
    )
