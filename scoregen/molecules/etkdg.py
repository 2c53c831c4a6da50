"""Starting geometries from RDKit's distance geometry (ETKDGv3: Riniker & Landrum 2015; Wang et al. 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
from rdkit import rdBase
from rdkit.Chem import Mol, rdDistGeom

_SEED_LIMIT = 2**31 - 1


def embed(mol: Mol, n: int, seed: int) -> list[np.ndarray]:
    """Up to ``n`` embedded geometries, ``(N, 3)`` Å; empty when ETKDG finds none.

    Args:
        mol: with explicit hydrogens; left unchanged.
        n: geometries wanted.
        seed: any integer; the same seed gives the same geometries.
    """
    if mol.GetNumAtoms() == 1:
        return [np.zeros((1, 3))] * n
    parameters: Any = rdDistGeom.ETKDGv3()
    # Seed 0 would make RDKit embed n copies of one geometry.
    parameters.randomSeed = seed % _SEED_LIMIT or 1
    parameters.numThreads = 1
    work = Mol(mol)
    with rdBase.BlockLogs():
        try:
            ids = list(rdDistGeom.EmbedMultipleConfs(work, n, parameters))
        except (RuntimeError, ValueError):
            return []
    return [work.GetConformer(i).GetPositions() for i in ids]
