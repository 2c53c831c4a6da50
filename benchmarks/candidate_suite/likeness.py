"""Section ``shape``: do candidates that are to resemble a conformer resemble it?

References are posed molecules of ``--data`` that no model learned from. Draws within three atoms of the
reference that compete in likeness stand beside draws of those sizes that do not. Measured are finished
shapes: hydrogens added, relaxed, moved by the conformer model, laid upon the reference anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from common import print_table
from rdkit import Chem
from suite.runner import progress

from scoregen.errors import InputError
from scoregen.molecules.design.novelty import key
from scoregen.molecules.design.overlay import Overlay
from scoregen.molecules.design.request import Request, competing

from .cutting import of_file
from .draws import draw, interval, judged
from .geometry import shaped
from .options import Options
from .workbench import Workbench

DEFAULTS = Options(tasks=20, draws=64)
ALIKE = 0.8
"""Shape Tanimoto from which two molecules count as alike."""


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for each model and number of competing draws; and what came of every reference."""
    rows, each = [], []
    for label in bench.chosen(options, "druglike"):
        known = list(islice(references(bench, label), options.tasks))
        if not known:
            raise InputError("no posed molecule that can be a reference; give SDF files with --data")
        for particles in options.particles:
            done = [_done(bench, label, k, shape, particles, options) for k, shape in enumerate(known)]
            rows.append({"model": label, "particles": particles, **summary(done)})
            each += [{"model": label, "particles": particles, **one} for one in done]
        progress(f"{label}: {len(known)} references\n")
    return {"rows": rows, "references": each}


def references(bench: Workbench, label: str) -> Iterator[Overlay]:
    """Posed molecules that were never trained on, of sizes that the model makes."""
    sizes = [int(n) for n in bench.sizes(label)]
    for path in bench.data:
        for source, mol in of_file(path, bench.reference(label)):
            if min(sizes) <= mol.GetNumHeavyAtoms() <= max(sizes):
                yield Overlay(Chem.RemoveAllHs(mol), source)


def _done(
    bench: Workbench, label: str, number: int, shape: Overlay, particles: int, options: Options
) -> dict[str, Any]:
    """What came of one reference: its finished candidates' likeness."""
    request = Request(
        n=options.draws,
        steps=bench.steps(label, options),
        seed=options.seed,
        shape=shape,
        selection=competing(particles),
    )
    mols = draw(bench, label, request, options.draws, number * options.draws).mols
    found = judged(mols, None, ())
    made, _ = shaped(bench, found.valid, options.seed)
    finished = [mol for mol in made if not isinstance(mol, str)]
    likeness = [shape(mol) for mol in finished]
    alike = {key(mol) for mol, value in zip(finished, likeness, strict=True) if value >= ALIKE}
    return {
        "reference": Chem.MolToSmiles(shape.mol),
        "drawn": len(mols),
        "valid": found.summary["valid"],
        "unique": found.summary["unique"],
        "shaped": len(likeness),
        "distinct_alike": len(alike),
        "tanimoto": [round(value, 4) for value in likeness],
    }


def summary(done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates over all draws; of likeness, means over references of the median and of the best."""
    drawn, valid, unique = (sum(one[name] for one in done) for name in ("drawn", "valid", "unique"))
    filled = [np.array(one["tanimoto"]) for one in done if one["tanimoto"]]
    return {
        "references": len(done),
        "drawn": drawn,
        "validity": valid / drawn if drawn else None,
        "validity_interval": interval(valid, drawn),
        "uniqueness": unique / valid if valid else None,
        "median": float(np.mean([np.median(v) for v in filled])) if filled else None,
        "best": float(np.mean([v.max() for v in filled])) if filled else None,
        "distinct_alike_per_draw": sum(one["distinct_alike"] for one in done) / drawn if drawn else None,
    }


def show(result: dict[str, Any]) -> None:
    """Print likeness by number of competing draws."""
    columns = ("references", "drawn", "validity", "uniqueness", "median", "best", "distinct_alike_per_draw")
    table = [
        [row["model"], "none" if row["particles"] == 1 else row["particles"], *(row[k] for k in columns)]
        for row in result["rows"]
    ]
    heads = ("references", "draws", "valid", "unique", "median", "best", f"distinct ≥ {ALIKE}/draw")
    print_table("Shape Tanimoto with the reference", ("model", "competing", *heads), table)
