"""Strain: GFN2-xTB energy of a conformer as generated minus that of the minimum it relaxes to."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table
from rdkit.Chem import Mol, rdmolfiles, rdmolops

from scoregen.errors import InputError
from scoregen.molecules.stereo import with_positions

from .references import Reference
from .workbench import Made, progress

HARTREE = 627.5094740631  # kcal/mol
TIMEOUT = 300


def run(molecules: Sequence[Reference], made: Mapping[str, Sequence[Made]]) -> dict[str, Any]:
    """Strain of the first conformer of each molecule, by method; the first row is the DFT geometry itself.

    Raises:
        InputError: no ``xtb`` program.
    """
    sources: dict[str, list[tuple[Mol, np.ndarray]]] = {
        "DFT geometry": [(molecule.mol, molecule.positions[0]) for molecule in molecules]
    }
    for name, items in made.items():
        sources[name] = [(m.mol, m.positions[0]) for m in items[: len(molecules)] if len(m.positions)]
    rows = []
    for name, geometries in sources.items():
        strains, sizes = [], []
        for k, (mol, positions) in enumerate(geometries):
            progress(f"strain of {name}: {k}/{len(geometries)}")
            value = strain(mol, positions)
            if value is not None:
                strains.append(value)
                sizes.append(mol.GetNumAtoms())
        each = np.array(strains) / np.array(sizes)
        rows.append(
            {
                "method": name,
                "scored": len(strains),
                "failed": len(geometries) - len(strains),
                "median": float(np.median(strains)) if strains else None,
                "median_per_atom": float(np.median(each)) if strains else None,
                "mean_per_atom": float(each.mean()) if strains else None,
            }
        )
        progress(f"strain of {name}: {len(strains)} conformers\n")
    return {"molecules": len(molecules), "rows": rows}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    keys = ("method", "median", "median_per_atom", "mean_per_atom", "scored", "failed")
    heads = ["method", "median", "median per atom", "mean per atom", "scored", "failed"]
    rows = [
        [f"{row[k]:.4f}" if "per_atom" in k and row[k] is not None else row[k] for k in keys]
        for row in result["rows"]
    ]
    print_table("Strain in kcal/mol: GFN2-xTB as generated minus relaxed", heads, rows)


def strain(mol: Mol, positions: np.ndarray) -> float | None:
    """GFN2-xTB energy of a geometry above the minimum it relaxes to, kcal/mol; None where xtb fails."""
    single, relaxed = energy(mol, positions), energy(mol, positions, relax=True)
    return None if single is None or relaxed is None else single - relaxed


def energy(mol: Mol, positions: np.ndarray, *, relax: bool = False) -> float | None:
    """GFN2-xTB energy in kcal/mol, on one thread; with ``relax`` after optimisation. None where xtb fails.

    Raises:
        InputError: no ``xtb`` program.
    """
    program = shutil.which("xtb")
    if program is None:
        raise InputError("strain needs the xtb program: apt-get install xtb, or --strain-limit 0")
    with tempfile.TemporaryDirectory() as folder:
        rdmolfiles.MolToXYZFile(with_positions(mol, positions), f"{folder}/in.xyz")
        charge = str(rdmolops.GetFormalCharge(mol))
        command = [program, "in.xyz", "--gfn", "2", "--chrg", charge, "--parallel", "1"]
        try:
            done = subprocess.run(
                command + (["--opt"] if relax else []),
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            return None
        if done.returncode or (relax and not Path(folder, "xtbopt.xyz").exists()):
            return None
    found = [line for line in done.stdout.splitlines() if "TOTAL ENERGY" in line]
    return float(found[-1].split()[3]) * HARTREE if found else None
