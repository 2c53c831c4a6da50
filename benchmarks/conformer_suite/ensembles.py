"""Sections ``qm9`` and ``druglike``: are the conformers of reference ensembles found?

The published protocol: for a molecule with R reference conformers generate 2R; symmetric heavy-atom RMSD;
coverage and average minimum RMSD (AMR), recall and precision, mean over molecules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from common import print_table
from rdkit.Chem import Mol, rdMolDescriptors
from suite.bootstrap import interval

from scoregen.molecules.metrics import EnsembleScores, ensemble_scores, rmsd_matrix, summarise

from . import references as data
from .options import Options
from .workbench import Workbench, time_ratios

QM9 = Options(limit=200)
DRUGLIKE = Options()


def run_qm9(bench: Workbench, options: Options) -> dict[str, Any]:
    """GFN2-xTB ensembles of QM9 molecules, δ 0.5 and 0.1 Å."""
    return score(bench, options, data.qm9(bench.data, options.split, options.limit), (0.5, 0.1), "gfn2")


def run_druglike(bench: Workbench, options: Options) -> dict[str, Any]:
    """DFT ensembles of drug-like molecules, 0.5 Å apart at least, δ 0.75, 0.5 and 0.25 Å."""
    found = data.druglike(bench.data, options.split, options.limit)
    return score(bench, options, found, (0.75, 0.5, 0.25), "dft")


def score(
    bench: Workbench,
    options: Options,
    references: Sequence[data.Reference],
    thresholds: Sequence[float],
    theory: str,
) -> dict[str, Any]:
    """Rows of all methods: scores, the 95 % interval of AMR-R (bootstrap over molecules, stratified by their
    rotatable bonds), AMR-R over the molecules that every method served, and AMR-R of each molecule."""
    strata = [flexibility(reference.mol) for reference in references]
    rows: list[dict[str, Any]] = []
    for made, row in bench.run(options, theory, references, lambda reference: 2 * len(reference.positions)):
        scores: list[EnsembleScores | None] = [None] * len(made)
        for i, item in enumerate(made):
            if len(item.positions):
                reference = item.reference
                distances = rmsd_matrix(reference.mol, reference.positions, item.mol, item.positions)
                scores[i] = ensemble_scores(distances, thresholds)
        served = [(s.amr_r, stratum) for s, stratum in zip(scores, strata, strict=True) if s is not None]
        row.update(summarise(scores, thresholds))
        row["amr_r_interval"] = interval([v for v, _ in served], [s for _, s in served], seed=options.seed)
        row["per_molecule"] = [None if s is None else round(s.amr_r, 4) for s in scores]
        rows.append(row)
    _common(rows)
    time_ratios(rows, bench.device)
    return {
        "molecules": len(references),
        "references": sum(len(reference.positions) for reference in references),
        "thresholds": list(thresholds),
        "names": [reference.name for reference in references],
        "rows": rows,
    }


def flexibility(mol: Mol) -> str:
    """Class of a molecule by its rotatable bonds."""
    rotors = rdMolDescriptors.CalcNumRotatableBonds(mol)
    return next((name for most, name in ((3, "0-3"), (7, "4-7"), (12, "8-12")) if rotors <= most), "13+")


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    deltas = [f"{delta:g}" for delta in result["thresholds"]]
    recall = {
        "amr_r": "AMR-R Å",
        "amr_r_interval": "95 %",
        "amr_r_common": "common",
        **{f"cov_r_{delta}": f"COV-R {delta}" for delta in deltas},
        "failures": "failures",
    }
    precision = {
        "amr_p": "AMR-P Å",
        **{f"cov_p_{delta}": f"COV-P {delta}" for delta in deltas},
        "generated": "conformers",
        "wrong_stereo": "wrong stereo",
        "cpu_seconds": "CPU s",
        "time_ratio": "× ETKDG",
    }
    size = f"{result['molecules']} molecules, {result['references']} references"
    for title, columns in (
        (f"{size}, 2 generated per reference, heavy-atom RMSD; common: molecules that all served", recall),
        ("Precision and time", precision),
    ):
        rows = [[row["method"], *(_cell(row[key]) for key in columns)] for row in result["rows"]]
        print_table(title, ["method", *columns.values()], rows)


def _common(rows: list[dict[str, Any]]) -> None:
    """Add AMR-R over the molecules that all methods served: failures are left out of AMR, which flatters."""
    table = np.array([row["per_molecule"] for row in rows], float)
    served = np.isfinite(table).all(0)
    for row, values in zip(rows, table, strict=True):
        row["amr_r_common"] = float(values[served].mean()) if served.any() else None


def _cell(value: Any) -> Any:
    return f"{value[0]:.3f}–{value[1]:.3f}" if isinstance(value, tuple | list) else value
