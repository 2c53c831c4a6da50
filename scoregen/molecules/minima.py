"""The ensemble of a molecule: minima of a level of theory, their energies and Boltzmann weights.

The steps, one function each: state open stereo, embed (ETKDGv3), pre-relax with MMFF94s and drop duplicates,
optimise at the level, check that every bond and stereo element is as stated, drop duplicates again, keep what
lies in the energy window, weigh at 298.15 K. Compare GEOM (Axelrod & Gómez-Bombarelli 2022), which samples
with metadynamics instead of distance geometry.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit.Chem import (
    AssignStereochemistry,
    ChiralType,
    FindPotentialStereo,
    Mol,
    StereoSpecified,
    StereoType,
    rdMolDescriptors,
)

from scoregen.errors import InputError, require

from .chem import canonical_smiles, check_supported, stereo_from_3d
from .etkdg import embed
from .metrics import rmsd_matrix
from .relax import LEVELS, relax
from .stereo import list_stereo, sound, stereo_matches, with_positions

GAS_CONSTANT = 0.00198720425864
"""kcal/mol/K."""
TEMPERATURE = 298.15
"""K."""
SAME_ENERGY = 0.05
"""Two geometries are one minimum only if their energies, too, are this close (kcal/mol, as in CREST, Pracht
et al. 2020): a turned hydroxyl moves no heavy atom, but is another minimum."""


@dataclass(frozen=True)
class EnsembleSettings:
    """What decides an ensemble.

    Args:
        level: ``"mmff"``, ``"gfnff"`` or ``"gfn2"``.
        candidates: ETKDG geometries to start from; None: :func:`candidate_count`.
        window: kcal/mol above the lowest minimum that are kept.
        dedup: Å; nearer minima (symmetric heavy-atom RMSD) of the same energy are one.
        seed: any integer; the same seed gives the same ensemble.
        time_limit: seconds for one molecule, by the clock: whether one near it is given up depends on the
            machine and its load, the only thing about an ensemble that does.

    Raises:
        InputError: a value out of range.
    """

    level: str = "gfn2"
    candidates: int | None = None
    window: float = 6.0
    dedup: float = 0.1
    seed: int = 0
    time_limit: float = 600.0

    def __post_init__(self) -> None:
        checks = (
            (self.level in LEVELS, f"--level '{self.level}' is not one of {', '.join(LEVELS)}"),
            (
                self.candidates is None or self.candidates >= 1,
                f"--candidates must be at least 1, got {self.candidates}",
            ),
            (self.window > 0, f"--window must be positive kcal/mol, got {self.window}"),
            (self.dedup >= 0, f"--dedup must be 0 or more Å, got {self.dedup}"),
            (self.time_limit > 0, f"--time-limit must be positive seconds, got {self.time_limit}"),
        )
        require(checks)


@dataclass(frozen=True)
class Minima:
    """An ensemble.

    Attributes:
        mol: the graph with hydrogens, every stereo element stated, without coordinates.
        smiles: canonical, with stereo, without hydrogens.
        positions: ``(K, N, 3)`` Å, lowest energy first.
        energies: ``(K,)`` kcal/mol above the lowest.
        weights: ``(K,)`` Boltzmann weights at 298.15 K; they sum to 1.
    """

    mol: Mol
    smiles: str
    positions: np.ndarray
    energies: np.ndarray
    weights: np.ndarray


class Deadline:
    """The time left of a limit."""

    def __init__(self, seconds: float):
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left.

        Raises:
            InputError: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise InputError(
                f"took more than {self.seconds:g} s; raise --time-limit, or use fewer --candidates "
                "or a faster --level"
            )
        return left


def find_minima(mol: Mol, settings: EnsembleSettings) -> Minima:
    """The ensemble of one molecule.

    Args:
        mol: from :func:`scoregen.molecules.chem.standardise`; open stereo elements are decided, the same way
            for the same SMILES and seed.
        settings: how.

    Raises:
        InputError: it cannot be embedded, nothing passed the checks, or it took too long.
    """
    check_supported(mol)
    deadline = Deadline(settings.time_limit)
    mol = state_stereo(mol, settings.seed, deadline)
    smiles = canonical_smiles(mol)
    count = settings.candidates or candidate_count(mol)
    starts = embed(mol, count, molecule_seed(mol, settings.seed), timeout=deadline.left() / count)
    if not starts:
        deadline.left()
        raise InputError("ETKDG found no geometry")
    starts = pre_relaxed(mol, starts, settings.dedup, deadline)
    found, energies = optimised(mol, starts, settings.level, deadline)
    keep = distinct_minima(mol, found, energies, settings.dedup)
    keep = [i for i in keep if energies[i] - energies[keep[0]] <= settings.window]
    relative = np.array([energies[i] - energies[keep[0]] for i in keep])
    return Minima(mol, smiles, np.stack([found[i] for i in keep]), relative, boltzmann_weights(relative))


def candidate_count(mol: Mol) -> int:
    """Starts that find most low minima: 10, and 5 more for each rotatable bond, at most 60."""
    return min(60, 10 + 5 * rdMolDescriptors.CalcNumRotatableBonds(mol))


def molecule_seed(mol: Mol, seed: int) -> int:
    """Seed of the random numbers of one molecule, whatever stands before it in a file."""
    key = f"{canonical_smiles(mol)} {seed}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def state_stereo(mol: Mol, seed: int, deadline: Deadline) -> Mol:
    """Decide open stereo elements, so that all conformers of an ensemble are one stereoisomer.

    They are read from one embedded geometry: always an isomer that can exist, as a drawn combination of R and
    S in a cage need not be. The choice depends on the SMILES and the seed alone.

    Raises:
        InputError: the molecule cannot be embedded with the stereo it states.
    """
    if not list_stereo(mol).unspecified:
        return mol
    count = 3
    for start in embed(mol, count, molecule_seed(mol, seed) + 1, timeout=deadline.left() / count):
        if not stereo_matches(mol, start):
            continue
        read = stereo_from_3d(with_positions(mol, start))
        read.RemoveAllConformers()
        # Three-coordinate phosphorus and aziridine nitrogen are never read from 3D: they stay as stated,
        for stated, atom in zip(mol.GetAtoms(), read.GetAtoms(), strict=True):
            if atom.GetChiralTag() == ChiralType.CHI_UNSPECIFIED:
                atom.SetChiralTag(stated.GetChiralTag())
        for index in _open_centres(read):  # or get the tag that the geometry has.
            read.GetAtomWithIdx(index).SetChiralTag(ChiralType.CHI_TETRAHEDRAL_CW)
            if not stereo_matches(read, start):
                read.GetAtomWithIdx(index).SetChiralTag(ChiralType.CHI_TETRAHEDRAL_CCW)
        AssignStereochemistry(read, cleanIt=True, force=True)
        return read
    deadline.left()
    raise InputError("ETKDG found no geometry")


def _open_centres(mol: Mol) -> list[int]:
    return [
        info.centeredOn
        for info in FindPotentialStereo(Mol(mol))
        if info.type == StereoType.Atom_Tetrahedral and info.specified != StereoSpecified.Specified
    ]


def pre_relaxed(mol: Mol, starts: Sequence[np.ndarray], dedup: float, deadline: Deadline) -> list[np.ndarray]:
    """MMFF94s minima without duplicates, lowest first: a third of the optimisation steps that embedded
    geometries need. The starts themselves where MMFF94s has no parameters or would break the molecule.
    """
    relaxed: list[np.ndarray] = []
    energies: list[float] = []
    for start in starts:
        deadline.left()
        try:
            positions, energy = relax(mol, start, "mmff")
        except InputError:
            return list(starts)
        if sound(mol, positions):
            relaxed.append(positions)
            energies.append(energy)
    if not relaxed:
        return list(starts)
    return [relaxed[i] for i in distinct_minima(mol, relaxed, energies, dedup)]


def optimised(
    mol: Mol, starts: Sequence[np.ndarray], level: str, deadline: Deadline
) -> tuple[list[np.ndarray], list[float]]:
    """Optimise every start; keep those whose bonds and stereo are still as stated.

    Besides the stated stereo, all must show the same to whoever reads it from 3D.

    Raises:
        InputError: none is left, the level cannot run, or no time is.
    """
    found: list[np.ndarray] = []
    energies: list[float] = []
    expected: str | None = None
    problem = ""
    for start in starts:
        try:
            positions, energy = relax(mol, start, level, timeout=deadline.left())
        except InputError as error:
            deadline.left()  # out of time is the molecule's end, not this start's
            problem = str(error)
            continue
        if not sound(mol, positions):
            problem = f"{level} changes its bonds or stereo"
            continue
        shown = canonical_smiles(stereo_from_3d(with_positions(mol, positions)))
        expected = expected or shown
        if shown != expected:
            problem = f"{level} changes its stereo"
            continue
        found.append(positions)
        energies.append(energy)
    if not found:
        raise InputError(problem)
    return found, energies


def distinct_minima(
    mol: Mol, positions: Sequence[np.ndarray], energies: Sequence[float], threshold: float
) -> list[int]:
    """Indices of distinct minima, lowest energy first; of duplicates the lowest stays.

    Two are duplicates when their symmetric heavy-atom RMSD is below ``threshold`` (Å) and their energies
    differ by less than :data:`SAME_ENERGY`. Mirror images count as two.
    """
    kept: list[int] = []
    for i in sorted(range(len(positions)), key=lambda i: energies[i]):
        near = [j for j in kept if energies[i] - energies[j] < SAME_ENERGY]
        if near and mol.GetNumHeavyAtoms() > 1:
            others = np.stack([positions[j] for j in near])
            if rmsd_matrix(mol, others, mol, positions[i][None]).min() < threshold:
                continue
        elif near:
            continue
        kept.append(i)
    return kept


def boltzmann_weights(energies: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """``exp(−E/RT)`` normalised to sum 1.

    Args:
        energies: ``(K,)`` kcal/mol.
        temperature: K.
    """
    factors = np.exp(-(energies - energies.min()) / (GAS_CONSTANT * temperature))
    return np.asarray(factors / factors.sum())
