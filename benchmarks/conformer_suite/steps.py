"""Section ``steps``: accuracy for a number of network calls, by solver, from noise.

Every draw counts, whatever its stereo: neither checks nor redraws hide what few steps do. A rule that needs
several calls a step takes as many steps as fit into the calls allowed (and fares badly: the network is shown
its last estimate, which then belongs to another time).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from common import print_table
from suite.runner import progress

from scoregen.core.sampling import NonFiniteSample
from scoregen.molecules.chem import standardise
from scoregen.molecules.features import featurise
from scoregen.molecules.graph import molecule_data
from scoregen.molecules.metrics import EnsembleScores, ensemble_scores, rmsd_matrix, summarise
from scoregen.molecules.sampler import Draw, Schedule, draw_positions, sample_key
from scoregen.molecules.settings import THEORY
from scoregen.molecules.stereo import geometry_ok, stereo_matches

from . import references
from .options import Options
from .workbench import Workbench

DEFAULTS = Options(split="dev", limit=20)
THRESHOLDS = (0.5, 0.1)


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for each solver and number of calls: AMR-R, coverage, share of draws that pass the checks."""
    molecules = references.qm9(bench.data, options.split, options.limit)
    theory = "gfn2" if options.theory == "reference" else options.theory or THEORY
    mols = [standardise(molecule.smiles) for molecule in molecules]
    graphs = [molecule_data(featurise(mol), theory=theory) for mol in mols]
    draws, owner = [], []
    for i, molecule in enumerate(molecules):
        for k in range(2 * len(molecule.positions)):
            draws.append(Draw(graphs[i], sample_key(molecule.smiles, k)))
            owner.append(i)
    denoiser = bench.generator.denoiser
    sigma = denoiser.sde.t_max
    rows: list[dict[str, Any]] = []
    for solver in options.solvers:
        for nfe in options.nfe:
            progress(f"steps: {solver}, {nfe} calls")
            steps, calls = fitting(denoiser, draws[0], solver, nfe, options.seed)
            row: dict[str, Any] = {"solver": solver, "nfe": nfe, "steps": steps, "calls": calls}
            rows.append(row)
            if not steps:
                continue
            start = time.perf_counter()
            try:
                drawn = draw_positions(denoiser, draws, Schedule(steps, sigma, solver), options.seed)
            except NonFiniteSample as error:
                row["error"] = str(error)
                continue
            row["seconds"] = time.perf_counter() - start
            scores: list[EnsembleScores | None] = []
            for i, molecule in enumerate(molecules):
                made = np.stack([x for x, who in zip(drawn, owner, strict=True) if who == i])
                distances = rmsd_matrix(molecule.mol, molecule.positions, mols[i], made)
                scores.append(ensemble_scores(distances, THRESHOLDS))
            row.update(summarise(scores, THRESHOLDS))
            good = [
                geometry_ok(mols[i], x) and stereo_matches(mols[i], x)
                for i, x in zip(owner, drawn, strict=True)
            ]
            row["sound"] = float(np.mean(good))
        progress(f"steps: {solver}\n")
    return {"molecules": len(molecules), "draws": len(draws), "rows": rows}


def fitting(denoiser: Any, draw: Draw, solver: str, nfe: int, seed: int) -> tuple[int, int]:
    """The most steps whose calls are at most ``nfe``, and those calls; (0, 0) when one step needs more."""
    steps = nfe
    while steps:
        with counted(denoiser) as calls:
            draw_positions(denoiser, [draw], Schedule(steps, denoiser.sde.t_max, solver), seed)
        if calls[0] <= nfe:
            return steps, calls[0]
        steps = min(steps - 1, steps * nfe // calls[0] + 1)
    return 0, 0


@contextmanager
def counted(denoiser: Any) -> Iterator[list[int]]:
    """Count the calls of a module within the block."""
    calls = [0]

    def count(*_: Any) -> None:
        calls[0] += 1

    handle = denoiser.register_forward_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


def show(result: dict[str, Any]) -> None:
    """Print AMR-R by solver and calls, and the share of sound draws."""
    rows = result["rows"]
    allowed = sorted({row["nfe"] for row in rows})
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    table = {(row["solver"], row["nfe"]): row for row in rows}
    for key, title in (("amr_r", "AMR-R Å"), ("cov_r_0.1", "COV-R 0.1 Å"), ("sound", "share of sound draws")):
        print_table(
            f"{title} by network calls, from noise, {result['molecules']} molecules, {result['draws']} draws",
            ["solver", *map(str, allowed)],
            [[solver, *(table[solver, nfe].get(key) for nfe in allowed)] for solver in solvers],
        )
