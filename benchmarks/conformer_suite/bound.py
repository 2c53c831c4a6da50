"""Section ``pdb``: how near is the best of N conformers to the pose a protein binds?"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import print_table
from suite.bootstrap import interval

from scoregen.molecules.metrics import rmsd_matrix

from . import references
from .ensembles import flexibility
from .options import Options
from .workbench import Workbench, time_ratios

DEFAULTS = Options(count=50, init=("auto", "etkdg"), draws=(0.0,))
WITHIN = (0.5, 1.0, 1.5, 2.0)


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Symmetric heavy-atom RMSD of the best of ``count``: share within each limit and median, all and by
    rotatable bonds. A molecule without conformers is within no limit and has an infinite RMSD."""
    poses = references.pdb(bench.data, options.split, options.limit)
    classes = np.array([flexibility(pose.mol) for pose in poses])
    rows: list[dict[str, Any]] = []
    for made, row in bench.run(options, "experiment", poses, lambda _: options.count):
        best = np.full(len(made), np.inf)
        for i, item in enumerate(made):
            if len(item.positions):
                best[i] = rmsd_matrix(
                    item.reference.mol, item.reference.positions, item.mol, item.positions
                ).min()
        row.update(summary(best))
        finite = best[np.isfinite(best)]
        row["mean"] = float(finite.mean()) if len(finite) else None
        row["mean_interval"] = interval(
            finite.tolist(), classes[np.isfinite(best)].tolist(), seed=options.seed
        )
        row["by_rotors"] = {
            str(kind): {"molecules": int((classes == kind).sum()), **summary(best[classes == kind])}
            for kind in sorted(set(classes), key=lambda kind: int(str(kind).split("-")[0].strip("+")))
        }
        row["per_molecule"] = [round(float(value), 4) if np.isfinite(value) else None for value in best]
        rows.append(row)
    time_ratios(rows, bench.device)
    return {"molecules": len(poses), "n": options.count, "names": [pose.name for pose in poses], "rows": rows}


def summary(best: np.ndarray) -> dict[str, float | None]:
    """Shares within :data:`WITHIN` and the median of best RMSDs ``(M,)``, Å; None for an infinite median."""
    shares: dict[str, float | None] = {f"within_{limit:g}": float((best < limit).mean()) for limit in WITHIN}
    median = float(np.median(best))
    return {**shares, "median": median if np.isfinite(median) else None}


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    keys = [*(f"within_{limit:g}" for limit in WITHIN), "median"]
    heads = [*(f"< {limit:g} Å" for limit in WITHIN), "median Å"]
    print_table(
        f"Bound poses of {result['molecules']} ligands, best of {result['n']}",
        ["method", *heads, "failures", "conformers", "wrong", "CPU s", "× ETKDG"],
        [
            [row["method"], *(row[key] for key in keys)]
            + [row[key] for key in ("failures", "generated", "wrong_stereo", "cpu_seconds", "time_ratio")]
            for row in result["rows"]
        ],
    )
    classes = result["rows"][0]["by_rotors"]
    print_table(
        "Median Å by rotatable bonds",
        ["method", *(f"{kind} ({entry['molecules']})" for kind, entry in classes.items())],
        [
            [row["method"], *(entry["median"] for entry in row["by_rotors"].values())]
            for row in result["rows"]
        ],
    )
