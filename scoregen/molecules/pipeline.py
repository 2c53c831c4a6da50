"""The conformer job: inputs of any kind to one SDF, with every bad input reported.

Inputs are worked off in chunks. A finished chunk is a *shard*: a small SDF and a marker of which inputs
and settings it came from. The shards become the output in one step at the end, so the output appears whole;
with ``resume`` they outlive an interrupted run, and the next run makes only what is missing.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scoregen import __version__
from scoregen.errors import InputError

from .chem import canonical_smiles
from .conformers import ConformerGenerator
from .ensemble import Ensemble
from .enumeration import enumerate_inputs
from .inputs import MoleculeInput, read_inputs
from .records import SdfWriter, write_errors
from .settings import Settings
from .shards import fingerprint, finished, join, shard_folder
from .shards import finish as mark_finished
from .stereo import list_stereo, stereo_matches, stereo_shown

CHUNK = 256
"""Molecules in memory at once, and what an interrupted run loses at most."""

CHUNK_ATOMS = 2_000_000
"""Atoms of all geometries drawn for a chunk: some 100 MB."""

Failure = tuple[str, int, str]
"""Input as given, its line, and the reason it failed."""


@dataclass
class Summary:
    """What a conformer job did.

    Args:
        inputs: entries read, good and bad.
        molecules: molecules with at least one record; more than inputs where stereo was enumerated.
        records: conformers written.
        seconds: wall time.
        model: name of the model.
        output: the SDF.
        raw: the SDF of raw geometries, where kept.
        settings: what was asked for.
        failures: (input, line, reason) each.
    """

    inputs: int = 0
    molecules: int = 0
    records: int = 0
    seconds: float = 0.0
    model: str = ""
    output: str = ""
    raw: str | None = None
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
    enumerate_stereo: bool = False,
    keep_raw: bool = False,
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
        enumerate_stereo: every stereoisomer of an input that leaves stereo open, as a molecule of its own.
        keep_raw: write the geometries as they were before relaxation too, record for record, into
            :func:`raw_path`.
        errors: CSV for the inputs that failed; written (header only when none failed) if given.
        resume: keep finished chunks beside the output if the run is interrupted, and use those that an
            earlier run with the same inputs, settings and model left there.
        on_failure: called with (input, line, reason) as failures are met.
        on_done: progress, called with (conformers done, all) of the chunk at work.

    Raises:
        InputError: the output is not an SDF name, or raw geometries are wanted where nothing is relaxed.
    """
    started = time.monotonic()
    out = Path(out)
    SdfWriter(out)  # refuses a wrong suffix before any work is done
    if keep_raw and settings.relax == "none":
        raise InputError("--keep-raw keeps geometries from before relaxation: add --relax mmff or gfn2")
    summary = Summary(model=generator.name, output=str(out), settings=asdict(settings))
    entries = _counted(read_inputs(inputs), summary)
    if enumerate_stereo:
        entries = enumerate_inputs(entries)
    model = f"{generator.name} {generator.fingerprint}"
    shards: list[Path] = []
    suffix = ".sdf.gz" if out.suffix.lower() == ".gz" else ".sdf"
    with _shard_folder(out, resume) as folder:
        for number, chunk in enumerate(_chunks(entries, settings)):
            shard = folder / f"{number:06d}{suffix}"
            key = _key(chunk, settings, model, keep_raw)
            done = finished(shard, key) or _make(shard, key, chunk, generator, settings, keep_raw, on_done)
            shards.append(shard)
            summary.molecules += done["molecules"]
            summary.records += done["records"]
            for text, line, reason in done["failures"]:
                summary.failures.append((text, line, reason))
                if on_failure is not None:
                    on_failure(text, line, reason)
        if keep_raw:
            summary.raw = str(raw_path(out))
            join([raw_path(shard) for shard in shards], raw_path(out))
        join(shards, out)
    if errors is not None:
        write_errors(errors, summary.failures)
    summary.seconds = time.monotonic() - started
    return summary


def raw_path(out: Path) -> Path:
    """Where the raw geometries go: ``name_raw.sdf`` beside ``name.sdf``."""
    end = out.name.lower().removesuffix(".gz").rfind(".")
    return out.with_name(f"{out.name[:end]}_raw{out.name[end:]}")


def _counted(entries: Iterable[MoleculeInput], summary: Summary) -> Iterator[MoleculeInput]:
    for entry in entries:
        summary.inputs += 1
        yield entry


