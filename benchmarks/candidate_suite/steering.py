"""Section ``steering``: does a model make what it is asked for, and at what price?

Targets are quantiles of the training molecules. Beside draws that are asked for a value stand draws that are
not, measured against the same value: misses of a model that does not listen. Told alone, or told and selected
while they are drawn (:mod:`scoregen.molecules.design.selection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from common import print_table
from suite.runner import progress

from scoregen.molecules.design.assess import Assessment
from scoregen.molecules.design.request import Request, competing
from scoregen.molecules.design.targets import Target, parse_target

from .draws import draw, interval, judged
from .options import Options
from .reference import Reference
from .workbench import Workbench

DEFAULTS = Options(count=200)
MEANS = (
    "mean_absolute_error",
    "hit_rate",
    "distinct_hits_per_draw",
    "validity",
    "validity_change",
    "uniqueness",
)
"""Figures of a row that are averaged over targets."""
DIGITS = {"qed": 2, "logp": 1, "tpsa": 0, "mw": 0, "sa": 1}
"""Digits after the point of a target, as a person would write it."""


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows by model, target, guidance weight and number of competing draws; weight None is unsteered."""
    rows: list[dict[str, Any]] = []
    for label in bench.chosen(options, "druglike"):
        targets = targets_of(bench.reference(label), options)
        names = sorted({target.name for target in targets})
        steps = bench.steps(label, options)
        free = _judged(bench, label, Request(n=options.count, steps=steps, seed=options.seed), names)
        for target in targets:
            told = {"model": label, "guidance": None, "particles": None}
            rows.append({**told, **figures(free, target)})
            for weight, particles in product(options.guidance, options.particles):
                request = Request(
                    n=options.count,
                    steps=steps,
                    seed=options.seed,
                    targets=(target,),
                    guidance=weight,
                    selection=competing(particles),
                )
                found = _judged(bench, label, request, [target.name])
                row = {**told, "guidance": weight, "particles": particles, **figures(found, target)}
                row["validity_change"] = row["validity"] - (free.summary["validity"] or 0.0)
                rows.append(row)
        progress(f"{label}: {len(targets)} targets\n")
    return {"rows": rows, "summary": summary(rows)}


def targets_of(reference: Reference, options: Options) -> list[Target]:
    """What is asked for: the targets of the options, or quantiles of the training molecules."""
    if options.targets:
        return [parse_target(text) for text in options.targets]
    found: dict[str, Target] = {}
    for name in options.properties:
        for value in np.quantile(reference.values(name), options.quantiles).tolist():
            target = parse_target(f"{name}={value:.{DIGITS.get(name, 2)}f}")
            found[str(target)] = target
    return list(found.values())


def _judged(bench: Workbench, label: str, request: Request, names: Sequence[str]) -> Assessment:
    return judged(draw(bench, label, request, request.n).mols, None, names)


def figures(found: Assessment, target: Target) -> dict[str, Any]:
    """Validity, misses and hits of draws; misses and hits are of the valid ones."""
    good = [row for row in found.rows if row["problem"] is None and row.get(target.name) is not None]
    values = np.array([row[target.name] for row in good], float)
    misses = np.array([target.miss(float(value)) for value in values])
    hit = [target.hit(float(value), target.tolerance) for value in values]
    hits = sum(hit)
    distinct = sum(yes and row["duplicate_of"] is None for yes, row in zip(hit, good, strict=True))
    count = len(found.rows)
    return {
        "property": target.name,
        "target": str(target),
        "tolerance": target.tolerance,
        "drawn": count,
        "valid": found.summary["valid"],
        "validity": found.summary["validity"],
        "validity_interval": interval(found.summary["valid"], count),
        "uniqueness": found.summary["uniqueness"],
        "diversity": found.summary["diversity"],
        "mean": float(values.mean()) if len(values) else None,
        "mean_absolute_error": float(misses.mean()) if len(misses) else None,
        "hits": hits,
        "hit_rate": hits / len(values) if len(values) else None,
        "hits_per_draw": hits / count if count else None,
        "distinct_hits_per_draw": distinct / count if count else None,
    }


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the targets of a property, by model and how it was asked."""
    found: list[dict[str, Any]] = []
    keys = ("model", "property", "guidance", "particles")
    for place in dict.fromkeys(tuple(row[k] for k in keys) for row in rows):
        group = [row for row in rows if tuple(row[k] for k in keys) == place]
        means: dict[str, Any] = dict(zip(keys, place, strict=True))
        means["targets"] = len(group)
        for name in MEANS:
            values = [row[name] for row in group if row.get(name) is not None]
            means[name] = float(np.mean(values)) if values else None
        found.append(means)
    return found


def show(result: dict[str, Any]) -> None:
    """Print targets, then means by property."""
    heads = ("miss", "hits", "distinct/draw", "valid", "change", "unique")
    table = [
        [row["target"], row["model"], *_asked(row), *(row.get(k) for k in ("mean", *MEANS, "diversity"))]
        for row in result["rows"]
    ]
    print_table(
        "What was asked for and what came",
        ("target", "model", "guidance", "particles", "mean", *heads, "diverse"),
        table,
    )
    table = [
        [row["property"], row["model"], *_asked(row), row["targets"], *(row[k] for k in MEANS)]
        for row in result["summary"]
    ]
    print_table(
        "Means over targets", ("property", "model", "guidance", "particles", "targets", *heads), table
    )


def _asked(row: dict[str, Any]) -> tuple[str, str]:
    return ("not asked", "") if row["guidance"] is None else (f"{row['guidance']:g}", str(row["particles"]))
