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

_RUNGS = ((False, True), (True, True), (True, False))
"""Ways to embed, in turn: from random coordinates or not, with torsion preferences or not."""

_SEED_LIMIT = 2**31 - 1


def embed(mol: Mol, n: int, seed: int, timeout: float | None = None) -> list[np.ndarray]:
    """Up to ``n`` embedded geometries, ``(N, 3)`` Å; empty when ETKDG finds none.

    What RDKit's usual start in four dimensions cannot embed is tried from random coordinates, and then
    without torsion preferences (plain distance geometry), which alone embeds chains of 200 atoms.

    Args:
        mol: with explicit hydrogens; left unchanged.
        n: geometries wanted; of molecules above :data:`LARGE` heavy atoms at most :data:`LARGE_STARTS`.
        seed: any integer; the same seed gives the same geometries.
        timeout: seconds for a geometry, on average.
    """
    if mol.GetNumAtoms() == 1:
        return [np.zeros((1, 3))] * n
    large = mol.GetNumHeavyAtoms() > LARGE
    n = min(n, LARGE_STARTS) if large else n
    limit = TIMEOUT if timeout is None else timeout
    for random, knowledge in _RUNGS:
        parameters: Any = rdDistGeom.ETKDGv3()
        # Seed 0 would make RDKit embed n copies of one geometry.
        parameters.randomSeed = seed % _SEED_LIMIT or 1
        parameters.numThreads = 1
        parameters.useRandomCoords = random
        parameters.useExpTorsionAnglePrefs = parameters.useBasicKnowledge = knowledge
        if large or random:  # such attempts are slow and mostly succeed
            parameters.maxIterations = ATTEMPTS
        # One first: where that fails, n would fail as well, after n times as long.
        found = _embed(mol, 1, parameters, limit)
        if found and n > 1:
            found = _embed(mol, n, parameters, limit)
        if found:
            return found
    return []


def _embed(mol: Mol, n: int, parameters: Any, limit: float) -> list[np.ndarray]:
    work = Mol(mol)
    # RDKit's limit is for the whole call, and nothing is left of one that passes it.
    parameters.timeout = math.ceil(limit * n)
    with rdBase.BlockLogs():
        try:
            rdDistGeom.EmbedMultipleConfs(work, n, parameters)
        except (RuntimeError, ValueError):
            return []
    # Not by the ids returned: some releases list -1 for a geometry that timed out.
    return [conformer.GetPositions() for conformer in work.GetConformers()]