@contextmanager
def _shard_folder(out: Path, resume: bool) -> Iterator[Path]:
    """Where the shards go: a temporary folder, or with ``resume`` one that only success removes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not resume:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            yield Path(folder)
        return
    kept = shard_folder(out)
    kept.mkdir(exist_ok=True)
    yield kept
    shutil.rmtree(kept)


def _chunks(entries: Iterable[MoleculeInput], settings: Settings) -> Iterator[list[MoleculeInput]]:
    chunk: list[MoleculeInput] = []
    atoms = 0
    for entry in entries:
        size = entry.mol.GetNumAtoms() * settings.drawn(entry.mol) if entry.mol is not None else 0
        if chunk and (len(chunk) == CHUNK or atoms + size > CHUNK_ATOMS):
            yield chunk
            chunk, atoms = [], 0
        chunk.append(entry)
        atoms += size
    if chunk:
        yield chunk


def _key(chunk: Sequence[MoleculeInput], settings: Settings, model: str, keep_raw: bool) -> str:
    """Fingerprint of everything that decides what a shard holds."""
    lines = [
        settings.key,
        repr((model, keep_raw, __version__)),
        *(repr((e.text, e.name, e.line, e.source)) for e in chunk),
    ]
    lines += [canonical_smiles(e.mol) for e in chunk if e.mol is not None]
    return fingerprint(lines)


def _make(
    shard: Path,
    key: str,
    chunk: Sequence[MoleculeInput],
    generator: ConformerGenerator,
    settings: Settings,
    keep_raw: bool,
    on_done: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    """Generate one chunk, write its shard and then its marker; returns the marker's content."""
    failures: list[Failure] = []
    good = [entry.mol for entry in chunk if entry.mol is not None]
    made = generator.ensembles(good, settings, on_done)
    ensembles = iter(made)
    written: list[tuple[str, Ensemble]] = []
    for entry in chunk:
        if entry.mol is None:
            failures.append((entry.text, entry.line, entry.error or "unusable"))
            continue
        ensemble = next(ensembles)
        written.append((entry.name, ensemble))
        if ensemble.problem is not None:
            failures.append((entry.text, entry.line, ensemble.problem))
    if keep_raw:
        _write(raw_path(shard), written, generator.name, settings, raw=True)
    records = _write(shard, written, generator.name, settings)
    content = {
        "molecules": sum(bool(ensemble.conformers) for ensemble in made),
        "records": records,
        "failures": failures,
    }
    return mark_finished(shard, key, content)


def _write(
    path: Path,
    named: Sequence[tuple[str, Ensemble]],
    model: str,
    settings: Settings,
    *,
    raw: bool = False,
) -> int:
    """Write ensembles as records; with ``raw``, their geometries from before relaxation."""
    with SdfWriter(path) as sdf:
        for name, ensemble in named:
            for k, properties in enumerate(_properties(ensemble, model, settings, raw)):
                conformer = ensemble.conformers[k]
                positions = conformer.raw if raw and conformer.raw is not None else conformer.positions
                sdf.write(ensemble.mol, positions, name=name, properties=properties)
    return sdf.count


def _properties(ensemble: Ensemble, model: str, settings: Settings, raw: bool) -> Iterator[dict[str, Any]]:
    """Data items of each conformer's record."""
    mol = ensemble.mol
    smiles, unspecified = canonical_smiles(mol), list_stereo(mol).unspecified
    lowest = min(ensemble.energies, default=0.0)
    for k, conformer in enumerate(ensemble.conformers):
        relaxed = not raw and conformer.raw is not None
        positions = conformer.positions if relaxed or conformer.raw is None else conformer.raw
        properties: dict[str, Any] = {
            "smiles": smiles,
            "conformer": k,
            "seed": settings.seed,
            "model": model,
            "init": conformer.init,
            "relax": settings.relax if relaxed else "none",
            "stereo_ok": stereo_matches(mol, positions),
            "stereo_unspecified": unspecified,
        }
        if unspecified:
            properties["stereo_drawn"] = stereo_shown(mol, positions)
        if conformer.energy is not None and not raw:
            properties["energy_kcal_mol"] = conformer.energy
            properties["relative_energy_kcal_mol"] = conformer.energy - lowest
        if not raw:
            properties["log_likelihood"] = conformer.log_likelihood
        properties["population"] = conformer.population
        properties["spread"] = conformer.spread
        yield properties
