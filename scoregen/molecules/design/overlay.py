"""Likeness in shape to a molecule: how well two volumes overlap when one is laid upon the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol, rdShapeAlign

from scoregen.errors import InputError
from scoregen.molecules.chem import has_3d
from scoregen.molecules.prepare import is_sdf
from scoregen.molecules.sdf import parse_block, read_blocks
from scoregen.molecules.stereo import with_positions

from .pinned import superposed

SPARE = 3
"""Candidates have so many heavy atoms more or fewer than the reference, where nothing else is asked."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """Shape Tanimoto of Gaussian volumes (Grant, Gallardo & Pickup 1996; PubChem's alignment), 0 to 1.

    A score of molecules: it sees heavy atoms alone, in the reference and in what is compared with it.

    Args:
        mol: the reference, with 3D coordinates.
        source: what it came from, for messages.
    """

    mol: Mol
    source: str = "reference"

    def __call__(self, mol: Mol) -> float:
        """Tanimoto of the best overlay; NaN without 3D coordinates."""
        return self.laid(mol)[1] if has_3d(mol) else math.nan

    def laid(self, mol: Mol) -> tuple[Mol, float]:
        """A copy of a molecule with 3D coordinates laid upon the reference, and the Tanimoto."""
        heavy = Chem.RemoveAllHs(mol)
        tanimoto = rdShapeAlign.AlignMol(self.mol, heavy, useColors=False)[0]
        atoms = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
        places = np.asarray(heavy.GetConformer().GetPositions())
        moved = superposed(np.asarray(mol.GetConformer().GetPositions()), atoms, places)
        return with_positions(mol, moved), tanimoto

    @property
    def sizes(self) -> tuple[int, int]:
        """Fewest and most heavy atoms of candidates of this shape."""
        count = self.mol.GetNumHeavyAtoms()
        return max(count - SPARE, 2), count + SPARE


def read_shape(text: str) -> Overlay:
    """The first record of an SDF as a reference shape.

    Raises:
        InputError: it cannot be read, or has no 3D coordinates.
    """
    shown = f"--shape {text}"
    path = Path(text)
    if not is_sdf(path) or not path.is_file():
        raise InputError(f"{shown}: not an SDF file; give one with a conformer")
    try:
        block = next(iter(read_blocks(path)), None)
        if block is None:
            raise InputError("holds no molecule")
        mol = parse_block(block)
        if not has_3d(mol):
            raise InputError("has no 3D coordinates; give an SDF with a conformer")
    except (InputError, OSError, EOFError) as error:
        raise InputError(f"{shown}: {error}") from None
    heavy = Chem.RemoveAllHs(mol)
    if heavy.GetNumAtoms() < 3:
        raise InputError(f"{shown}: fewer than three heavy atoms")
    return Overlay(heavy, text)
