"""One job over many files: names of outputs, collisions, failures that do not stop the rest."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scoregen.errors import InputError
from scoregen.files import atomic_path

from .files import find_inputs


@dataclass
class Batch:
    """What a job did; ``failures`` are (input, reason), ``outputs`` the files written."""

    inputs: int = 0
    outputs: list[str] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0
    notices: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return asdict(self)


def run_batch(
    batch: Batch,
    inputs: Sequence[str | os.PathLike[str]],
    suffixes: tuple[str, ...],
    place: Callable[[Path], Path],
    work: Callable[[Path, Path], float],
    *,
    errors: str | os.PathLike[str] | None = None,
    on_failure: Callable[[str, str], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> None:
    """Run ``work`` on every file; an input that fails is reported and the rest goes on.

    Args:
        batch: filled in.
        inputs: files, whatever their suffix, or folders.
        suffixes: what is looked for in folders.
        place: where the output goes, from the input's path relative to what it was found in.
        work: called with (input, output); returns seconds of sound done, raises :class:`InputError`.
        errors: CSV of the inputs that failed (header only when none did).
        on_failure: called with (input, reason) as failures are met.
        on_done: progress, called with (done, all).
    """
    started = time.monotonic()

    def fail(name: str, reason: str) -> None:
        batch.failures.append((name, reason))
        if on_failure is not None:
            on_failure(name, reason)

    jobs: list[tuple[Path, Path]] = []
    for source in inputs:
        try:
            jobs.extend(find_inputs([source], suffixes))
        except InputError as error:
            fail(str(source), str(error))
    batch.inputs = len(jobs) + len(batch.failures)
    taken: dict[Path, Path] = {}
    for done, (path, relative) in enumerate(jobs, start=1):
        output = place(relative)
        try:
            if output in taken:
                raise InputError(
                    f"{path}: its output {output} is already that of {taken[output]}; rename one"
                )
            taken[output] = path
            if output.resolve() == path.resolve():
                raise InputError(f"{path}: the output would replace the input; choose another folder")
            batch.audio_seconds += work(path, output)
            batch.outputs.append(str(output))
        except (InputError, OSError) as error:
            fail(str(path), str(error))
        if on_done is not None:
            on_done(done, len(jobs))
    if errors is not None:
        write_errors(errors, batch.failures)
    batch.seconds = time.monotonic() - started


def write_errors(path: str | os.PathLike[str], failures: Sequence[tuple[str, str]]) -> None:
    """Write ``(input, reason)`` pairs as CSV, whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.writer(stream)
        # A sound or mel file is one input, so the line number of the common format stays empty.
        writer.writerow(("input", "line", "reason"))
        writer.writerows((name, "", reason) for name, reason in failures)
