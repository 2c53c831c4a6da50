"""Molecules as a model draws them, in pieces that are kept; and what is counted of them."""

from __future__ import annotations

import base64
import hashlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rdkit.Chem import Mol, PropertyPickleOptions
from scipy.stats import binomtest
from suite.runner import progress

from scoregen.molecules.design.assess import Assessment, AssessSettings, assess
from scoregen.molecules.design.kept import Scaffold
from scoregen.molecules.design.request import Request

from .workbench import Workbench

PIECE = 256
"""Draws that are kept together; whole groups of those that compete."""


@dataclass(frozen=True)
class Drawn:
    """Molecules as drawn, not checked; seconds and processor seconds that they took when they were made."""

    mols: list[Mol]
    seconds: float
    cpu_seconds: float


def draw(bench: Workbench, label: str, request: Request, count: int, first: int = 0) -> Drawn:
    """Draws ``first`` to ``first + count`` of a request, those of the store from there.

    Raises:
        InputError: a wish that this model cannot serve.
    """
    mols: list[Mol] = []
    seconds = cpu = 0.0
    for start in range(first, first + count, PIECE):
        size = min(PIECE, first + count - start)
        progress(f"{label}: draw {len(mols)}/{count}, {request.steps} steps")
        facts = {**bench.facts("draws", label), **wish(request), "first": start, "count": size}
        entry = bench.store.load(facts)
        if entry is None:
            generator = bench.generator(label)
            begin, begin_cpu = time.perf_counter(), time.process_time()
            made = generator.draw(request, start, size)
            taken = time.perf_counter() - begin, time.process_time() - begin_cpu
            entry = {"mols": [packed(mol) for mol in made], "times": taken}
            bench.store.save(facts, entry)
        mols += map(unpacked, entry["mols"])
        seconds, cpu = seconds + entry["times"][0], cpu + entry["times"][1]
    return Drawn(mols, seconds, cpu)


def wish(request: Request) -> dict[str, Any]:
    """What decides the draws of a request, JSON-able."""
    found = {name: getattr(request, name) for name in ("seed", "steps", "atoms", "guidance", "temperature")}
    if request.bridge is not None:
        found["bridge"] = request.bridge
    found["targets"] = [str(target) for target in request.targets]
    found["selection"] = asdict(request.selection) if request.selection and request.scores else None
    found["shape"] = None if request.shape is None else packed(request.shape.mol)
    if request.scaffold is not None:
        found["scaffold"] = _told(request.scaffold)
    return found


def packed(mol: Mol) -> str:
    """A molecule as text, positions and properties with it."""
    return base64.b64encode(mol.ToBinary(int(PropertyPickleOptions.AllProps))).decode()


def unpacked(text: str) -> Mol:
    """What :func:`packed` packed."""
    return Mol(base64.b64decode(text))


def _told(scaffold: Scaffold) -> str:
    digest = hashlib.sha256(type(scaffold).__name__.encode() + scaffold.mol.ToBinary())
    digest.update(repr(sorted(scaffold.open.items())).encode())
    if scaffold.positions is not None:
        digest.update(np.ascontiguousarray(scaffold.positions, "<f8").tobytes())
    return digest.hexdigest()[:24]


def judged(
    mols: Sequence[Mol],
    known: np.ndarray | None = None,
    descriptors: Sequence[str] = ("qed", "logp", "sa"),
    *,
    sanitised: bool = False,
) -> Assessment:
    """What :func:`~scoregen.molecules.design.assess.assess` counts of molecules as drawn, geometry apart."""
    settings = AssessSettings(descriptors=tuple(descriptors), training=known)

    def told(done: int, total: int) -> None:
        if done % 100 == 0:
            progress(f"judged {done}/{total}")

    return assess(mols, settings, sanitised=sanitised, on_progress=told)


def graph_figures(found: Assessment) -> dict[str, Any]:
    """Counts and rates of an assessment, with 95 % intervals of the rates and the commonest reasons."""
    summary = found.summary
    drawn, valid = summary["molecules"], summary["valid"]
    problems = Counter(row["problem"] for row in found.rows if row["problem"])
    stable = round((summary["molecule_stability"] or 0) * drawn)
    names = ("validity", "atom_stability", "molecule_stability", "uniqueness", "novelty", "diversity")
    return {
        "drawn": drawn,
        "valid": valid,
        "unique": summary["unique"],
        **{name: summary[name] for name in names},
        "validity_interval": interval(valid, drawn),
        "molecule_stability_interval": interval(stable, drawn),
        "invalid": summary["invalid"],
        "reasons": dict(problems.most_common(12)),
    }


def interval(count: int, total: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson 1927); None of nothing."""
    if not total:
        return None
    found = binomtest(count, total).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def most(counts: Mapping[str, int]) -> str:
    """The first three of counted reasons, for a table."""
    return ", ".join(f"{reason} {count}" for reason, count in list(counts.items())[:3])


def plain(values: Mapping[str, float]) -> dict[str, float | None]:
    """NaN becomes None, which JSON has."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
