"""Strain: GFN2-xTB energy of a conformer as generated minus that of the minimum it relaxes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from common import print_table
from rdkit.Chem import Mol
from suite.runner import progress

from scoregen.errors import InputError
from scoregen.molecules import relax
from scoregen.molecules.design import strain as design_strain
from scoregen.molecules.stereo import with_positions

from .references import Reference
from .workbench import Made

TIMEOUT = 300


def run(molecules: Sequence[Reference], made: Mapping[str, Sequence[Made]]) -> dict[str, Any]:
    """Strain of the first conformer of each molecule, by method; the first row is the DFT geometry itself.

    Medians and means are over the molecules that were scored for every method, ``common`` of them: a failure
    must not change what a method is compared on.

    Raises:
        InputError: nothing here computes GFN2-xTB.
    """
    sources: dict[str, list[tuple[Mol, np.ndarray] | None]] = {
        "DFT geometry": [(molecule.mol, molecule.positions[0]) for molecule in molecules]
    }
    for name, items in made.items():
        sources[name] = [
            (m.mol, m.positions[0]) if len(m.positions) else None for m in items[: len(molecules)]
        ]
    table: dict[str, list[float | None]] = {}
    for name, geometries in sources.items():
        table[name] = []
        for k, geometry in enumerate(geometries):
            progress(f"strain of {name}: {k}/{len(geometries)}")
            table[name].append(None if geometry is None else strain(*geometry))
        progress(f"strain of {name}: {len(geometries)} molecules\n")
    missing = {name: sum(geometry is None for geometry in found) for name, found in sources.items()}
    return summary(table, [molecule.mol.GetNumAtoms() for molecule in molecules], missing)


def summary(
    table: Mapping[str, Sequence[float | None]], sizes: Sequence[int], missing: Mapping[str, int]
) -> dict[str, Any]:
    """Rows of all methods over the molecules that all have a value for.

    Args:
        table: strain of each molecule by method, kcal/mol; None where there is none.
        sizes: atoms of each molecule.
        missing: molecules without a conformer, by method; xtb failed for the others that have no value.
    """
    values = np.array(list(table.values()), float)  # None becomes NaN
    common = np.isfinite(values).all(0)
    rows = []
    for (name, each), strains in zip(table.items(), values[:, common], strict=True):
        per_atom = strains / np.array(sizes)[common]
        scored = sum(value is not None for value in each)
        rows.append(
            {
                "method": name,
                "scored": scored,
                "missing": missing[name],
                "failed": len(each) - scored - missing[name],
                "median": float(np.median(strains)) if len(strains) else None,
                "median_per_atom": float(np.median(per_atom)) if len(strains) else None,
                "mean_per_atom": float(per_atom.mean()) if len(strains) else None,
                "per_molecule": [None if value is None else round(value, 3) for value in each],
            }
        )
    return {"molecules": len(sizes), "common": int(common.sum()), "rows": rows}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    keys = ("method", "median", "median_per_atom", "mean_per_atom", "scored", "missing", "failed")
    heads = ["method", "median", "median per atom", "mean per atom", "scored", "no conformer", "xtb failed"]
    rows = [
        [f"{row[k]:.4f}" if "per_atom" in k and row[k] is not None else row[k] for k in keys]
        for row in result["rows"]
    ]
    print_table(
        "Strain in kcal/mol: GFN2-xTB as generated minus relaxed; "
        f"the {result['common']} of {result['molecules']} molecules scored for all",
        heads,
        rows,
    )


def strain(mol: Mol, positions: np.ndarray) -> float | None:
    """GFN2-xTB energy of a geometry above the minimum it relaxes to, kcal/mol; None where that fails.

    Raises:
        InputError: nothing here computes GFN2-xTB.
    """
    _check_available()
    try:
        return design_strain.strain(with_positions(mol, positions), "gfn2", TIMEOUT).total
    except InputError:
        return None


def energy(mol: Mol, positions: np.ndarray) -> float | None:
    """GFN2-xTB energy of a geometry in kcal/mol, on one thread; None where that fails.

    Raises:
        InputError: nothing here computes GFN2-xTB.
    """
    _check_available()
    try:
        return relax.energy(mol, positions, "gfn2", TIMEOUT)
    except InputError:
        return None


def _check_available() -> None:
    try:
        relax.check_available("gfn2")
    except InputError as error:
        raise InputError(f"strain: {error}; or --strain-limit 0") from None
