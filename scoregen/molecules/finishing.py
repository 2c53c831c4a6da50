"""From draws to conformers: select, relax, cut by energy, rank, prune.

In this order. Representatives are chosen before anything is relaxed, so that only they are (draws from
geometries were chosen as starts already). The energy window and the pruning of duplicates look at the relaxed
geometries, since relaxation can bring two conformers together; ranking comes before pruning, so that of
duplicates the best-ranked stays. What is dropped bequeaths its population to the nearest that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from rdkit.Chem import Mol

from scoregen.errors import InputError

from .ensemble import Conformer, Ensemble
from .metrics import pairwise_rmsd
from .relax import mmff_energy, relax
from .selection import distinct, select
from .settings import RELAX_SECONDS, Settings
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
    ensemble.conformers = _shares(_selected(mol, ensemble.conformers, settings.count(mol)))
    if settings.energetic:
        _energies(ensemble, settings)
    if ensemble.energies:
        lowest = min(ensemble.energies)
        _keep(ensemble, [k for k, e in enumerate(ensemble.energies) if e - lowest <= settings.window])
    if settings.rank != "none":
        _keep(ensemble, _order(ensemble, settings, score))
    if settings.threshold > 0 and len(ensemble.conformers) > 1:
        distances = pairwise_rmsd(mol, np.stack(ensemble.positions))
        _keep(ensemble, distinct(distances, settings.threshold))


def _selected(mol: Mol, conformers: Sequence[Conformer], count: int) -> list[Conformer]:
    """``count`` conformers: of more draws from noise than there is room for, the medoids."""
    noise = [k for k, conformer in enumerate(conformers) if conformer.init == "noise"]
    room = count - (len(conformers) - len(noise))
    if len(noise) <= room or room < 1:
        return list(conformers)[:count]
    selection = select(pairwise_rmsd(mol, np.stack([conformers[k].positions for k in noise])), room)
    population, spread = selection.shares()
    chosen = iter(
        replace(conformers[noise[i]], population=float(population[k]), spread=float(spread[k]))
        for k, i in enumerate(selection.picked)
    )
    spare = set(noise[room:])
    return [c if c.init != "noise" else next(chosen) for k, c in enumerate(conformers) if k not in spare]


def _shares(conformers: Sequence[Conformer]) -> list[Conformer]:
    """The same with populations that sum to 1, where any are known: every kind of start had its own 1."""
    # 0 where only copies of lost conformers are left: they stood for nothing.
    total = math.fsum(conformer.population or 0 for conformer in conformers) or 1.0
    return [c if c.population is None else replace(c, population=c.population / total) for c in conformers]


def _keep(ensemble: Ensemble, order: Sequence[int]) -> None:
    """Keep the conformers of these indices, in this order; others leave their population to the nearest."""
    conformers = ensemble.conformers
    kept = [conformers[k] for k in order]
    gone = [c for k, c in enumerate(conformers) if k not in set(order) and c.population]
    if kept and gone:
        positions = np.stack([c.positions for c in (*kept, *gone)])
        distances = pairwise_rmsd(ensemble.mol, positions)[len(kept) :, : len(kept)]
        for conformer, row in zip(gone, distances, strict=True):
            heir = int(row.argmin())
            kept[heir] = _joined(kept[heir], conformer, float(row[heir]))
    ensemble.conformers = kept


def _joined(one: Conformer, other: Conformer, distance: float) -> Conformer:
    """``one`` standing for the geometries of both."""
    first, second = one.population or 0.0, other.population or 0.0
    square = first * (one.spread or 0) ** 2 + second * ((other.spread or 0) ** 2 + distance**2)
    return replace(one, population=first + second, spread=math.sqrt(square / (first + second)))


def _order(ensemble: Ensemble, settings: Settings, score: Score) -> list[int]:
    """Indices of the conformers, best first; as they are where there is nothing to rank by."""
    if not ensemble.conformers:
        return []
    if settings.rank == "likelihood":
        found = score(ensemble.mol, np.stack(ensemble.positions))
        ensemble.conformers = [
            replace(conformer, log_likelihood=float(value))
            for conformer, value in zip(ensemble.conformers, found, strict=True)
        ]
        values = [-float(value) for value in found]
    elif settings.rank == "population":
        values = [-(conformer.population or 0.0) for conformer in ensemble.conformers]
    else:
        values = ensemble.energies or [0.0] * len(ensemble.conformers)
    return sorted(range(len(values)), key=values.__getitem__)


def _energies(ensemble: Ensemble, settings: Settings) -> None:
    """Give conformers energies, relaxed if asked; those that do not come through sound are dropped."""
    done: list[Conformer | None] = []
    reason = f"{settings.relax} relaxation broke the stereo or the bonds"
    for conformer in ensemble.conformers:
        try:
            done.append(_with_energy(ensemble.mol, conformer, settings.relax))
        except (InputError, RuntimeError) as error:
            reason = str(error)
            done.append(None)
    keep = [k for k, conformer in enumerate(done) if conformer is not None]
    if not keep:
        ensemble.blame(f"{reason}; written as drawn, without energies")
        return
    if lost := len(done) - len(keep):
        ensemble.missing += lost
        ensemble.blame(f"{lost} conformers were not written: {reason}")
    ensemble.conformers = [new or old for new, old in zip(done, ensemble.conformers, strict=True)]
    _keep(ensemble, keep)


def _with_energy(mol: Mol, conformer: Conformer, method: str) -> Conformer | None:
    """The conformer with its energy, relaxed unless ``method`` is none; None where that breaks it."""
    if method == "none":
        return replace(conformer, energy=mmff_energy(mol, conformer.positions))
    positions, energy = relax(mol, conformer.positions, method, timeout=RELAX_SECONDS)
    if not sound(mol, positions):
        return None
    return replace(conformer, positions=positions, raw=conformer.positions, energy=energy)
