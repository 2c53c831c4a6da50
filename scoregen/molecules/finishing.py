"""From draws to conformers: select, relax, cut by energy, rank, prune.

In this order. Representatives are chosen among the draws, which are many and cheap, so that only they are
relaxed (draws from geometries were chosen as starts already). The energy window and the pruning of duplicates
look at the relaxed geometries, since relaxation can bring two conformers together; ranking comes
before pruning, so that of duplicates the best-ranked stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from rdkit.Chem import Mol

from scoregen.errors import InputError

from .ensemble import Conformer, Ensemble
from .metrics import pairwise_rmsd
from .relax import mmff_energy, relax
from .selection import Selection, distinct, select
from .settings import Settings
from .stereo import sound

Score = Callable[[Mol, np.ndarray], np.ndarray]
"""Log-likelihoods ``(K,)`` of geometries ``(K, N, 3)``."""


def finish(ensemble: Ensemble, settings: Settings, score: Score) -> None:
    """Turn the draws that an ensemble holds into the conformers asked for, in place.

    Args:
        ensemble: with the draws that passed the checks.
        settings: what is wanted.
        score: the model's log-likelihood, for ``rank="likelihood"``.
    """
    mol = ensemble.mol
    if not ensemble.conformers:
        return
    selection = None
    count = settings.count(mol)
    if len(ensemble.conformers) > count:
        selection = select(pairwise_rmsd(mol, np.stack(ensemble.positions)), count)
        ensemble.conformers = [ensemble.conformers[i] for i in selection.picked]
    if settings.energetic:
        selection = _kept(ensemble, _energies(ensemble, settings), selection)
    if ensemble.energies:
        lowest = min(ensemble.energies)
        keep = [k for k, energy in enumerate(ensemble.energies) if energy - lowest <= settings.window]
        selection = _kept(ensemble, keep, selection)
    if settings.rank in ("energy", "likelihood"):
        selection = _kept(ensemble, _order(ensemble, settings, score), selection)
    if settings.threshold > 0 and len(ensemble.conformers) > 1:
        distances = pairwise_rmsd(mol, np.stack(ensemble.positions))
        selection = _kept(ensemble, distinct(distances, settings.threshold), selection)
    if selection is not None and selection.picked:
        population, spread = selection.shares()
        ensemble.conformers = [
            replace(conformer, population=float(population[k]), spread=float(spread[k]))
            for k, conformer in enumerate(ensemble.conformers)
        ]
    if settings.rank == "population":
        ensemble.conformers.sort(key=lambda conformer: -(conformer.population or 0))


def _kept(ensemble: Ensemble, order: Sequence[int], selection: Selection | None) -> Selection | None:
    """Keep the conformers of these indices, in this order, in the ensemble (in place) and the selection."""
    ensemble.conformers = [ensemble.conformers[k] for k in order]
    return None if selection is None else selection.only(order)


def _order(ensemble: Ensemble, settings: Settings, score: Score) -> list[int]:
    """Indices of the conformers, best first; as they are where there is nothing to rank by."""
    if settings.rank == "likelihood":
        if not ensemble.conformers:
            return []
        found = score(ensemble.mol, np.stack(ensemble.positions))
        ensemble.conformers = [
            replace(conformer, log_likelihood=float(value))
            for conformer, value in zip(ensemble.conformers, found, strict=True)
        ]
        values = [-float(value) for value in found]
    else:
        values = ensemble.energies or [0.0] * len(ensemble.conformers)
    return sorted(range(len(values)), key=values.__getitem__)


def _energies(ensemble: Ensemble, settings: Settings) -> list[int]:
    """Give conformers energies, relaxed if asked; returns the indices of those that came through sound."""
    mol, done = ensemble.mol, list[Conformer]()
    try:
        for conformer in ensemble.conformers:
            if settings.relax == "none":
                done.append(replace(conformer, energy=mmff_energy(mol, conformer.positions)))
            else:
                positions, energy = relax(mol, conformer.positions, settings.relax)
                done.append(replace(conformer, positions=positions, raw=conformer.positions, energy=energy))
    except InputError as error:
        ensemble.problem = f"{error}; written as drawn, without energies"
        return list(range(len(ensemble.conformers)))
    ensemble.conformers = done
    keep = [k for k, c in enumerate(done) if settings.relax == "none" or sound(mol, c.positions)]
    if broken := len(done) - len(keep):
        ensemble.missing += broken
        ensemble.problem = f"{settings.relax} relaxation broke {broken} conformers; they were not written"
    return keep
