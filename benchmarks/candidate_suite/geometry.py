"""From graphs to 3D as ``scoregen design`` does it, and what is asked of geometry; kept piece by piece."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rdkit.Chem import Mol
from suite.runner import progress

from scoregen.errors import InputError
from scoregen.molecules import relax
from scoregen.molecules.design import pose, strain
from scoregen.molecules.design.shapes import shape

from .draws import packed, unpacked
from .options import Options
from .workbench import Workbench

PIECE = 25
"""Molecules that are given their shapes together."""
POSE_SECONDS = 120.0
"""Limit of one check of PoseBusters; what takes longer has not passed."""


def shaped(bench: Workbench, mols: Sequence[Mol], seed: int) -> tuple[list[Mol | str], float]:
    """Each molecule with hydrogens and one conformer, or the reason why it has none; and the seconds it took.

    Args:
        bench: has the model that makes shapes, and the store.
        mols: valid and sanitised.
        seed: of the shapes.
    """
    made: list[Mol | str] = []
    seconds = 0.0
    for start in range(0, len(mols), PIECE):
        progress(f"shapes {start}/{len(mols)}")
        piece = list(mols[start : start + PIECE])
        facts = {"section": "shapes", "code": bench.code, "conformers": bench.conformer_weights}
        facts |= {"seed": seed, "mols": [packed(mol) for mol in piece], "device": bench.device}
        entry = bench.store.load(facts)
        if entry is None:
            begin = time.perf_counter()
            found = shape(piece, bench.conformers, seed=seed)
            taken = time.perf_counter() - begin
            told = [{"reason": one} if isinstance(one, str) else {"mol": packed(one)} for one in found]
            entry = {"found": told, "seconds": taken}
            bench.store.save(facts, entry)
        made += [unpacked(one["mol"]) if "mol" in one else one["reason"] for one in entry["found"]]
        seconds += entry["seconds"]
    return made, seconds


def examined(bench: Workbench, made: Sequence[Mol | str], options: Options) -> dict[str, Any]:
    """PoseBusters and strain of molecules that have a shape; those without one failed both.

    Args:
        bench: has the store.
        made: of :func:`shaped`.
        options: levels and limits; ``timeout`` is for one calculation.

    Raises:
        MissingExtra: PoseBusters is not installed.
        InputError: an unknown level or method, or a program that is missing.
    """
    pose.check_available(options.pose)
    if options.strain_limit:
        relax.check_available(options.strain)
    failures = Counter(one.partition(":")[0] for one in made if isinstance(one, str))
    poses = [
        _kept(bench, one, "pose", options.pose, lambda mol: _pose(mol, options.pose))
        for one in _told("poses", made[: options.pose_limit])
    ]
    strains = [
        _kept(bench, one, "strain", options.strain, lambda mol: _strain(mol, options))
        for one in _told("strain", made[: options.strain_limit])
    ]
    passed = sum(bool(one.get("passed")) for one in poses)
    checked = sum("passed" in one for one in poses)
    failed = Counter(name for one in poses for name in one.get("failed", ()))
    totals = np.array([one["total"] for one in strains if "total" in one])
    each = np.array([one["per_atom"] for one in strains if "total" in one])
    return {
        "shape_asked": len(made),
        "shape_failures": dict(failures.most_common()),
        "shaped": sum(not isinstance(one, str) for one in made),
        "pose_level": options.pose,
        "pose_asked": len(poses),
        "pose_checked": checked,
        "pose_passed": passed,
        # Of all that were asked for, so that a molecule without a shape counts against it.
        "pose_rate": passed / len(poses) if poses else None,
        "pose_failures": dict(failed.most_common()),
        "strain_method": options.strain,
        "strain_asked": len(strains),
        "strain_done": len(totals),
        "strain_kcal_mol": quantiles(totals),
        "strain_per_atom": quantiles(each),
        "errors": dict(Counter(e for one in (*poses, *strains) if (e := one.get("error"))).most_common(8)),
    }


def quantiles(values: Sequence[float] | np.ndarray) -> dict[str, float] | None:
    """Mean and quantiles of numbers; None of none."""
    if not len(values):
        return None
    levels = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
    found = {name: float(np.quantile(values, level)) for name, level in levels.items()}
    return {"mean": float(np.mean(values)), **found, "count": len(values)}


def _told(what: str, made: Sequence[Mol | str]) -> Any:
    for k, one in enumerate(made):
        progress(f"{what} {k}/{len(made)}")
        yield one


def _kept(
    bench: Workbench, one: Mol | str, what: str, how: str, work: Callable[[Mol], dict[str, Any]]
) -> dict[str, Any]:
    """Outcome of one calculation, from the store if it is there; ``error`` where it failed."""
    if isinstance(one, str):
        return {"error": "no shape"}
    facts = {"section": what, "how": how, "code": bench.code, "mol": packed(one)}
    entry = bench.store.load(facts)
    if entry is None:
        try:
            entry = work(one)
        except InputError as error:
            entry = {"error": " ".join(str(error).split())[:200]}
        bench.store.save(facts, entry)
    return entry


def _pose(mol: Mol, level: str) -> dict[str, Any]:
    found = pose.check_pose(mol, level, POSE_SECONDS)
    return {"passed": found.passed, "failed": found.failed}


def _strain(mol: Mol, options: Options) -> dict[str, Any]:
    found = strain.strain(mol, options.strain, options.timeout)
    return {"total": found.total, "per_atom": found.per_atom}
