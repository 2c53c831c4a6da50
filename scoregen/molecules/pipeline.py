"""The conformer job: inputs of any kind to one SDF, with every bad input reported.

Inputs are worked off in chunks. A finished chunk is a *shard*: a small SDF and a marker of which inputs
and settings it came from. The shards become the output in one step at the end, so the output appears whole;
with ``resume`` they outlive an interrupted run, and the next run makes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from scoregen.files import atomic_path

from .chem import canonical_smiles
from .conformers import ConformerGenerator
from .ensemble import Ensemble
from .inputs import MoleculeInput, read_inputs
from .records import SdfWriter, write_errors
from .settings import Settings
from .stereo import list_stereo, stereo_matches

CHUNK = 256
"""Molecules in memory at once, and what an interrupted run loses at most."""

Failure = tuple[str, int, str]
"""Input as given, its line, and the reason it failed."""


@dataclass
class Summary:
    """What a conformer job did."""

    inputs: int = 0
    records: int = 0
    seconds: float = 0.0
    model: str = ""
    output: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return asdict(self)


def run_conformers(
    inputs: Sequence[str],
    out: str | Path,
    generator: ConformerGenerator,
    settings: Settings,
    *,
    errors: str | Path | None = None,
    resume: bool = False,
    on_failure: Callable[[str, int, str], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> Summary:
    """Conformers for every input, in input order, into one SDF that appears whole.

    Args:
        inputs: what :func:`scoregen.molecules.inputs.read_inputs` takes.
        out: ``.sdf`` or ``.sdf.gz``.
        generator: the model.
        settings: what is wanted of each molecule.
        errors: CSV for the inputs that failed; written (header only when none failed) if given.
        resume: keep finished chunks beside the output if the run is interrupted, and use those that an
            earlier run with the same inputs, settings and model left there.
        on_failure: called with (input, line, reason) as failures are met.
        on_done: progress, called with (conformers done, all) of the chunk at work.

    Raises:
        InputError: the output is not an SDF name.
    """
    started = time.monotonic()
    out = Path(out)
    SdfWriter(out)  # refuses a wrong suffix before any work is done
    summary = Summary(model=generator.name, output=str(out), settings=asdict(settings))
    shards: list[Path] = []
    suffix = ".sdf.gz" if out.suffix.lower() == ".gz" else ".sdf"
    with _shard_folder(out, resume) as folder:
        for number, chunk in enumerate(_chunks(read_inputs(inputs))):
            shard = folder / f"{number:06d}{suffix}"
            key = _key(chunk, settings, generator.name)
            done = _finished(shard, key) or _make(shard, key, chunk, generator, settings, on_done)
            shards.append(shard)
            summary.inputs += len(chunk)
            summary.records += done["records"]
            for text, line, reason in done["failures"]:
                summary.failures.append((text, line, reason))
                if on_failure is not None:
                    on_failure(text, line, reason)
        with atomic_path(out) as target, open(target, "wb") as whole:
            for shard in shards:  # gzip members, like SDF records, may simply follow each other
                with open(shard, "rb") as part:
                    shutil.copyfileobj(part, whole)
    if errors is not None:
        write_errors(errors, summary.failures)
    summary.seconds = time.monotonic() - started
    return summary


@contextmanager
def _shard_folder(out: Path, resume: bool) -> Iterator[Path]:
    """Where the shards go: a temporary folder, or with ``resume`` one that only success removes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not resume:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            yield Path(folder)
        return
    kept = out.parent / f".{out.name}.partial"
    kept.mkdir(exist_ok=True)
    yield kept
    shutil.rmtree(kept)


def _chunks(entries: Iterator[MoleculeInput]) -> Iterator[list[MoleculeInput]]:
    while chunk := list(islice(entries, CHUNK)):
        yield chunk


def _key(chunk: Sequence[MoleculeInput], settings: Settings, model: str) -> str:
    """Fingerprint of everything that decides what a shard holds."""
    lines = [repr((settings, model)), *(repr((e.text, e.name, e.line, e.source)) for e in chunk)]
    lines += [canonical_smiles(e.mol) for e in chunk if e.mol is not None]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _marker(shard: Path) -> Path:
    return shard.with_name(shard.name + ".json")


def _finished(shard: Path, key: str) -> dict[str, Any] | None:
    """The marker of a shard that an earlier run finished for the same work."""
    try:
        content = json.loads(_marker(shard).read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return content if content.get("key") == key and shard.exists() else None


def _make(
    shard: Path,
    key: str,
    chunk: Sequence[MoleculeInput],
    generator: ConformerGenerator,
    settings: Settings,
    on_done: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """Generate one chunk, write its shard and then its marker; returns the marker's content."""
    failures: list[Failure] = []
    good = [entry.mol for entry in chunk if entry.mol is not None]
    made = iter(generator.ensembles(good, settings, on_done))
    with SdfWriter(shard) as sdf:
        for entry in chunk:
            if entry.mol is None:
                failures.append((entry.text, entry.line, entry.error or "unusable"))
                continue
            ensemble = next(made)
            _write(sdf, entry, ensemble, generator.name, settings)
            if ensemble.problem is not None:
                failures.append((entry.text, entry.line, ensemble.problem))
    content: dict[str, Any] = {"key": key, "records": sdf.count, "failures": failures}
    with atomic_path(_marker(shard)) as target:
        target.write_text(json.dumps(content))
    return content


def _write(sdf: SdfWriter, entry: MoleculeInput, ensemble: Ensemble, model: str, settings: Settings) -> None:
    mol = ensemble.mol
    smiles = canonical_smiles(mol)
    open_elements = list_stereo(mol).unspecified
    lowest = min(ensemble.energies, default=0.0)
    for k, conformer in enumerate(ensemble.conformers):
        properties: dict[str, Any] = {
            "smiles": smiles,
            "conformer": k,
            "seed": settings.seed,
            "model": model,
            "init": conformer.init,
            "relax": settings.relax,
            "stereo_ok": stereo_matches(mol, conformer.positions),
            "stereo_unspecified": open_elements,
        }
        if conformer.energy is not None:
            properties["energy_kcal_mol"] = conformer.energy
            properties["relative_energy_kcal_mol"] = conformer.energy - lowest
        if conformer.population is not None:
            properties["population"] = conformer.population
            properties["spread"] = conformer.spread
        sdf.write(mol, conformer.positions, name=entry.name, properties=properties)
