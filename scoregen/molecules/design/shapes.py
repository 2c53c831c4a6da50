"""Coordinates of accepted candidates: hydrogen atoms and one good conformer each.

A candidate's graph states no stereo, so one stereoisomer is chosen first, an embeddable one. What is handed
back bears the stereo that its coordinates show, whatever was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import has_3d, standardise, stereo_from_3d
from scoregen.molecules.conformers import ConformerGenerator, Settings
from scoregen.molecules.minima import Deadline, molecule_seed, state_stereo
from scoregen.molecules.starts import make_starts
from scoregen.molecules.stereo import geometry_ok, sound, stereo_matches, with_positions

from .nudge import nudged
from .pinned import (
    EMBEDDINGS,
    around,
    free_stereo,
    harmonic_extension,
    relax_around,
    settled,
    superposed,
)
from .plausible import Judge

DRAWS = 8
"""Minima made of each candidate, of which the lowest is kept."""

STEREO_SECONDS = 60.0
"""Limit of the embeddings that choose a stereoisomer."""


def shape(
    mols: Sequence[Mol],
    conformers: ConformerGenerator,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Mol | str]:
    """One conformer for every candidate, with shared calls of the network.

    The lowest of several MMFF94s minima, moved by the conformer model to where it expects the atoms
    (:func:`~scoregen.molecules.design.nudge.nudged`). What has no such minimum the conformer model draws.

    Args:
        mols: sanitised, hydrogens counted or explicit; stereo they state is kept. One that has 3D coordinates
            keeps that conformation: hydrogens are added and all is relaxed.
        conformers: the conformer model.
        seed: any integer; the same seed and molecule give the same conformer.
        draws: minima to choose from.

    Returns:
        For each candidate a molecule with hydrogen atoms and one conformer, or in one line why there is none.
    """
    results: list[Mol | str] = [""] * len(mols)
    minima: list[tuple[int, Mol, np.ndarray]] = []
    others: list[tuple[int, Mol]] = []
    for i, mol in enumerate(mols):
        try:
            if has_3d(mol):
                whole = completed(mol)
                minima.append((i, whole, whole.GetConformer().GetPositions()))
                continue
            whole = standardise(mol)
            stated = state_stereo(whole, seed, Deadline(STEREO_SECONDS))
            lowest = lowest_minimum(stated, seed, draws)
        except InputError as error:
            results[i] = str(error)
            continue
        if lowest is None:
            others.append((i, stated))
        else:
            minima.append((i, stated, lowest))
    moved = nudged(
        conformers.denoiser, [m for _, m, _ in minima], [x for _, _, x in minima], conformers.theory()
    )
    for (i, mol, start), positions in zip(minima, moved, strict=True):
        results[i] = _finished(mol, positions if sound(mol, positions) else start)
    ensembles = conformers.ensembles([mol for _, mol in others], Settings(seed=seed)) if others else []
    for (i, mol), ensemble in zip(others, ensembles, strict=True):
        found = ensemble.positions
        results[i] = _finished(mol, found[0]) if found else ensemble.problem or "no conformer was generated"
    return results


def lowest_minimum(mol: Mol, seed: int, count: int = DRAWS) -> np.ndarray | None:
    """The lowest of the MMFF94s minima that several ETKDG geometries relax to.

    Args:
        mol: with hydrogen atoms.
        seed: any integer.
        count: geometries.

    Returns:
        ``(N, 3)`` Å, or None where nothing embeds, MMFF94s has no parameters or breaks the molecule.
    """
    starts = make_starts(mol, ["mmff"] * count, molecule_seed(mol, seed))
    energies = {start.energy: start.positions for start in starts if start.energy is not None}
    return energies[min(energies)] if energies else None


def completed(mol: Mol) -> Mol:
    """A molecule whose heavy atoms have coordinates, with hydrogen atoms, relaxed with MMFF94s.

    Args:
        mol: sanitised, with a 3D conformer.

    Raises:
        InputError: unsupported, or bonds are broken or atoms overlap, before the relaxation or after.
    """
    heavy = Chem.RemoveAllHs(mol)
    # The force field would mend almost anything, and hide that the model drew it.
    if not geometry_ok(heavy, heavy.GetConformer().GetPositions()):
        raise InputError("the coordinates drawn have broken bonds or overlapping atoms")
    whole = free_stereo(heavy)
    placed = Chem.AddHs(heavy, addCoords=True).GetConformer().GetPositions()
    given = range(heavy.GetNumAtoms())
    # Hydrogens first: they are put down without regard to each other.
    relaxed, _ = relax_around(whole, given, placed)
    relaxed, _ = relax_around(whole, (), relaxed)
    if not geometry_ok(whole, relaxed):
        raise InputError("relaxing the coordinates drawn broke bonds or made atoms overlap")
    return _finished(whole, relaxed)


def shape_posed(
    mol: Mol,
    match: Sequence[int],
    positions: np.ndarray,
    conformers: ConformerGenerator | None = None,
    *,
    seed: int = 0,
    embeddings: int = EMBEDDINGS,
) -> Mol | str:
    """A conformer in which the kept atoms are exactly where they were.

    The lowest of several MMFF94s minima around the kept atoms, moved by the conformer model to where it
    expects the atoms (18 of 18 molecules came out lower in GFN2-xTB energy, by 1.8 kcal/mol in the median).

    Args:
        mol: sanitised, hydrogens counted or explicit. Stereo it states is ignored: the pose shows that of the
            kept atoms, new centres are free.
        match: index in ``mol`` of each kept atom.
        positions: where they belong, ``(k, 3)`` Å.
        conformers: the conformer model; without it the minimum stays as it is.
        seed: any integer; the same seed and molecule give the same conformer.
        embeddings: geometries to choose from.

    Returns:
        A molecule with hydrogen atoms (atoms in the order of ``mol``, added hydrogens behind) and one
        conformer in the frame of ``positions``; or in one line why there is none: a linker that cannot
        reach, for one, is refused, not stretched (:mod:`scoregen.molecules.design.plausible`).
    """
    try:
        whole = free_stereo(mol)
        found = around(whole, match, positions, seed=molecule_seed(whole, seed), embeddings=embeddings)
    except InputError as error:
        return str(error)
    if isinstance(found, str):
        return found
    lowest = _finished(whole, found[0])
    if conformers is None:
        return lowest
    moved = nudged(conformers.denoiser, [lowest], found[:1], conformers.theory())[0]
    places = np.asarray(positions, np.float64)
    moved = settled(superposed(moved, match, places), match, places, harmonic_extension(whole, match))
    fits = Judge(whole, match).problem(moved) is None and stereo_matches(lowest, moved)
    return _finished(whole, moved) if fits else lowest


def _finished(mol: Mol, positions: np.ndarray) -> Mol:
    return stereo_from_3d(with_positions(mol, positions))
