"""``scoregen models``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

models = typer.Typer(help="Shipped models: list them, show one.", invoke_without_command=True)


@models.callback()
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models(as_json=False)


@models.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Names, kinds and sizes of the shipped models."""
    from scoregen.hub import list_pretrained

    from .ui import emit

    rows = [_facts(name) for name in list_pretrained()]
    lines = [
        f"{row['name']:<24} {row['modality']:<10} {row['parameters'] / 1e6:6.2f} M parameters  {row['path']}"
        for row in rows
    ]
    emit(as_json, {"models": rows}, "\n".join(lines) or "no models are shipped with this copy")


@models.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Shipped name or model folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The model card, or with --json the configuration and provenance."""
    from scoregen.hub import find_model, read_config

    from .ui import emit

    folder = find_model(name)
    card = folder / "README.md"
    text = card.read_text() if card.is_file() else f"{folder}: no model card"
    emit(as_json, {**_facts(name), **read_config(folder)}, text.rstrip())


def _facts(name: str) -> dict[str, Any]:
    import math

    from safetensors import SafetensorError, safe_open

    from scoregen.errors import InputError
    from scoregen.hub import find_model, read_config

    folder = find_model(name)
    path = folder / "model.safetensors"
    try:
        with safe_open(path, framework="np") as weights:
            count = sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged or missing ({error})") from None
    return {
        "name": name,
        "modality": read_config(folder)["modality"],
        "parameters": count,
        "path": str(folder),
    }
