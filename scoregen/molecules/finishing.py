"""From draws to conformers: select, relax, cut by energy, prune.

In this order: representatives are chosen among the draws, which are many and cheap, so that only they are
relaxed; the energy window and the pruning of duplicates look at the relaxed geometries, since relaxation
can bring two conformers together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scoregen.errors import InputError

from .drawing import sound
from .ensemble import Conformer, Ensemble
from .metrics import pairwise_rmsd
from .relax import mmff_energy, relax
from .selection import Selection, distinct, select
from .settings import Settings


def finish(ensemble: Ensemble, n: int, settings: Settings) -> None:
    """Turn the draws that an ensemble holds into at most ``n`` conformers, in place."""
    if not ensemble.conformers:
        return
    selection = None
    if settings.draws > 1:
        selection = select(pairwise_rmsd(ensemble.mol, np.stack(ensemble.positions)), n)
        ensemble.conformers = [ensemble.conformers[i] for i in selection.picked]
    keep = [True] * len(ensemble.conformers)
    if settings.relax != "none" or settings.energy_window is not None:
        selection = _drop(ensemble, _energies(ensemble, settings), selection)
    if settings.energy_window is not None and ensemble.energies:
        lowest = min(ensemble.energies)
        keep = [e - lowest <= settings.energy_window for e in ensemble.energies]
        selection = _drop(ensemble, keep, selection)
    if settings.prune > 0 and len(ensemble.conformers) > 1:
        distances = pairwise_rmsd(ensemble.mol, np.stack(ensemble.positions))
        selection = _drop(ensemble, distinct(distances, settings.prune), selection)
    if selection is not None and selection.picked:
        ensemble.conformers = [
            replace(conformer, population=float(population), spread=float(spread))
            for conformer, population, spread in zip(ensemble.conformers, *selection.shares(), strict=True)
        ]


def _drop(ensemble: Ensemble, keep: Sequence[bool], selection: Selection | None) -> Selection | None:
    """Drop conformers from the ensemble, in place, and from the selection they came from."""
    ensemble.conformers = [c for c, good in zip(ensemble.conformers, keep, strict=True) if good]
    return None if selection is None else selection.only(keep)


def _energies(ensemble: Ensemble, settings: Settings) -> list[bool]:
    """Give conformers energies, relaxed if asked; returns which came through sound."""
    mol, done = ensemble.mol, list[Conformer]()
    try:
        for conformer in ensemble.conformers:
            if settings.relax == "none":
                done.append(replace(conformer, energy=mmff_energy(mol, conformer.positions)))
            else:
                positions, energy = relax(mol, conformer.positions, settings.relax)
                done.append(replace(conformer, positions=positions, energy=energy))
    except InputError as error:
        ensemble.problem = str(error)
        return [True] * len(ensemble.conformers)
    ensemble.conformers = done
    keep = [settings.relax == "none" or sound(mol, conformer.positions) for conformer in done]
    if broken := keep.count(False):
        ensemble.missing += broken
        ensemble.problem = f"{settings.relax} relaxation broke {broken} conformers; they were not written"
    return keep
