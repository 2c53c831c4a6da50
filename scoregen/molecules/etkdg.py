"""Starting geometries from RDKit's distance geometry (ETKDGv3: Riniker & Landrum 2015; Wang et al. 2020)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from rdkit import rdBase
from rdkit.Chem import Mol, rdDistGeom

LARGE = 60
"""Heavy atoms above which one geometry takes seconds: at most :data:`LARGE_STARTS` are then made."""

LARGE_STARTS = 16

ATTEMPTS = 30
"""Attempts at one geometry of a large molecule. RDKit's own default, ten for each atom, can take hours."""

TIMEOUT = 30.0
"""Seconds for one geometry, where the caller sets no limit: no more than a guard."""

_SEED_LIMIT = 2**31 - 1


def embed(mol: Mol, n: int, seed: int, timeout: float | None = None) -> list[np.ndarray]:
    """Up to ``n`` embedded geometries, ``(N, 3)`` Å; empty when ETKDG finds none.

    What RDKit's usual start in four dimensions cannot embed is tried from random coordinates too.

    Args:
        mol: with explicit hydrogens; left unchanged.
        n: geometries wanted; of molecules above :data:`LARGE` heavy atoms at most :data:`LARGE_STARTS`.
        seed: any integer; the same seed gives the same geometries.
        timeout: seconds for one geometry (rounded up); what takes longer is left out.
    """
    if mol.GetNumAtoms() == 1:
        return [np.zeros((1, 3))] * n
    large = mol.GetNumHeavyAtoms() > LARGE
    parameters: Any = rdDistGeom.ETKDGv3()
    # Seed 0 would make RDKit embed n copies of one geometry.
    parameters.randomSeed = seed % _SEED_LIMIT or 1
    parameters.numThreads = 1
    parameters.timeout = math.ceil(TIMEOUT if timeout is None else timeout)
    if large:
        n = min(n, LARGE_STARTS)
        parameters.maxIterations = ATTEMPTS
    for random in (False, True):
        parameters.useRandomCoords = random
        # One first: where that fails, n would fail as well, after n times as long.
        found = _embed(mol, 1 if large else n, parameters)
        if found and large and n > 1:
            found = _embed(mol, n, parameters)
        if found:
            return found
        # An attempt from random coordinates is slow and mostly succeeds.
        parameters.maxIterations = ATTEMPTS
    return []


def _embed(mol: Mol, n: int, parameters: Any) -> list[np.ndarray]:
    work = Mol(mol)
    with rdBase.BlockLogs():
        try:
            rdDistGeom.EmbedMultipleConfs(work, n, parameters)
        except (RuntimeError, ValueError):
            return []
    # Not by the ids returned: some releases list -1 for a geometry that timed out.
    return [conformer.GetPositions() for conformer in work.GetConformers()]
