"""Drawing sound geometries: slots that are drawn again until they pass the checks or are given up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.core.sampling import NonFiniteSample

from .chem import canonical_smiles
from .ensemble import Conformer, Ensemble
from .features import featurise
from .graph import MoleculeData, molecule_data
from .sampler import Draw, Schedule, draw_positions, sample_key
from .settings import FALLBACK, RETRY, SIGMA, STEPS, Settings
from .starts import Start, make_starts
from .stereo import sound


@dataclass(frozen=True)
class _Attempt:
    """One try at a geometry: from a start, noised to a share of its usual level, or from noise (None)."""

    start: Start | None = None
    scale: float = 1.0


@dataclass
class _Slot:
    """One geometry still to be drawn: what is tried for it, in turn."""

    molecule: int
    number: int
    ladder: list[_Attempt] = field(default_factory=list)
    tries: int = 0
    found: Conformer | None = None

    @property
    def open(self) -> bool:
        return self.found is None and self.tries < len(self.ladder)


def draw(
    denoiser: Denoiser,
    ensembles: Sequence[Ensemble],
    settings: Settings,
    theory: str,
    on_done: Callable[[int, int], None] | None = None,
) -> None:
    """Fill ensembles in place with sound geometries, as far as draws pass the checks.

    Args:
        denoiser: the model.
        ensembles: the molecules, without conformers.
        settings: how many of each, and how to draw.
        theory: what the network is told.
        on_done: called with (geometries accepted or given up, all).
    """
    graphs = [molecule_data(featurise(e.mol), theory=theory) for e in ensembles]
    names = [canonical_smiles(e.mol) for e in ensembles]
    slots: list[_Slot] = []
    for i, ensemble in enumerate(ensembles):
        slots += _slots(i, ensemble, sample_key(names[i], settings.seed), settings)
    waiting = [slot for slot in slots if slot.open]
    used: set[tuple[int, int]] = set()
    while waiting:
        for slot, positions in _round(denoiser, waiting, graphs, names, settings):
            attempt = slot.ladder[slot.tries]
            slot.tries += 1
            if sound(ensembles[slot.molecule].mol, positions):
                slot.found = _drawn(positions, attempt.start)
            elif slot.tries == len(slot.ladder):
                slot.found = _unrefined(ensembles[slot.molecule].mol, slot, used)
        waiting = [slot for slot in waiting if slot.open]
        if on_done is not None:
            on_done(len(slots) - len(waiting), len(slots))
    for slot in slots:
        if slot.found is not None:
            ensembles[slot.molecule].conformers.append(slot.found)


def _slots(i: int, ensemble: Ensemble, seed: int, settings: Settings) -> list[_Slot]:
    """The geometries to draw of one molecule; none, and a problem, where there is no start as asked for."""
    count = settings.count(ensemble.mol)
    kinds = [settings.starts[k % len(settings.starts)] for k in range(count)]
    wanted = [kind for kind in kinds if kind != "noise"]
    starts = make_starts(ensemble.mol, wanted, seed, settings.oversampling)
    if wanted and not starts and not settings.falls_back:
        ensemble.problem = "ETKDG found no geometry to start from; use --init auto or noise"
        return []
    # Starts were chosen among more; what is drawn from noise is chosen among when it is drawn.
    from_noise = count - len(starts)
    kinds += ["noise"] * (math.ceil(from_noise * settings.oversampling - 1e-9) - from_noise)
    slots, queue = [], iter(starts)
    for number, kind in enumerate(kinds):
        start = None if kind == "noise" else next(queue, None)
        spare = starts[number % len(starts)] if starts else None
        slots.append(_Slot(i, number, _ladder(start, spare, settings)))
    return slots


def _ladder(start: Start | None, spare: Start | None, settings: Settings) -> list[_Attempt]:
    """Tries of one slot: from its start with less and less noise, then from the other kind of start."""
    from_noise = [_Attempt()]

    def refined(from_: Start, first: int, tries: int) -> list[_Attempt]:
        return [_Attempt(from_, RETRY[min(first + k, len(RETRY) - 1)]) for k in range(tries)]

    if start is not None:
        other = from_noise * FALLBACK if settings.falls_back else []
        return refined(start, 0, settings.tries) + other
    other = refined(spare, len(RETRY) - FALLBACK, FALLBACK) if spare and settings.falls_back else []
    return from_noise * settings.tries + other


def _unrefined(mol: Mol, slot: _Slot, used: set[tuple[int, int]]) -> Conformer | None:
    """The start itself: in some strained cages nothing else passes. Better than nothing, marked, and once."""
    for attempt in slot.ladder:
        if attempt.start is None:
            continue
        key = (slot.molecule, id(attempt.start.positions))
        if key not in used and sound(mol, attempt.start.positions):
            used.add(key)
            found = _drawn(attempt.start.positions, attempt.start)
            return replace(found, init=f"{found.init}-unrefined")
    return None


def _drawn(positions: np.ndarray, start: Start | None) -> Conformer:
    if start is None:
        return Conformer(positions, "noise")
    return Conformer(positions, start.kind, population=start.population, spread=start.spread)


def _round(
    denoiser: Denoiser,
    waiting: Sequence[_Slot],
    graphs: Sequence[MoleculeData],
    names: Sequence[str],
    settings: Settings,
) -> list[tuple[_Slot, np.ndarray]]:
    """Draw every waiting slot once, those of one schedule together."""
    drawn: list[tuple[_Slot, np.ndarray]] = []
    groups: dict[tuple[Schedule, bool], list[_Slot]] = {}
    for slot in waiting:
        attempt = slot.ladder[slot.tries]
        key = _schedule(denoiser, attempt, settings), attempt.start is None
        groups.setdefault(key, []).append(slot)
    for (schedule, _), slots in groups.items():
        draws = [
            Draw(
                graphs[slot.molecule],
                sample_key(names[slot.molecule], slot.number, slot.tries),
                attempt.start.positions if (attempt := slot.ladder[slot.tries]).start else None,
            )
            for slot in slots
        ]
        drawn += zip(slots, _drawn_each(denoiser, draws, schedule, settings.seed), strict=True)
    return drawn


def _drawn_each(denoiser: Denoiser, draws: list[Draw], schedule: Schedule, seed: int) -> list[np.ndarray]:
    """Positions of every draw, ``(N, 3)``; one that is not finite comes out as NaN and costs no other."""
    try:
        return draw_positions(denoiser, draws, schedule, seed)
    except NonFiniteSample:
        if len(draws) == 1:
            return [np.full((int(draws[0].data.num_nodes), 3), np.nan)]
        half = len(draws) // 2
        return [
            *_drawn_each(denoiser, draws[:half], schedule, seed),
            *_drawn_each(denoiser, draws[half:], schedule, seed),
        ]


def _schedule(denoiser: Denoiser, attempt: _Attempt, settings: Settings) -> Schedule:
    if attempt.start is None:
        return Schedule(settings.steps or STEPS["noise"], denoiser.sde.t_max, settings.solver)
    kind = attempt.start.kind
    least = 2 * float(denoiser.sde.t_min)  # there must be room for a step below the last retry's level
    sigma = max((settings.sigma or SIGMA[kind]) * attempt.scale, least)
    return Schedule(settings.steps or STEPS[kind], sigma, settings.solver)
