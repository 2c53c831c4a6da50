"""Section ``tasks``: scaffolds to grow and fragments to link, cut from molecules that were never trained on.

Every task is drawn several times, nothing drawn again. Counted are valid draws, those that keep what was to
be kept, distinct ones, and tasks whose own molecule came back. Of posed tasks the kept graphs are given a
shape around the fixed atoms, written as SDF, read again, and looked at: how far did kept atoms move?
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import print_table
from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from suite.runner import progress

from scoregen.errors import InputError
from scoregen.molecules.design.kept import Scaffold
from scoregen.molecules.design.novelty import key
from scoregen.molecules.design.request import Request
from scoregen.molecules.design.shapes import shape_posed
from scoregen.molecules.design.validity import kind as category
from scoregen.molecules.design.validity import problem

from .cutting import KINDS, Task, cut, of_cache, of_file
from .draws import draw, interval, most, wish
from .options import Options
from .reference import Reference
from .workbench import Workbench

DEFAULTS = Options(tasks=100, draws=10)
SHAPES = 2
"""Draws of a posed task that are given a shape, at most: the first that keep what was to be kept."""


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for each model, source and kind of task; and what came of every task."""
    rows, each = [], []
    for label in bench.chosen(options, "druglike"):
        for source, tasks in sources(bench, bench.reference(label), label, options):
            for kind in KINDS:
                chosen = [task for task in tasks if task.kind == kind]
                done = [_done(bench, label, task, k, options) for k, task in enumerate(chosen)]
                rows.append({"model": label, "source": source, "kind": kind, **summary(done)})
                each += [{"model": label, "source": source, "kind": kind, **one} for one in done]
                progress(f"{label}: {len(done)} {kind} tasks of {source}\n")
    return {"size": options.size, "rows": rows, "tasks": each}


def sources(
    bench: Workbench, reference: Reference, label: str, options: Options
) -> list[tuple[str, list[Task]]]:
    """Tasks of the cache, graphs only, and of every file of posed molecules."""
    largest = max(int(n) for n in bench.sizes(label))
    places = [(reference.name, lambda: of_cache(reference, options.seed))]
    places += [(path.name, lambda path=path: of_file(path, reference)) for path in bench.data]
    return [
        (name, [t for kind in KINDS for t in cut(mols(), kind, options.tasks, options.seed, largest)])
        for name, mols in places
    ]


def _done(bench: Workbench, label: str, task: Task, number: int, options: Options) -> dict[str, Any]:
    """What came of a task, from the store if it is there."""
    progress(f"{label}: {task.kind} task {number} of {task.source}")
    atoms = (task.size, task.size) if options.size == "original" else None
    request = Request(
        n=options.draws,
        steps=bench.steps(label, options),
        seed=options.seed,
        atoms=atoms,
        scaffold=task.scaffold,
    )
    posed = task.scaffold.positions
    facts = {**bench.facts("task", label), **wish(request), "answer": task.answer, "number": number}
    facts["draws"] = options.draws
    facts["positions"] = None if posed is None else np.round(posed, 4).tolist()
    entry = bench.store.load(facts)
    if entry is None:
        entry = solve(bench, label, task, request, number * options.draws)
        bench.store.save(facts, entry)
    return entry


def solve(bench: Workbench, label: str, task: Task, request: Request, first: int) -> dict[str, Any]:
    """Draw a task and count.

    Args:
        bench: has the models.
        label: of the model that draws.
        task: what is asked.
        request: the same as the model is asked.
        first: number of the first draw.
    """
    found: dict[str, Any] = {"source": task.source, "kept_atoms": task.scaffold.size, "atoms": task.size}
    try:
        drawn = draw(bench, label, request, request.n, first)
    except InputError as error:
        return {**found, "refused": " ".join(str(error).split())}
    found["seconds"] = drawn.seconds
    found |= counted(drawn.mols, task)
    if task.scaffold.positions is not None:
        kept = [mol for mol in map(_sanitised, drawn.mols) if mol is not None and _kept(mol, task.scaffold)]
        found["records"] = [_record(mol, task.scaffold, request.seed, bench) for mol in kept[:SHAPES]]
    return found


