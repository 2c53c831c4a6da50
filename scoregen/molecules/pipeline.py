"""The conformer job: inputs of any kind to one SDF, with every bad input reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from .chem import canonical_smiles
from .conformers import ConformerGenerator, Ensemble, Settings
from .inputs import MoleculeInput, read_inputs
from .records import SdfWriter, write_errors
from .stereo import list_stereo, stereo_matches

# Molecules in memory at once.
CHUNK = 256


@dataclass
class Summary:
    """What a conformer job did; ``failures`` are (input, line, reason)."""

    inputs: int = 0
    records: int = 0
    seconds: float = 0.0
    model: str = ""
    output: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[tuple[str, int, str]] = field(default_factory=list)

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
        on_failure: called with (input, line, reason) as failures are met.
        on_done: progress, called with (conformers done, all) of the chunk at work.

    Raises:
        InputError: the output is not an SDF name.
    """
    started = time.monotonic()
    summary = Summary(model=generator.name, output=str(out), settings=asdict(settings))

    def fail(entry: MoleculeInput, reason: str) -> None:
        summary.failures.append((entry.text, entry.line, reason))
        if on_failure is not None:
            on_failure(entry.text, entry.line, reason)

    with SdfWriter(out) as sdf:
        for chunk in _chunks(read_inputs(inputs)):
            summary.inputs += len(chunk)
            good = [entry for entry in chunk if entry.mol is not None]
            made = iter(generator.ensembles([e.mol for e in good if e.mol is not None], settings, on_done))
            for entry in chunk:
                if entry.mol is None:
                    fail(entry, entry.error or "unusable")
                    continue
                ensemble = next(made)
                _write(sdf, entry, ensemble, generator.name, settings)
                if ensemble.problem is not None:
                    fail(entry, ensemble.problem)
        summary.records = sdf.count
    if errors is not None:
        write_errors(errors, summary.failures)
    summary.seconds = time.monotonic() - started
    return summary


def _chunks(entries: Iterator[MoleculeInput]) -> Iterator[list[MoleculeInput]]:
    while chunk := list(islice(entries, CHUNK)):
        yield chunk


def _write(sdf: SdfWriter, entry: MoleculeInput, ensemble: Ensemble, model: str, settings: Settings) -> None:
    mol = ensemble.mol
    smiles = canonical_smiles(mol)
    open_elements = list_stereo(mol).unspecified
    lowest = min(ensemble.energies, default=0.0)
    for k, positions in enumerate(ensemble.positions):
        properties: dict[str, Any] = {
            "smiles": smiles,
            "conformer": k,
            "seed": settings.seed,
            "model": model,
            "init": ensemble.init[k],
            "relax": settings.relax,
            "stereo_ok": stereo_matches(mol, positions),
            "stereo_unspecified": open_elements,
        }
        if ensemble.energies:
            properties["energy_kcal_mol"] = ensemble.energies[k]
            properties["relative_energy_kcal_mol"] = ensemble.energies[k] - lowest
        sdf.write(mol, positions, name=entry.name, properties=properties)
