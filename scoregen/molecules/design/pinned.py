"""Coordinates around given atoms: those stay exactly where they are, the rest is drawn around them.

Distance geometry embeds the whole molecule with the distances of the given atoms imposed (RDKit's
``coordMap``). Distances do not tell a pose from its mirror image; since new centres are free, an embedding
that fits mirrored is mirrored. The given atoms are then put in their places, what hangs on them follows
along the bonds (harmonic extension), and MMFF94s relaxes everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol, rdDistGeom, rdForceFieldHelpers
from rdkit.Geometry import Point3D

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.etkdg import embed
from scoregen.molecules.stereo import with_positions

from .plausible import Judge

EMBEDDINGS = 8
"""Geometries made, of which the one of lowest energy is kept."""

STEPS = 1000
"""Of the relaxation."""

TIMEOUT = 10
"""Seconds for one embedding: no more than a guard."""

ITERATIONS = 10
"""Attempts at one embedding."""

GIVE_UP = 2
"""Embeddings that fail before another way is taken."""

_SEED_LIMIT = 2**31 - 1


def free_stereo(mol: Mol) -> Mol:
    """The molecule with hydrogen atoms, no coordinates and no stated stereo.

    Raises:
        InputError: unsupported.
    """
    whole = standardise(mol)
    Chem.RemoveStereochemistry(whole)
    return whole


def around(
    mol: Mol, match: Sequence[int], positions: np.ndarray, *, seed: int, embeddings: int = EMBEDDINGS
) -> list[np.ndarray] | str:
    """Geometries of a molecule in which some atoms are where they are said to be.

    Args:
        mol: of :func:`free_stereo`.
        match: atoms whose places are given, ``k`` of them.
        positions: those places, ``(k, 3)`` Å.
        seed: any integer; the same seed gives the same geometries.
        embeddings: geometries tried.

    Returns:
        ``(N, 3)`` Å each, in the frame of ``positions`` and exact there, lowest MMFF94s energy first; or why
        there is none.
    """
    judge = Judge(mol, match)
    places = np.asarray(positions, np.float64)
    if problem := judge.unreachable(places):
        return f"the new atoms cannot reach: {problem}"
    extension = harmonic_extension(mol, match)
    found: list[tuple[float, int, np.ndarray]] = []
    reason = "no room around the kept atoms: no geometry could be embedded"
    for number, embedded in enumerate(_embeddings(mol, match, places, seed, embeddings)):
        start = placed(embedded, match, places, extension)
        try:
            relaxed, energy = relax_around(mol, match, start)
        except (InputError, RuntimeError):
            continue
        if problem := judge.problem(relaxed):
            reason = f"no room around the kept atoms: {problem}"
            continue
        found.append((energy, number, relaxed))
    return [relaxed for _, _, relaxed in sorted(found, key=lambda f: f[:2])] or reason


def placed(whole: np.ndarray, match: Sequence[int], places: np.ndarray, extension: np.ndarray) -> np.ndarray:
    """A geometry moved on its given atoms, mirrored if that fits better, and bent until they are in place.

    Args:
        whole: ``(N, 3)`` Å.
        match: the given atoms.
        places: where they belong, ``(k, 3)`` Å.
        extension: of :func:`harmonic_extension`.

    Returns:
        ``(N, 3)``, exact on the given atoms.
    """
    straight, mirrored = (superposed(side, match, places) for side in (whole, whole * [1.0, 1.0, -1.0]))
    best = min((straight, mirrored), key=lambda x: round(float(((x[list(match)] - places) ** 2).sum()), 6))
    return settled(best, match, places, extension)


def settled(whole: np.ndarray, match: Sequence[int], places: np.ndarray, extension: np.ndarray) -> np.ndarray:
    """A geometry that lies about right, bent until its given atoms are in place; arguments as above."""
    moved = whole + extension @ (places - whole[list(match)])
    moved[list(match)] = places
    return np.asarray(moved)


def superposed(whole: np.ndarray, match: Sequence[int], places: np.ndarray) -> np.ndarray:
    """A geometry moved as a rigid body so that its given atoms lie nearest to their places (Kabsch 1976)."""
    some = whole[list(match)]
    u, _, vh = np.linalg.svd((some - some.mean(0)).T @ (places - places.mean(0)))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vh))])
    return np.asarray((whole - some.mean(0)) @ ((u * sign) @ vh) + places.mean(0))


def harmonic_extension(mol: Mol, match: Sequence[int]) -> np.ndarray:
    """How all atoms follow the given ones when every bond is a spring, ``(N, k)``; rows sum to 1.

    It is the conditional mean of the harmonic prior, ``−L_uu^{−1} L_uk`` with the Laplacian L of the bonds
    (:mod:`scoregen.molecules.harmonic`), so a shift of all given atoms shifts everything.
    """
    bonds = Chem.GetAdjacencyMatrix(mol).astype(np.float64)
    laplacian = np.diag(bonds.sum(0)) - bonds
    given = np.zeros(len(bonds), bool)
    given[list(match)] = True
    extension = np.zeros((len(bonds), len(match)))
    extension[list(match), np.arange(len(match))] = 1.0
    free = np.flatnonzero(~given)
    if len(free):
        springs = laplacian[free]
        extension[free] = np.linalg.solve(springs[:, free], -springs[:, list(match)])
    return extension


def relax_around(
    mol: Mol, match: Sequence[int], positions: np.ndarray, steps: int = STEPS
) -> tuple[np.ndarray, float]:
    """Relax with MMFF94s (UFF where it has no parameters) while the given atoms stay.

    Args:
        mol: with hydrogen atoms.
        match: atoms that stay; none relaxes all.
        positions: ``(N, 3)`` Å.
        steps: at most.

    Returns:
        Positions ``(N, 3)`` Å, those of the given atoms unchanged to the bit, and the energy in kcal/mol.

    Raises:
        InputError: no parameters at all.
    """
    work = with_positions(mol, positions)
    field = _force_field(work)
    field.Initialize()
    for i in match:
        field.AddFixedPoint(int(i))
    field.Minimize(maxIts=steps)
    relaxed = np.asarray(work.GetConformer().GetPositions())
    relaxed[list(match)] = positions[list(match)]
    return relaxed, float(field.CalcEnergy())


def _force_field(mol: Mol) -> Any:
    with rdBase.BlockLogs():
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant="MMFF94s")
        if properties is not None:
            return rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
        if not rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
            raise InputError("no force field has parameters for this molecule")
        return rdForceFieldHelpers.UFFGetMoleculeForceField(mol)


def _embeddings(
    mol: Mol, match: Sequence[int], places: np.ndarray, seed: int, count: int
) -> Iterator[np.ndarray]:
    """Up to ``count`` embedded geometries, ``(N, 3)`` Å, by the first of the ways that gives any."""
    places_of = {int(i): Point3D(*map(float, x)) for i, x in zip(match, places, strict=True)}
    for knowledge in (True, False):
        found = 0
        for number in range(count):
            if number == GIVE_UP and not found:
                break
            parameters: Any = rdDistGeom.ETKDGv3()
            parameters.randomSeed = (seed * count + number) % _SEED_LIMIT or 1
            parameters.useRandomCoords = parameters.ignoreSmoothingFailures = True
            parameters.useExpTorsionAnglePrefs = parameters.useBasicKnowledge = knowledge
            parameters.maxIterations = ITERATIONS
            parameters.timeout = TIMEOUT
            parameters.numThreads = 1
            parameters.SetCoordMap(places_of)
            work = Mol(mol)
            with rdBase.BlockLogs():
                try:
                    embedded = rdDistGeom.EmbedMolecule(work, parameters) >= 0
                except (RuntimeError, ValueError):
                    embedded = False
            if embedded:
                found += 1
                yield np.asarray(work.GetConformer().GetPositions())
        if found:
            return
    # A noisy pose may contradict RDKit's bounds: then its distances are not imposed but only aimed at.
    yield from embed(mol, count, seed, TIMEOUT)
