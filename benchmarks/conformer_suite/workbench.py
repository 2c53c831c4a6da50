"""What the sections share: the data folder, the model, and running a method over molecules with a clock."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rdkit.Chem import Mol
from suite.runner import progress

from scoregen.errors import InputError
from scoregen.molecules.stereo import with_positions

from .methods import PEERS, Method, model_methods, peers
from .options import Options
from .references import Reference
from .sources import code_sha256, data_bytes
from .stereo_check import StereoCheck
from .store import Entry, Store, key_of

Count = Callable[[Reference], int]
"""Conformers to make of a molecule."""


@dataclass(frozen=True)
class Made:
    """What a method made of one molecule: its graph and positions ``(n', N, 3)``, n' = 0 where it failed."""

    reference: Reference
    mol: Mol
    positions: np.ndarray


class Workbench:
    """Data folder and model of a run.

    Args:
        data: folder of the data packs.
        model: shipped name or model folder; ``none`` for the peers alone.
        device: ``cpu`` or ``cuda``.
        store: folder where the conformers of every method are kept, so that a stopped run goes on molecule by
            molecule; None keeps none.
    """

    def __init__(self, data: Path, model: str, device: str = "cpu", store: Path | None = None):
        self.data, self.model, self.device = data, model, device
        self.label = Path(model).name
        self.store = Store(store) if store else None

    @cached_property
    def generator(self) -> Any:
        """The conformer generator, loaded when first asked for.

        Raises:
            InputError: the run has no model.
        """
        if self.model == "none":
            raise InputError("needs a model; give --model")
        from scoregen.molecules.conformers import ConformerGenerator

        return ConformerGenerator.from_pretrained(self.model, self.device)

    @cached_property
    def fingerprint(self) -> dict[str, str | int]:
        """The code, the size of the data, and the model by name and weights, which the name does not fix."""
        made_by: dict[str, str | int] = {"code": code_sha256(), "data_bytes": data_bytes(self.data)}
        if self.model == "none":
            return {**made_by, "model": "none"}
        from scoregen.hub import find_model

        weights = (find_model(self.model) / "model.safetensors").read_bytes()
        return {
            **made_by,
            "model": self.label,
            "weights_sha256": hashlib.sha256(weights).hexdigest()[:16],
            "device": self.device,
        }

    def methods(self, options: Options, theory: str) -> dict[str, Method]:
        """The peers, then every variant of the model; ``theory`` is that of the section's references."""
        found = peers(options)
        if self.model != "none":
            found.update(model_methods(self.generator, self.label, options, theory))
        return found

    def run(
        self, options: Options, theory: str, references: Sequence[Reference], count: Count
    ) -> Iterator[tuple[list[Made], dict[str, Any]]]:
        """:func:`run_method` with every one of :meth:`methods`, those of the store taken from there."""
        decisive = {"seed": options.seed}
        own = {key: getattr(options, key) for key in ("steps", "sigma", "solver")}
        own.update(theory=theory if options.theory == "reference" else options.theory)
        for name, method in self.methods(options, theory).items():
            made_by = {"code": code_sha256()} if name.startswith(PEERS) else {**self.fingerprint, **own}
            made_by.pop("data_bytes", None)
            key = key_of({"method": name, **decisive, **made_by})
            yield run_method(name, method, references, count, self.store, key)


def run_method(
    name: str,
    method: Method,
    references: Sequence[Reference],
    count: Count,
    store: Store | None = None,
    key: str = "",
) -> tuple[list[Made], dict[str, Any]]:
    """Conformers of every reference molecule, and the row they begin: counts and time of generation alone.

    Args:
        name: of the method.
        method: what generates.
        references: the molecules.
        count: conformers to ask for.
        store: where to look for what was made before, with its times, and to keep what is made now.
        key: says all that decides what the method makes of a molecule.
    """
    made: list[Made] = []
    seconds, cpu, wrong, requested = 0.0, 0.0, 0, 0
    for k, reference in enumerate(references):
        progress(f"{name}: {k}/{len(references)}")
        n = count(reference)
        requested += n
        entry = store.load(key, reference.smiles, n) if store else None
        if entry is None:
            entry = _timed(method, reference, n)
            if store:
                store.save(key, reference.smiles, n, entry)
        mol, positions = entry.mol or reference.mol, entry.positions
        seconds += entry.seconds
        cpu += entry.cpu_seconds
        check = StereoCheck(reference.smiles)
        if check.elements:
            wrong += sum(check.wrong(with_positions(mol, xyz)) for xyz in positions)
        made.append(Made(reference, mol, positions))
    generated = sum(len(item.positions) for item in made)
    progress(f"{name}: {generated} conformers in {seconds:.1f} s\n")
    row = {
        "method": name,
        "requested": requested,
        "generated": generated,
        "failures": sum(not len(item.positions) for item in made),
        "wrong_stereo": wrong,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "ms_per_conformer": 1e3 * seconds / max(requested, 1),
    }
    return made, row


def _timed(method: Method, reference: Reference, n: int) -> Entry:
    start, start_cpu = time.perf_counter(), cpu_seconds()
    try:
        mol, positions = method(reference.smiles, n)
    except InputError:
        mol, positions = None, np.zeros((0, reference.mol.GetNumAtoms(), 3))
    return Entry(mol, positions, time.perf_counter() - start, cpu_seconds() - start_cpu)


def time_ratios(rows: list[dict[str, Any]], device: str) -> None:
    """Add ``time_ratio``: time in that of the first row; processor time where all run on the processor, which
    other work on the machine does not change."""
    key = "cpu_seconds" if device == "cpu" else "seconds"
    for row in rows:
        row["time_ratio"] = row[key] / max(rows[0][key], 1e-9)


def cpu_seconds() -> float:
    """Processor time of this process and of the programs it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
