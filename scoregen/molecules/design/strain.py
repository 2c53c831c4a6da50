"""Strain: how far above the minimum that it relaxes to a geometry lies."""

from __future__ import annotations

from typing import NamedTuple

from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.relax import energy, relax

METHODS = ("gfn2", "mmff")
"""GFN2-xTB (Bannwarth et al. 2019), the measure that is published, and MMFF94s, a hundred times faster."""


class Strain(NamedTuple):
    """Relaxation energy in kcal/mol, and divided by the number of atoms, hydrogens included."""

    total: float
    per_atom: float


def strain(mol: Mol, method: str = "gfn2", timeout: float | None = 300.0) -> Strain:
    """Energy of the first conformer as it is minus that of the minimum it relaxes to, gas phase, one core.

    Args:
        mol: sanitised, with hydrogen atoms and a conformer; left unchanged.
        method: one of :data:`METHODS`.
        timeout: seconds for each of the two GFN2 calculations; None waits.

    Raises:
        InputError: no coordinates, or the method cannot run or failed on this molecule.
    """
    if method not in METHODS:
        raise InputError(f"strain method '{method}' is not one of {', '.join(METHODS)}")
    if not mol.GetNumConformers():
        raise InputError("no 3D coordinates to relax")
    positions = mol.GetConformer().GetPositions()
    total = energy(mol, positions, method, timeout) - relax(mol, positions, method, timeout)[1]
    return Strain(total, total / mol.GetNumAtoms())
