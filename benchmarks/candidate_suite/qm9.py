"""Section ``qm9``: molecules as a model draws them, nothing asked for, nothing drawn again.

Strict validity, stability, uniqueness, novelty against the training molecules, and how far distributions are
from molecules that were kept out of training; beside that, how far as many training molecules are from them:
what a perfect model would measure. Then fewer draws at other numbers of network calls.
"""

from __future__ import annotations

from typing import Any

from common import print_table
from suite.runner import progress

from scoregen.molecules.design.distributions import UNITS, distances, profile
from scoregen.molecules.design.request import Request

from .draws import draw, graph_figures, judged, most, plain
from .options import Options
from .reference import Reference
from .workbench import Workbench

DEFAULTS = Options(count=10_000, more_steps=(25, 50, 100, 250))
TEST = "dev"
"""Split that distributions are compared with."""

SHOWN = ("heavy_atoms_w1", "bond_orders_w1", "bond_types_tv", "ring_sizes_w1", "logp_w1", "qed_w1")


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for each model and number of network calls."""
    rows = []
    for label in bench.chosen(options, "qm9"):
        reference = bench.reference(label)
        counts = dict.fromkeys(options.more_steps, options.more_count)
        counts[bench.steps(label, options)] = options.count
        for steps, count in sorted(counts.items()):
            rows.append(row_of(bench, label, reference, steps, count, options))
        progress(f"{label}: {len(counts)} numbers of steps\n")
    models = {row["model"]: bench.size_of(row["model"]) for row in rows}
    return {"models": models, "units": UNITS, "rows": rows}


def row_of(
    bench: Workbench, label: str, reference: Reference, steps: int, count: int, options: Options
) -> dict[str, Any]:
    """Figures of so many draws of a model."""
    request = Request(n=count, steps=steps, seed=options.seed, bridge=options.bridge)
    drawn = draw(bench, label, request, count)
    found = judged(drawn.mols, reference.known)
    row = {"model": label, "steps": steps, **graph_figures(found)}
    row["seconds_per_draw"] = drawn.seconds / count
    row["cpu_seconds_per_draw"] = drawn.cpu_seconds / count
    return {**row, **compared(found.valid, reference, options.seed)}


def compared(valid: list[Any], reference: Reference, seed: int) -> dict[str, Any]:
    """Distances of valid molecules, and of as many training molecules, to the same held-out molecules."""
    if not valid:
        return {"distances": None, "split_distances": None, "test_molecules": 0}
    test = reference.profile(TEST, len(reference.smiles(TEST)), seed)
    own = reference.profile("train", len(valid), seed)
    return {
        "distances": plain(distances(profile(valid), test)),
        "split_distances": plain(distances(own, test)),
        "split_molecules": len(own),
        "test_molecules": len(test),
    }


def show(result: dict[str, Any]) -> None:
    """Print rates, reasons and distances."""
    show_graphs("Draws of a model, nothing drawn again", result["rows"])
    show_distances(result["rows"])


def show_graphs(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rates and the commonest reasons of invalid draws."""
    names = ("validity", "molecule_stability", "atom_stability", "uniqueness", "novelty", "diversity")
    table = []
    for row in rows:
        low, high = row["validity_interval"] or (0.0, 1.0)
        told = [row[name] for name in ("model", "steps", "drawn", *names)]
        table.append([*told, f"{low:.3f} … {high:.3f}", most(row["invalid"])])
    heads = ("model", "steps", "draws", "valid", "stable", "atoms", "unique", "novel", "diverse")
    print_table(title, (*heads, "valid 95 %", "invalid"), table)


def show_distances(rows: list[dict[str, Any]]) -> None:
    """Print distances to held-out molecules beside those of training molecules."""
    table = []
    for row in rows:
        if row["distances"] is not None:
            for name, key in (("", "distances"), (", training molecules", "split_distances")):
                table.append([f"{row['model']}{name}", row["steps"], *(row[key][d] for d in SHOWN)])
    print_table("Distances to molecules kept out of training", ("molecules", "steps", *SHOWN), table)
