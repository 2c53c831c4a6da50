"""Energies and relaxation: MMFF94s through RDKit, GFN2-xTB through the xtb program."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from rdkit.Chem import Mol, rdForceFieldHelpers, rdmolfiles, rdmolops

from scoregen.errors import InputError

from .stereo import with_positions

HARTREE = 627.5094740631
METHODS = ("none", "mmff", "gfn2")


def relax(mol: Mol, positions: np.ndarray, method: str) -> tuple[np.ndarray, float]:
    """Relax a geometry to the nearest minimum.

    Args:
        mol: with explicit hydrogens.
        positions: ``(N, 3)`` Å.
        method: ``"mmff"`` (MMFF94s, gas phase) or ``"gfn2"`` (GFN2-xTB; needs the ``xtb`` program).

    Returns:
        Relaxed positions ``(N, 3)`` Å and the energy in kcal/mol.

    Raises:
        InputError: no parameters for the molecule, no ``xtb`` program, or the optimisation failed.
    """
    if method == "mmff":
        return _mmff(mol, positions, steps=2000)
    if method == "gfn2":
        return _gfn2(mol, positions)
    raise InputError(f"relaxation '{method}' is not one of {', '.join(METHODS)}")


def mmff_energy(mol: Mol, positions: np.ndarray) -> float:
    """MMFF94s energy of a geometry in kcal/mol.

    Raises:
        InputError: MMFF94s has no parameters for the molecule.
    """
    return _mmff(mol, positions, steps=0)[1]


def _mmff(mol: Mol, positions: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    placed = with_positions(mol, positions)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(placed, mmffVariant="MMFF94s")
    if properties is None:
        raise InputError("MMFF94s has no parameters for this molecule; use --relax gfn2 or none")
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(placed, properties)
    if steps:
        field.Initialize()
        field.Minimize(maxIts=steps)
    return placed.GetConformer().GetPositions(), float(field.CalcEnergy())


def _gfn2(mol: Mol, positions: np.ndarray) -> tuple[np.ndarray, float]:
    program = shutil.which("xtb")
    if program is None:
        raise InputError("--relax gfn2 needs the xtb program; install it with: apt-get install xtb")
    with tempfile.TemporaryDirectory() as folder:
        rdmolfiles.MolToXYZFile(with_positions(mol, positions), f"{folder}/in.xyz")
        charge = str(rdmolops.GetFormalCharge(mol))
        command = [program, "in.xyz", "--gfn", "2", "--opt", "--chrg", charge, "--parallel", "1"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        result = Path(folder, "xtbopt.xyz")
        if done.returncode or not result.exists():
            raise InputError("GFN2-xTB optimisation failed; use --relax mmff or none")
        lines = result.read_text().splitlines()
    relaxed = np.array([[float(v) for v in line.split()[1:4]] for line in lines[2:] if line.strip()])
    return relaxed, float(lines[1].split()[1]) * HARTREE