def counted(mols: Sequence[Mol], task: Task) -> dict[str, Any]:
    """Counts over the draws of a task: they add up, ``drawn`` = ``invalid`` + ``lost`` + ``kept``."""
    invalid: Counter[str] = Counter()
    kept, lost = [], 0
    for mol in mols:
        if fault := problem(mol):
            invalid[category(fault)] += 1
            continue
        clean = _sanitised(mol)
        if clean is None or not _kept(clean, task.scaffold):
            lost += 1
            continue
        kept.append(key(clean))
    return {
        "drawn": len(mols),
        "invalid": dict(invalid.most_common()),
        "lost": lost,
        "kept": len(kept),
        "unique": len(set(kept)),
        "recovered": task.answer in kept,
        "smiles": sorted(set(kept)),
    }


def _sanitised(mol: Mol) -> Mol | None:
    """A sanitised copy of a draw that passes the strict check."""
    if problem(mol) is not None:
        return None
    clean = Chem.Mol(mol)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(clean)
    return clean


def _kept(mol: Mol, scaffold: Scaffold) -> bool:
    """Whether a graph keeps the graph that was to be kept; stereo is the shape's to show."""
    return scaffold.graph.contained(mol) is not None


def _record(mol: Mol, scaffold: Scaffold, seed: int, bench: Workbench) -> dict[str, Any]:
    """A shape around the fixed atoms, as an SDF says it: how far kept atoms moved (Å), and are they there?"""
    assert scaffold.positions is not None
    match = list(range(scaffold.size))  # kept atoms come first in a draw
    made = shape_posed(mol, match, scaffold.positions, bench.conformers, seed=seed)
    if isinstance(made, str):
        return {"failed": made.partition(":")[0]}
    return written(made, match, scaffold)


def written(made: Mol, match: Sequence[int], scaffold: Scaffold) -> dict[str, Any]:
    """Figures of a record after it went through SDF text and back."""
    block = Chem.MolToMolBlock(made)
    with rdBase.BlockLogs():
        again = Chem.MolFromMolBlock(block, removeHs=False)
    if again is None:
        return {"failed": "record cannot be read"}
    places = again.GetConformer().GetPositions()[list(match)]
    moved = float(np.linalg.norm(places - scaffold.positions, axis=1).max())
    return {"moved": moved, "present": scaffold.contained(again) is not None}


def summary(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts and rates over tasks."""
    good = [one for one in done if "refused" not in one]
    drawn, kept, lost = (sum(one[name] for one in good) for name in ("drawn", "kept", "lost"))
    unique = sum(one["unique"] for one in good)
    recovered = sum(one["recovered"] for one in good)
    records = [record for one in good for record in one.get("records", ())]
    made = [record for record in records if "failed" not in record]
    invalid: Counter[str] = Counter()
    for one in good:
        invalid.update(one["invalid"])
    return {
        "tasks": len(done),
        "refused": dict(Counter(one["refused"] for one in done if "refused" in one).most_common(5)),
        "drawn": drawn,
        "validity": _share(kept + lost, drawn),
        "validity_interval": interval(kept + lost, drawn),
        "invalid": dict(invalid.most_common()),
        "kept": kept,
        "kept_of_valid": _share(kept, kept + lost),
        "uniqueness": _share(unique, kept),
        "solved": _share(sum(one["kept"] > 0 for one in good), len(good)),
        "recovered": recovered,
        "recovery": _share(recovered, len(good)),
        "seconds": math.fsum(one["seconds"] for one in good),
        "records_asked": len(records),
        "records": len(made),
        "record_failures": dict(Counter(r["failed"] for r in records if "failed" in r).most_common()),
        "present": _share(sum(r["present"] for r in made), len(made)),
        "moved_max": max((r["moved"] for r in made), default=None),
    }


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def show(result: dict[str, Any]) -> None:
    """Print counts and rates, then records."""
    columns = ("tasks", "drawn", "validity", "kept_of_valid", "uniqueness", "solved", "recovery")
    heads = ("kind", "of", "tasks", "draws", "valid", "kept", "unique", "solved", "recovered")
    names = ("model", "kind", "source", *columns)
    table = [[*(row[k] for k in names), most(row["invalid"])] for row in result["rows"]]
    title = f"Tasks cut from molecules never trained on, size {result['size']}"
    print_table(title, ("model", *heads, "invalid"), table)
    posed = []
    for row in result["rows"]:
        if row["records_asked"]:
            moved = "–" if row["moved_max"] is None else f"{row['moved_max']:.4f}"
            told = [row[k] for k in ("model", "kind", "source", "records_asked", "records", "present")]
            posed.append([*told, moved, most(row["record_failures"])])
    if posed:
        heads = ("kind", "of", "shapes", "records", "present", "moved Å", "failed")
        print_table("Records of posed tasks", ("model", *heads), posed)
