"""3D conformers of molecules from a trained denoiser, with the stated stereo in every one.

A geometry is kept only if it shows every stereo element the input states and no broken bond or clash;
otherwise it is drawn again with fresh noise, a limited number of times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.hub import Model, from_pretrained

from .chem import canonical_smiles, standardise
from .etkdg import embed
from .features import featurise
from .graph import MoleculeData, molecule_data
from .metrics import rmsd_matrix
from .relax import METHODS, mmff_energy, relax
from .sampler import Draw, Schedule, draw_positions, sample_key
from .stereo import geometry_ok, stereo_matches, with_positions

INITS = ("auto", "etkdg", "noise", "mix")

# Noise levels of successive tries from ETKDG, relative to the first: less noise keeps more of the start.
_RETRY = (1.0, 1.0, 0.5, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class Settings:
    """What is asked of the generator.

    Args:
        n: conformers of each molecule.
        seed: any integer; the same seed gives the same conformers, alone or among others.
        steps: network calls of a draw; None takes the default of the start (15 from noise, 6 from ETKDG).
        init: ``"noise"`` starts from pure noise; ``"etkdg"`` noises an ETKDG geometry to ``sigma`` and
            denoises it; ``"auto"`` is ``"etkdg"`` where RDKit embeds the molecule and ``"noise"`` elsewhere;
            ``"mix"`` is ``"auto"`` with every second conformer from noise: the two starts find different
            conformers.
        sigma: noise level of the ETKDG start, Å in the harmonic metric.
        relax: ``"none"``, ``"mmff"`` or ``"gfn2"``: relaxation after drawing.
        prune: drop a conformer nearer than this to an earlier one (Å, symmetric heavy-atom RMSD).
        energy_window: drop conformers this far (kcal/mol) above the lowest; None keeps all.
        tries: draws of each conformer before it is given up.

    Raises:
        InputError: a value out of range.
    """

    n: int = 1
    seed: int = 0
    steps: int | None = None
    init: str = "auto"
    sigma: float = 0.5
    relax: str = "none"
    prune: float = 0.0
    energy_window: float | None = None
    tries: int = len(_RETRY)

    def __post_init__(self) -> None:
        checks = (
            (self.n >= 1, f"-n must be at least 1, got {self.n}"),
            (self.steps is None or self.steps >= 1, f"--steps must be at least 1, got {self.steps}"),
            (self.init in INITS, f"--init '{self.init}' is not one of {', '.join(INITS)}"),
            (self.sigma > 0, f"sigma must be positive, got {self.sigma}"),
            (self.relax in METHODS, f"--relax '{self.relax}' is not one of {', '.join(METHODS)}"),
            (self.prune >= 0, f"--prune must be 0 or more Å, got {self.prune}"),
            (
                self.energy_window is None or self.energy_window > 0,
                f"--energy-window must be positive kcal/mol, got {self.energy_window}",
            ),
            (self.tries >= 1, f"tries must be at least 1, got {self.tries}"),
        )
        for good, message in checks:
            if not good:
                raise InputError(message)


@dataclass
class Ensemble:
    """Conformers of one molecule.

    Args:
        mol: the graph, hydrogens explicit, without coordinates.
        positions: ``(N, 3)`` Å each, in the order drawn.
        energies: kcal/mol each; empty where none was computed.
        missing: conformers asked for that never passed the checks.
        init: how each one was made: ``noise``, ``etkdg``, or ``etkdg-unrefined``: the start itself, where no
            draw passed the checks.
        problem: why something is missing, or None.
    """

    mol: Mol
    positions: list[np.ndarray] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    missing: int = 0
    problem: str | None = None


@dataclass
class _Slot:
    """One conformer still to be drawn."""

    molecule: int
    conformer: int
    start: np.ndarray | None = None
    tries: int = 0


class ConformerGenerator:
    """Generate conformers with a trained model.

    Example:
        >>> generator = ConformerGenerator.from_pretrained("conformer-small")         # doctest: +SKIP
        >>> mols = generator.generate("CC(=O)Oc1ccccc1C(=O)O", n=5, seed=0)           # doctest: +SKIP
    """

    def __init__(self, denoiser: Denoiser, name: str = "custom"):
        self.denoiser, self.name = denoiser, name

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = "conformer-small", device: str = "cpu"
    ) -> ConformerGenerator:
        """Load a shipped model by name, or a model folder by path.

        Raises:
            InputError: not found, damaged, or of another modality.
        """
        model: Model = from_pretrained(name, "molecules", device)
        return cls(model.denoiser, model.name)

    def generate(self, molecule: str | Mol, n: int = 1, *, seed: int = 0, **settings: object) -> list[Mol]:
        """Conformers of one molecule, each an RDKit molecule with hydrogens and one conformer.

        Args:
            molecule: SMILES or RDKit molecule; stated stereo is kept, open stereo is free.
            n: conformers wanted.
            seed: any integer.
            settings: further fields of :class:`Settings`.

        Returns:
            At most ``n`` molecules: pruning, the energy window and the stereo check may leave fewer.

        Raises:
            InputError: the molecule cannot be used, a setting is out of range, or nothing passed the checks.
        """
        ensemble = self.ensembles([standardise(molecule)], Settings(n=n, seed=seed, **settings))[0]  # type: ignore[arg-type]
        if not ensemble.positions:
            raise InputError(ensemble.problem or "no conformer was generated")
        return [with_positions(ensemble.mol, positions) for positions in ensemble.positions]

    def ensembles(
        self,
        molecules: Sequence[Mol],
        settings: Settings,
        on_done: Callable[[int, int], None] | None = None,
    ) -> list[Ensemble]:
        """Conformers of many molecules, drawn in shared batches.

        Args:
            molecules: from :func:`scoregen.molecules.chem.standardise`.
            settings: what is wanted.
            on_done: called with (conformers accepted or given up, all).
        """
        ensembles = [Ensemble(mol) for mol in molecules]
        self._draw(ensembles, settings, on_done)
        for ensemble in ensembles:
            ensemble.missing = settings.n - len(ensemble.positions)
            if ensemble.missing and ensemble.problem is None:
                ensemble.problem = (
                    f"{ensemble.missing} of {settings.n} conformers failed the stereo and geometry checks "
                    f"{settings.tries} times and were not written; try another --seed or --init"
                )
            self._finish(ensemble, settings)
        return ensembles

    def _draw(
        self,
        ensembles: list[Ensemble],
        settings: Settings,
        on_done: Callable[[int, int], None] | None,
    ) -> None:
        """Fill the ensembles in place, as far as draws pass the checks."""
        graphs = [molecule_data(featurise(e.mol)) for e in ensembles]
        names = [canonical_smiles(e.mol) for e in ensembles]
        found: dict[tuple[int, int], tuple[np.ndarray, str]] = {}
        waiting = [
            slot
            for i, ensemble in enumerate(ensembles)
            for slot in self._slots(i, ensemble, names[i], settings)
        ]
        total = len(waiting)
        while waiting:
            for slot, positions in self._round(waiting, graphs, names, settings):
                mol = ensembles[slot.molecule].mol
                slot.tries += 1
                if sound(mol, positions):
                    origin = "noise" if slot.start is None else "etkdg"
                    found[slot.molecule, slot.conformer] = (positions, origin)
                elif slot.tries == settings.tries and slot.start is not None and sound(mol, slot.start):
                    # In some strained cages only the start itself passes: better than nothing, and marked.
                    found[slot.molecule, slot.conformer] = (slot.start, "etkdg-unrefined")
            waiting = [
                s for s in waiting if (s.molecule, s.conformer) not in found and s.tries < settings.tries
            ]
            if on_done is not None:
                on_done(total - len(waiting), total)
        for molecule, conformer in sorted(found):
            positions, origin = found[molecule, conformer]
            ensembles[molecule].positions.append(positions)
            ensembles[molecule].init.append(origin)

    def _slots(self, i: int, ensemble: Ensemble, name: str, settings: Settings) -> list[_Slot]:
        """The draws to make for one molecule; none, and a problem, where ETKDG is asked for and fails."""
        slots = [_Slot(i, k) for k in range(settings.n)]
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
        self,
        waiting: Sequence[_Slot],
        graphs: Sequence[MoleculeData],
        names: Sequence[str],
        settings: Settings,
    ) -> list[tuple[_Slot, np.ndarray]]:
        """Draw every waiting slot once, those of one schedule together."""
        drawn: list[tuple[_Slot, np.ndarray]] = []
        groups: dict[Schedule, list[_Slot]] = {}
        for slot in waiting:
            groups.setdefault(self._schedule(slot, settings), []).append(slot)
        for schedule, slots in groups.items():
            draws = [
                Draw(graphs[s.molecule], sample_key(names[s.molecule], s.conformer, s.tries), s.start)
                for s in slots
            ]
            positions = draw_positions(self.denoiser, draws, schedule, settings.seed)
            drawn += zip(slots, positions, strict=True)
        return drawn

    def _schedule(self, slot: _Slot, settings: Settings) -> Schedule:
        if slot.start is None:
            return Schedule(settings.steps or 15, self.denoiser.sde.t_max)
        return Schedule(settings.steps or 6, settings.sigma * _RETRY[min(slot.tries, len(_RETRY) - 1)])

    def _finish(self, ensemble: Ensemble, settings: Settings) -> None:
        """Relax, drop what lies outside the energy window, prune near-duplicates."""
        if settings.relax != "none" or settings.energy_window is not None:
            self._energies(ensemble, settings)
        if settings.energy_window is not None and ensemble.energies:
            lowest = min(ensemble.energies)
            _keep(ensemble, [e - lowest <= settings.energy_window for e in ensemble.energies])
        if settings.prune > 0 and len(ensemble.positions) > 1:
            _keep(ensemble, distinct(ensemble.mol, ensemble.positions, settings.prune))

    def _energies(self, ensemble: Ensemble, settings: Settings) -> None:
        mol = ensemble.mol
        kept: list[np.ndarray] = []
        energies: list[float] = []
        init: list[str] = []
        try:
            for positions, start in zip(ensemble.positions, ensemble.init, strict=True):
                if settings.relax == "none":
                    kept.append(positions)
                    energies.append(mmff_energy(mol, positions))
                    init.append(start)
                    continue
                relaxed, energy = relax(mol, positions, settings.relax)
                if sound(mol, relaxed):
                    kept.append(relaxed)
                    energies.append(energy)
                    init.append(start)
        except InputError as error:
            ensemble.problem = str(error)
            return
        if broken := len(ensemble.positions) - len(kept):
            ensemble.missing += broken
            ensemble.problem = f"{settings.relax} relaxation broke {broken} conformers; they were not written"
        ensemble.positions, ensemble.energies, ensemble.init = kept, energies, init


def sound(mol: Mol, positions: np.ndarray) -> bool:
    """Whether a geometry may be written: every stated stereo element, no broken bond, no clash."""
    return geometry_ok(mol, positions) and stereo_matches(mol, positions)


def distinct(mol: Mol, positions: Sequence[np.ndarray], threshold: float) -> list[bool]:
    """Whether each geometry is ``threshold`` Å or more (symmetric heavy-atom RMSD) from all kept before."""
    keep = [True] * len(positions)
    if mol.GetNumHeavyAtoms() < 2:
        return [i == 0 for i in range(len(positions))]
    for i in range(1, len(positions)):
        earlier = np.stack([positions[j] for j in range(i) if keep[j]])
        keep[i] = bool(rmsd_matrix(mol, earlier, mol, positions[i][None]).min() >= threshold)
    return keep


def _keep(ensemble: Ensemble, mask: Sequence[bool]) -> None:
    ensemble.positions = [p for p, keep in zip(ensemble.positions, mask, strict=True) if keep]
    ensemble.init = [p for p, keep in zip(ensemble.init, mask, strict=True) if keep]
    if ensemble.energies:
        ensemble.energies = [p for p, keep in zip(ensemble.energies, mask, strict=True) if keep]
