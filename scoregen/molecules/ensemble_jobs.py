"""The ensemble job: many SMILES to one SDF of ensembles; parallel, and resumed by running it again."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rdkit.Chem import Mol

from scoregen.errors import InputError, ScoregenError

from .inputs import MoleculeInput, read_inputs
from .minima import EnsembleSettings, Minima, find_minima
from .records import SdfWriter, write_errors
from .relax import check_available
from .shards import fingerprint, finish, finished, join, shard_folder

SHARD = 10
"""Molecules of a shard: what a killed worker loses at most."""

Failure = tuple[str, int, str]
"""Input as given, its line, and the reason it failed."""


@dataclass(frozen=True)
class Task:
    """One molecule of a job, light enough to hold many and to send to another process.

    Attributes:
        text, line: the input as given and where it stands.
        name: title of its records.
        graph: the molecule in RDKit's binary form; empty when there is an error.
        error: why it cannot be used, or None.
    """

    text: str
    name: str
    line: int
    graph: bytes
    error: str | None

    @classmethod
    def of(cls, entry: MoleculeInput) -> Task:
        """Task of an input."""
        graph = b"" if entry.mol is None else entry.mol.ToBinary()
        return cls(entry.text, entry.name, entry.line, graph, entry.error)


@dataclass
class EnsembleSummary:
    """What an ensemble job did.

    Attributes:
        inputs: molecules asked for.
        molecules: those that got an ensemble.
        records: conformers written.
        resumed: inputs whose shards an earlier run had finished.
        seconds: duration of this run.
        output: the file.
        settings: as given.
        failures: (input, line, reason) of those that got none.
    """

    inputs: int = 0
    molecules: int = 0
    records: int = 0
    resumed: int = 0
    seconds: float = 0.0
    output: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return asdict(self)


def make_ensembles(
    sources: Sequence[str],
    out: str | os.PathLike[str],
    settings: EnsembleSettings | None = None,
    *,
    workers: int = 1,
    errors: str | os.PathLike[str] | None = None,
    on_failure: Callable[[str, int, str], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> EnsembleSummary:
    """Ensembles of all molecules, in input order, in one SDF that appears whole.

    Finished shards wait in ``.NAME.partial`` beside the output and are taken over by the next run with the
    same inputs and settings; the folder goes when the output is there. The result does not depend on the
    number of workers, nor on interruptions, but for molecules that come near the time limit.

    Args:
        sources: what :func:`scoregen.molecules.inputs.read_inputs` takes.
        out: ``.sdf`` or ``.sdf.gz``. One record per conformer; title = the input's name; properties
            ``smiles``, ``conformer``, ``relative_energy_kcal_mol``, ``boltzmann_weight_298K``, ``level``.
        settings: how ensembles are made.
        workers: processes, one thread each.
        errors: CSV for the inputs that failed; written (header only when none failed) if given.
        on_failure: called with (input, line, reason).
        on_done: progress, called with (inputs done, all).

    Raises:
        InputError: not an SDF name, no program for the level, a value out of range, or no molecule got an
            ensemble (then nothing is written but the errors).
        ScoregenError: a worker died; what is finished is kept.
    """
    started = time.monotonic()
    out, settings = Path(out), settings or EnsembleSettings()
    SdfWriter(out)  # refuses a wrong suffix before any work is done
    check_available(settings.level)
    if workers < 1:
        raise InputError(f"--workers must be at least 1, got {workers}")
    tasks = [Task.of(entry) for entry in read_inputs(sources)]
    folder = shard_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    shards = list(_shards(tasks, folder, settings, out))
    done = {shard.path: marker for shard in shards if (marker := finished(shard.path, shard.key))}
    summary = EnsembleSummary(len(tasks), output=str(out), settings=asdict(settings))
    summary.resumed = sum(len(shard.tasks) for shard in shards if shard.path in done)
    count = summary.resumed
    if on_done is not None:
        on_done(count, len(tasks))
    for shard, marker in _made([shard for shard in shards if shard.path not in done], workers):
        done[shard.path] = marker
        count += len(shard.tasks)
        if on_done is not None:
            on_done(count, len(tasks))
    for shard in shards:
        marker = done[shard.path]
        summary.molecules += marker["molecules"]
        summary.records += marker["records"]
        summary.failures += [(text, line, reason) for text, line, reason in marker["failures"]]
    if on_failure is not None:
        for failure in summary.failures:
            on_failure(*failure)
    if errors is not None:
        write_errors(errors, summary.failures)
    if summary.molecules:
        join([shard.path for shard in shards], out)
    shutil.rmtree(folder)
    if not summary.molecules:
        raise InputError(f"none of {len(tasks)} inputs got an ensemble")
    summary.seconds = time.monotonic() - started
    return summary


@dataclass(frozen=True)
class _Shard:
    path: Path
    key: str
    tasks: tuple[Task, ...]
    settings: EnsembleSettings


def _shards(tasks: Sequence[Task], folder: Path, settings: EnsembleSettings, out: Path) -> Iterator[_Shard]:
    suffix = ".sdf.gz" if out.suffix.lower() == ".gz" else ".sdf"
    for number, start in enumerate(range(0, len(tasks), SHARD)):
        chunk = tuple(tasks[start : start + SHARD])
        key = fingerprint([repr(settings), *map(repr, chunk)])
        yield _Shard(folder / f"{number:06d}{suffix}", key, chunk, settings)


def _made(shards: Sequence[_Shard], workers: int) -> Iterator[tuple[_Shard, dict[str, Any]]]:
    """Make shards, here or in processes of their own; yields each with its marker when it is finished."""
    if min(workers, len(shards)) <= 1:
        yield from ((shard, _make(shard)) for shard in shards)
        return
    # Forked children would inherit the threads of PyTorch and of the progress bar.
    context = multiprocessing.get_context("spawn")
    todo = iter(shards)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        running: dict[Future[dict[str, Any]], _Shard] = {}
        try:
            while True:
                # A few in line for each worker: none waits for work, and little is queued when we stop.
                for shard in islice(todo, 2 * workers - len(running)):
                    running[pool.submit(_make, shard)] = shard
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise ScoregenError("a worker died (out of memory?); run the same command to go on") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Make a worker die with its parent, also when that is killed, and quietly on Ctrl-C."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make(shard: _Shard) -> dict[str, Any]:
    """Ensembles of a shard's molecules: its SDF, then its marker."""
    failures: list[Failure] = []
    with SdfWriter(shard.path) as sdf:
        for task in shard.tasks:
            try:
                _write(sdf, task.name, _minima(task, shard.settings), shard.settings.level)
            except InputError as error:
                failures.append((task.text, task.line, str(error)))
    done = {"molecules": len(shard.tasks) - len(failures), "records": sdf.count, "failures": failures}
    return finish(shard.path, shard.key, done)


def _minima(task: Task, settings: EnsembleSettings) -> Minima:
    if task.error is not None:
        raise InputError(task.error)
    try:
        return find_minima(Mol(task.graph), settings)  # type: ignore[call-overload]
    except (RuntimeError, ValueError) as error:  # RDKit's own; InputError passes as it is
        if isinstance(error, InputError):
            raise
        raise InputError(f"RDKit: {' '.join(str(error).split())[:200]}") from None


def _write(sdf: SdfWriter, name: str, minima: Minima, level: str) -> None:
    for k, positions in enumerate(minima.positions):
        properties = {
            "smiles": minima.smiles,
            "conformer": k,
            "relative_energy_kcal_mol": f"{minima.energies[k]:.4f}",
            "boltzmann_weight_298K": f"{minima.weights[k]:.5f}",
            "level": level,
        }
        sdf.write(minima.mol, positions, name=name, properties=properties)
