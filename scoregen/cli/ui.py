"""What commands show: progress on a terminal, one JSON object, one line for each failure."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from scoregen.audio.batch import Batch


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, only on a terminal; yields ``update(done, total)``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bar:
        shown = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)


def emit(as_json: bool, payload: dict[str, Any], line: str) -> None:
    """Print the one JSON object, or the line for people."""
    typer.echo(json.dumps(payload, ensure_ascii=False, default=_plain) if as_json else line)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value.item()


def failed(text: str, line: int | None, reason: str) -> None:
    """One line on stderr for an input that failed."""
    where = f" (line {line})" if line else ""
    typer.echo(f"failed: {text}{where}: {reason}", err=True)


def failed_file(name: str, reason: str) -> None:
    """:func:`failed` for a file, whose reason may begin with its name."""
    failed(name, None, reason.removeprefix(f"{name}: "))


def end_of_batch(summary: Batch, as_json: bool, made: str, where: Path, also: str = "") -> NoReturn:
    """Show what came of a batch of files, and leave: exit code 1 if some failed, else 0.

    Args:
        summary: of the batch.
        as_json: one JSON object instead of a line.
        made: what was made, in words, such as ``3 waveforms``.
        where: the output.
        also: what to say after the time it took.
    """
    for notice in summary.notices:
        typer.echo(f"note: {notice}", err=True)
    lost = f"; {len(summary.failures)} of {summary.inputs} inputs failed" if summary.failures else ""
    sound = f"{summary.audio_seconds:.1f} s of sound in {summary.seconds:.1f} s"
    emit(as_json, summary.as_dict(), f"{made}, {sound}{also} → {where}{lost}")
    raise typer.Exit(1 if summary.failures else 0)


def pick_device(name: str) -> str:
    """``auto`` is CUDA where there is one.

    PyTorch gets one CPU thread unless ``OMP_NUM_THREADS`` says otherwise: with other work on the cores, two
    threads make these small networks many times slower, and the last bits would depend on their number.

    Raises:
        InputError: another name, or CUDA asked for where there is none.
    """
    import torch

    from scoregen.errors import InputError

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device '{name}' is not one of auto, cpu, cuda")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no CUDA device; use auto or cpu")
    return name
