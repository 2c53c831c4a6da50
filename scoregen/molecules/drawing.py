"""Drawing sound geometries: slots that are drawn again until they pass the checks or are given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser

from .chem import canonical_smiles
from .ensemble import Conformer, Ensemble
from .etkdg import embed
from .features import featurise
from .graph import MoleculeData, molecule_data
from .sampler import Draw, Schedule, draw_positions, sample_key
from .settings import RETRY, Settings
from .stereo import geometry_ok, stereo_matches


@dataclass
class _Slot:
    """One geometry still to be drawn."""

    molecule: int
    conformer: int
    start: np.ndarray | None = None
    tries: int = 0


def sound(mol: Mol, positions: np.ndarray) -> bool:
    """Whether a geometry may be written: every stated stereo element, no broken bond, no clash."""
    return geometry_ok(mol, positions) and stereo_matches(mol, positions)


def draw(
    denoiser: Denoiser,
    ensembles: Sequence[Ensemble],
    counts: Sequence[int],
    settings: Settings,
    on_done: Callable[[int, int], None] | None = None,
) -> None:
    """Fill ensembles in place with sound geometries, as far as draws pass the checks.

    Args:
        denoiser: the model.
        ensembles: the molecules, without conformers.
        counts: geometries wanted of each.
        settings: how to draw.
        on_done: called with (geometries accepted or given up, all).
    """
    graphs = [molecule_data(featurise(e.mol)) for e in ensembles]
    names = [canonical_smiles(e.mol) for e in ensembles]
    found: dict[tuple[int, int], Conformer] = {}
    waiting = [
        slot
        for i, ensemble in enumerate(ensembles)
        for slot in _slots(i, ensemble, names[i], counts[i], settings)
    ]
    total = len(waiting)
    while waiting:
        for slot, positions in _round(denoiser, waiting, graphs, names, settings):
            mol = ensembles[slot.molecule].mol
            slot.tries += 1
            if sound(mol, positions):
                origin = "noise" if slot.start is None else "etkdg"
                found[slot.molecule, slot.conformer] = Conformer(positions, origin)
            elif slot.tries == settings.tries and slot.start is not None and sound(mol, slot.start):
                # In some strained cages only the start itself passes: better than nothing, and marked.
                found[slot.molecule, slot.conformer] = Conformer(slot.start, "etkdg-unrefined")
        waiting = [s for s in waiting if (s.molecule, s.conformer) not in found and s.tries < settings.tries]
        if on_done is not None:
            on_done(total - len(waiting), total)
    for molecule, conformer in sorted(found):
        ensembles[molecule].conformers.append(found[molecule, conformer])


def _slots(i: int, ensemble: Ensemble, name: str, count: int, settings: Settings) -> list[_Slot]:
    """The draws to make for one molecule; none, and a problem, where ETKDG is asked for and fails."""
    slots = [_Slot(i, k) for k in range(count)]
    if settings.init == "noise":
        return slots
    from_etkdg = slots[::2] if settings.init == "mix" else slots
    starts = embed(ensemble.mol, len(from_etkdg), sample_key(name, settings.seed))
    if not starts and settings.init == "etkdg":
        ensemble.problem = "ETKDG found no geometry to start from; use --init auto or noise"
        return []
    # Where ETKDG found fewer than asked for, starts repeat: the noise still differs.
    for k, slot in enumerate(from_etkdg):
        slot.start = starts[k % len(starts)] if starts else None
    return slots


def _round(
    denoiser: Denoiser,
    waiting: Sequence[_Slot],
    graphs: Sequence[MoleculeData],
    names: Sequence[str],
    settings: Settings,
) -> list[tuple[_Slot, np.ndarray]]:
    """Draw every waiting slot once, those of one schedule together."""
    drawn: list[tuple[_Slot, np.ndarray]] = []
    groups: dict[Schedule, list[_Slot]] = {}
    for slot in waiting:
        groups.setdefault(_schedule(denoiser, slot, settings), []).append(slot)
    for schedule, slots in groups.items():
        draws = [
            Draw(graphs[s.molecule], sample_key(names[s.molecule], s.conformer, s.tries), s.start)
            for s in slots
        ]
        positions = draw_positions(denoiser, draws, schedule, settings.seed)
        drawn += zip(slots, positions, strict=True)
    return drawn


def _schedule(denoiser: Denoiser, slot: _Slot, settings: Settings) -> Schedule:
    if slot.start is None:
        return Schedule(settings.steps or 15, denoiser.sde.t_max)
    return Schedule(settings.steps or 6, settings.sigma * RETRY[min(slot.tries, len(RETRY) - 1)])
