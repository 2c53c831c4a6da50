"""Section ``speed``: conformers a second and peak memory by size of the molecule.

Every figure comes from a fresh process, so that its peak memory is its own; loading is not counted as time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import print_table
from rdkit import Chem

from .methods import variants
from .options import Options
from .workbench import Workbench, progress

DEFAULTS = Options(init=("auto", "etkdg", "noise"), draws=(0.0, 1.0))
TIMEOUT = 240


def _peptide(sequence: str) -> str:
    return str(Chem.MolToSmiles(Chem.MolFromSequence(sequence)))


# Name, SMILES, conformers of one timing.
MOLECULES: tuple[tuple[str, str, int], ...] = (
    ("caffeine", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", 50),
    ("aspirin", "CC(=O)Oc1ccccc1C(=O)O", 50),
    ("imatinib", "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(-c2cccnc2)n1", 20),
    (
        "ritonavir",
        "CC(C)[C@H](NC(=O)N(C)Cc1csc(C(C)C)n1)C(=O)N[C@@H](Cc1ccccc1)C[C@H](O)[C@H](Cc1ccccc1)NC(=O)OCc1cncs1",
        10,
    ),
    ("ACTH 1-11", _peptide("SYSMEHFRWGK"), 4),
    ("ACTH 1-22", _peptide("SYSMEHFRWGKPVGKKRRPVKV"), 2),
)


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for each method, molecule and number of threads."""
    methods: list[dict[str, Any]] = [
        {"method": "ETKDGv3", "relax": False},
        {"method": "ETKDGv3 + MMFF94s", "relax": True},
    ]
    if bench.model != "none":
        methods += [
            {"method": name, "model": bench.model, "steps": options.steps, **settings}
            for name, settings in variants(bench.label, options).items()
        ]
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        for name, smiles, n in MOLECULES[: options.limit]:
            first: float | None = None
            for method in methods:
                progress(f"speed: {name}, {method['method']}, {threads} threads")
                task = {**method, "smiles": smiles, "n": n, "threads": threads}
                task.update(device=bench.device, seed=options.seed)
                row: dict[str, Any] = {"method": method["method"], "molecule": name, "threads": threads}
                row["heavy_atoms"] = Chem.MolFromSmiles(smiles).GetNumHeavyAtoms()
                row.update(measure(task))
                first = first or row.get("per_second")
                if first and "per_second" in row:
                    row["ratio"] = row["per_second"] / first
                rows.append(row)
        progress(f"speed: {threads} threads\n")
    return {"rows": rows}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Run one task in a fresh process: its figures, or ``error`` where it fails."""
    here = Path(__file__).resolve().parents[1]
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment["OMP_NUM_THREADS"] = str(task["threads"])
    command = [sys.executable, "-m", "conformer_suite.speed_worker", json.dumps(task)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {TIMEOUT} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(result: dict[str, Any]) -> None:
    """Print conformers a second by method and molecule, their ratios to ETKDG, and peak memory."""
    rows = result["rows"]
    molecules = list(dict.fromkeys((row["molecule"], row["heavy_atoms"]) for row in rows))
    methods = list(dict.fromkeys((row["threads"], row["method"]) for row in rows))
    table = {(row["threads"], row["method"], row["molecule"]): row for row in rows}
    for key, title in (
        ("per_second", "Conformers a second"),
        ("ratio", "Speed in ETKDGv3's"),
        ("peak_mb", "Peak memory, MB"),
    ):
        print_table(
            f"{title}; heavy atoms in brackets",
            ["method", "threads", *(f"{name} ({heavy})" for name, heavy in molecules)],
            [
                [method, threads, *(table[threads, method, name].get(key) for name, _ in molecules)]
                for threads, method in methods
            ],
        )
