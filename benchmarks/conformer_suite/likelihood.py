"""Section ``likelihood``: does the model find the conformers of low energy likely?

Spearman's rank correlation of the model's log-likelihood and the reference energy over the conformers of a
molecule, −1 where the lowest is always the likeliest; mean over molecules. Beside it the same correlation of
−E(MMFF94s), the ranking that needs no model, and both means over the molecules that both rank (MMFF94s has no
parameters for some).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import print_table
from scipy.stats import spearmanr
from suite.bootstrap import interval
from suite.runner import progress

from scoregen.errors import InputError
from scoregen.molecules.features import featurise
from scoregen.molecules.graph import molecule_data
from scoregen.molecules.relax import mmff_energy
from scoregen.molecules.settings import THEORY

from . import references
from .options import Options
from .workbench import Workbench

DEFAULTS = Options(limit=30)
CONFORMERS = 5  # fewer have no ranking to speak of
MOST = 20


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for each set: GFN2 energies of QM9 molecules, DLPNO-CCSD(T) energies of drug-like molecules."""
    from scoregen.molecules.likelihood import log_likelihoods

    sets = {
        "QM9, GFN2-xTB": ("gfn2", references.qm9(bench.data, options.split, None)),
        "drug-like, DLPNO-CCSD(T)": (
            "dft",
            references.druglike(
                bench.data, options.split, None if options.limit is None else options.limit * 2, dedup=False
            ),
        ),
    }
    rows = []
    for name, (theory, found) in sets.items():
        chosen = [ref for ref in map(_limited, found) if len(ref.positions) >= CONFORMERS][: options.limit]
        ours: list[float | None] = []
        forcefield: list[float | None] = []
        seconds = 0.0
        asked = theory if options.theory == "reference" else options.theory or THEORY
        for k, ref in enumerate(chosen):
            progress(f"likelihood, {name}: {k}/{len(chosen)}")
            graph = molecule_data(featurise(ref.mol), theory=asked)
            start = time.perf_counter()
            logs = np.asarray(
                log_likelihoods(bench.generator.denoiser, graph, ref.positions, seed=options.seed), float
            )
            seconds += time.perf_counter() - start
            energies = np.asarray(ref.energies, float)
            ours.append(rank_correlation(logs, energies))
            forcefield.append(_by_forcefield(ref, energies))
        progress(f"likelihood, {name}\n")
        rows.append(
            {
                "set": name,
                "molecules": len(chosen),
                "conformers": sum(len(ref.positions) for ref in chosen),
                "seconds": seconds,
                **_summary("model", ours, options.seed),
                **_summary("mmff", forcefield, options.seed),
                **common(ours, forcefield),
                "names": [ref.name for ref in chosen],
            }
        )
    return {"rows": rows}


def common(ours: Sequence[float | None], forcefield: Sequence[float | None]) -> dict[str, Any]:
    """Means of both over the molecules that both rank, in the same order, and how many these are."""
    both = [(a, b) for a, b in zip(ours, forcefield, strict=True) if a is not None and b is not None]
    means = np.mean(both, axis=0).tolist() if both else [None, None]
    return {"common": len(both), "model_common": means[0], "mmff_common": means[1]}


def rank_correlation(scores: Sequence[float] | np.ndarray, energies: np.ndarray) -> float | None:
    """Spearman's ρ; None where either is constant or not finite."""
    values = np.asarray(scores, float)
    if not (np.isfinite(values).all() and np.isfinite(energies).all()):
        return None
    if np.ptp(values) == 0 or np.ptp(energies) == 0:
        return None
    return float(spearmanr(values, energies).statistic)


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print_table(
        "Spearman's ρ of log-likelihood (or −E) and energy within a molecule, mean; both: molecules of both",
        ["set", "molecules", "conformers", "model", "95 %", "MMFF94s", "95 %", "both", "model", "MMFF", "s"],
        [
            [
                *(row[key] for key in ("set", "molecules", "conformers", "model")),
                *(_range(row["model_interval"]), row["mmff"], _range(row["mmff_interval"])),
                *(row[key] for key in ("common", "model_common", "mmff_common", "seconds")),
            ]
            for row in result["rows"]
        ],
    )


def _by_forcefield(ref: references.Reference, energies: np.ndarray) -> float | None:
    """ρ of −E(MMFF94s); None where it has no parameters."""
    try:
        return rank_correlation([-mmff_energy(ref.mol, x) for x in ref.positions], energies)
    except InputError:
        return None


def _limited(ref: references.Reference) -> references.Reference:
    """The first conformers, of known energy, of a large ensemble."""
    known = np.flatnonzero(np.isfinite(ref.energies))[:MOST] if ref.energies is not None else []
    energies = None if ref.energies is None else ref.energies[known]
    return references.Reference(ref.name, ref.smiles, ref.mol, ref.positions[known], energies)


def _summary(name: str, values: list[float | None], seed: int) -> dict[str, Any]:
    found = [value for value in values if value is not None]
    return {
        name: float(np.mean(found)) if found else None,
        f"{name}_interval": interval(found, seed=seed),
        f"{name}_each": values,
    }


def _range(value: Any) -> str | None:
    return None if value is None else f"{value[0]:.2f} to {value[1]:.2f}"
