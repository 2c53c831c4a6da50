"""What the benchmarks share: a table on the terminal and a JSON file that says how it was made."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scoregen.files import atomic_path

_PACKAGES = (
    *("scoregen", "torch", "torchaudio", "numpy", "scipy", "rdkit", "pesq", "pystoi", "pyworld"),
    *("diffusers", "azula", "k-diffusion", "wavegrad", "vocos"),
)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns; floats with three decimals, ``None`` as a dash.

    The first column is left-aligned, the others right-aligned.
    """
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # Piped output keeps its columns: a table squeezed into 80 would lose figures.
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table)


def write_json(path: str | os.PathLike[str], payload: Mapping[str, Any]) -> None:
    """Write ``payload`` with the versions, the machine and the command that made it; appears whole.

    JSON has no word for numbers that are not finite; they become null.
    """
    content = json.loads(json.dumps({**provenance(), **payload}), parse_constant=lambda _: None)
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def provenance() -> dict[str, Any]:
    """Command, time (UTC), machine and package versions."""
    return {
        "command": " ".join(["python", *map(_short, sys.argv)]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _short(argument: str) -> str:
    """An argument without the folders of this machine: what lies below the working folder of an
    absolute path, or its last two parts."""
    flag, equals, value = argument.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return argument
    here = Path.cwd()
    short = path.relative_to(here) if path.is_relative_to(here) else Path(*path.parts[1:][-2:])
    return f"{flag}{equals}{short}"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
