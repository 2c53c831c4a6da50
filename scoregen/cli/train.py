"""``scoregen train``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="The run's configuration.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. train.steps=2000.")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop with a checkpoint after 90s, 30m, 2h or 1h30m.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
) -> None:
    """Train a model from a prepared cache; a killed run resumes exactly with --resume."""
    from scoregen.training.config import load_config

    seconds = math.inf if max_time is None else parse_time(max_time)
    run_config = load_config(config, overrides or [])
    from scoregen.training.loop import train as run_training

    run = run_training(run_config, resume=resume, max_seconds=seconds)
    best = run / "best"
    typer.echo(f"{best if best.exists() else run}")


def parse_time(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``30m``, ``2h``, ``1d`` or a sum of them such as ``1h30m``.

    Raises:
        InputError: anything else, or nothing above zero.
    """
    from scoregen.errors import InputError

    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise InputError(f"--max-time '{text}': give a time such as 90s, 30m, 2h or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise InputError(f"--max-time '{text}': must be more than nothing")
    return seconds
