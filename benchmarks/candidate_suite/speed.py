"""Section ``speed``: seconds for a valid molecule by network calls and threads, each in a fresh process.

Beside our models stands recombination: BRICS fragments (Degen et al. 2008) of training molecules put together
at random by RDKit, held to the same strict check and to the same range of sizes. It knows no property and no
size, and makes nothing but known pieces; it is what a chemist can have today without a model. The time for a
3D shape is ours (the conformer model) beside ETKDGv3 with MMFF94s. Loading does not count.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from common import print_table
from rdkit.Chem import MolToSmiles
from suite.processes import measured
from suite.runner import progress

from .options import Options
from .workbench import Workbench

DEFAULTS = Options(count=100, more_steps=(25, 50, 250))
WORKER = "candidate_suite.speed_worker"
PEER = "BRICS recombination"
SHAPES = 20
"""Valid molecules that are given a shape."""


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for every model, number of steps and threads, and for the peer on each model's molecules."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for label in bench.chosen(options):
            for task in tasks(bench, label, options, Path(folder)):
                progress(f"speed: {task['method']}, {task['threads']} threads")
                named = {k: task.get(k) for k in ("method", "kind", "threads", "steps")}
                rows.append({**named, **_run(bench, task, label)})
    progress(f"speed: {len(rows)} figures\n")
    return {"peer": __doc__, "rows": rows}


def tasks(bench: Workbench, label: str, options: Options, folder: Path) -> list[dict[str, Any]]:
    """What the processes are asked, JSON-able."""
    sizes = bench.sizes(label)
    common = {"count": options.count, "seed": options.seed, "shapes": SHAPES, "timeout": options.timeout}
    found: list[dict[str, Any]] = []
    model = str(bench.entries[label].folder.resolve())
    conformers = bench.conformer_model
    if Path(conformers).is_dir():
        conformers = str(Path(conformers).resolve())
    pieces = folder / f"{label.replace('/', '_')}.json"
    mols = bench.reference(label).sample("train", options.fragments, options.seed)
    pieces.write_text(json.dumps([MolToSmiles(mol) for mol in mols]))
    for threads in options.threads:
        for steps in sorted({bench.steps(label, options), *options.more_steps}):
            draws = {"method": label, "kind": "model", "steps": steps, "model": model, "sizes": sizes}
            draws |= {"conformers": conformers, "device": bench.device}
            found.append({**draws, "threads": threads, **common})
        peer = {"method": f"{PEER}, {bench.reference(label).name}", "kind": "peer", "molecules": str(pieces)}
        limits = [min(map(int, sizes)), max(map(int, sizes))]
        found.append({**peer, "limits": limits, "threads": threads, **common})
    return found


def _run(bench: Workbench, task: dict[str, Any], label: str) -> dict[str, Any]:
    load = {k: v for k, v in task.items() if k not in ("molecules", "model", "conformers")}
    facts = {**bench.facts("speed", label), "load": load, "conformers": bench.conformer_weights}
    found = bench.store.load(facts)
    if found is None:
        found = measured(WORKER, task, task["timeout"])
        if "error" not in found:
            bench.store.save(facts, found)
    return found


def show(result: dict[str, Any]) -> None:
    """Print times and memory."""
    columns = ("drawn", "validity", "seconds_per_valid", "cpu_seconds_per_valid", "unique")
    also = ("seconds_per_shape", "loaded_mb", "peak_mb")
    table = []
    for row in result["rows"]:
        told = [row.get(k) for k in ("method", "steps", "threads", *columns, *also)]
        table.append([*told, row.get("error")])
    heads = ("steps", "threads", "draws", "valid", "s per valid", "CPU s", "unique", "s per shape")
    print_table("Speed and memory", ("method", *heads, "loaded MB", "peak MB", "error"), table)
