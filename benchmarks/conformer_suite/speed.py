"""Section ``speed``: conformers a second and peak memory by size of the molecule.

Every figure comes from a fresh process, so that its peak memory is its own; loading is not counted as time.
"""

from __future__ import annotations

from typing import Any

from common import print_table
from rdkit import Chem
from suite.processes import measured
from suite.runner import progress

from .methods import variants
from .options import Options
from .workbench import Workbench

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
                row.update(measured("conformer_suite.speed_worker", task, TIMEOUT))
                first = first or row.get("per_second")
                if first and "per_second" in row:
                    row["ratio"] = row["per_second"] / first
                rows.append(row)
        progress(f"speed: {threads} threads\n")
    return {"rows": rows}


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
