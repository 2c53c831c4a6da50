"""Section ``druglike``: draws of a model with a 3D shape each, beside the molecules it learned from.

Of all draws: strict validity, uniqueness, novelty. Of the valid ones: QED, SA and alerts beside as many
held-out molecules; then shapes as ``scoregen design`` makes them, PoseBusters and relaxation energy.
"""

from __future__ import annotations

from typing import Any

from common import print_table
from suite.runner import progress

from scoregen.molecules.design.assess import Assessment
from scoregen.molecules.design.request import Request

from .draws import draw, graph_figures, judged, most
from .geometry import examined, quantiles, shaped
from .options import Options
from .qm9 import TEST, compared, show_distances, show_graphs
from .workbench import Workbench

DEFAULTS = Options(count=1000)
VALUES = ("qed", "sa", "logp", "mw", "tpsa")
SHARES = ("lipinski", "veber", "pains_alerts", "brenk_alerts")


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for each model: graphs, shapes, and the molecules beside which they stand."""
    rows = []
    for label in bench.chosen(options, "druglike"):
        reference = bench.reference(label)
        steps = bench.steps(label, options)
        request = Request(n=options.count, steps=steps, seed=options.seed, bridge=options.bridge)
        drawn = draw(bench, label, request, options.count)
        found = judged(drawn.mols, reference.known, VALUES)
        row = {"model": label, "steps": steps, **graph_figures(found), **profile_of(found)}
        row["seconds_per_draw"] = drawn.seconds / options.count
        beside = judged(reference.sample(TEST, options.count, options.seed), None, VALUES, sanitised=True)
        row["beside"] = {"name": reference.name, "molecules": len(beside.valid), **profile_of(beside)}
        row |= compared(found.valid, reference, options.seed)
        # Only what is looked at further needs a shape.
        asked = found.valid[: max(options.pose_limit, options.strain_limit)]
        made, seconds = shaped(bench, asked, options.seed)
        row |= examined(bench, made, options)
        row["seconds_per_shape"] = seconds / len(asked) if asked else None
        rows.append(row)
        progress(f"{label}: {options.count} draws, {len(asked)} shapes\n")
    return {"models": {row["model"]: bench.size_of(row["model"]) for row in rows}, "rows": rows}


def profile_of(found: Assessment) -> dict[str, Any]:
    """Distributions of descriptors, and shares with alerts and within rules, of the valid molecules."""
    good = [row for row in found.rows if row["problem"] is None]
    values = {name: quantiles([row[name] for row in good if row.get(name) is not None]) for name in VALUES}
    return {"values": values, "shares": {name: found.summary[name] for name in SHARES}}


def show(result: dict[str, Any]) -> None:
    """Print rates, distributions beside the reference's, and geometry."""
    rows = result["rows"]
    show_graphs("Draws of a model, nothing drawn again", rows)
    table = []
    for row in rows:
        for name, one in ((row["model"], row), (row["beside"]["name"], row["beside"])):
            cells = [one["values"][value] or {} for value in ("qed", "sa")]
            spread = [cell.get(level) for cell in cells for level in ("p5", "median", "p95")]
            table.append([name, *spread, *(one["shares"][share] for share in SHARES)])
    heads = ("QED 5 %", "median", "95 %", "SA 5 %", "median", "95 %", "Lipinski", "Veber", "PAINS", "Brenk")
    print_table("Valid candidates beside held-out molecules", ("molecules", *heads), table)
    show_distances(rows)
    geometry = []
    for row in rows:
        strains = row["strain_kcal_mol"] or {}
        geometry.append(
            [
                *(row[k] for k in ("model", "shape_asked", "shaped")),
                f"{row['pose_passed']}/{row['pose_asked']}",
                row["pose_rate"],
                row["strain_done"],
                *(strains.get(level) for level in ("median", "p95")),
                row["seconds_per_shape"],
                most(row["pose_failures"]),
            ]
        )
    heads = ("valid", "shaped", "poses", "passed", "relaxed", "kcal/mol", "95 %", "s per shape", "failed")
    print_table("3D shapes and median relaxation energy", ("model", *heads), geometry)
