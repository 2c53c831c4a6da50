"""What a generator hands back: the conformers of one molecule and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from rdkit.Chem import Mol


@dataclass(frozen=True)
class Conformer:
    """One conformer.

    Args:
        positions: ``(N, 3)`` Å.
        init: what it was made from: ``noise``, ``etkdg``, ``mmff``; with ``-unrefined`` it is the start
            itself, where no draw passed the checks.
        raw: the geometry before relaxation, ``(N, 3)`` Å; None where it was not relaxed.
        energy: kcal/mol, where one was computed.
        log_likelihood: of the positions under the model, nats, where it was computed.
        population: share of the molecule's draws (or starts) nearest to this conformer, where more were made
            than kept.
        spread: RMS distance of those to it, Å: how well the draws agree on this conformer.
    """

    positions: np.ndarray
    init: str
    raw: np.ndarray | None = None
    energy: float | None = None
    log_likelihood: float | None = None
    population: float | None = None
    spread: float | None = None


@dataclass
class Ensemble:
    """Conformers of one molecule.

    Args:
        mol: the graph, hydrogens explicit, without coordinates.
        conformers: in the order they are to be written.
        missing: conformers asked for that never passed the checks.
        problem: why something is missing, or None.
    """

    mol: Mol
    conformers: list[Conformer] = field(default_factory=list)
    missing: int = 0
    problem: str | None = None

    def blame(self, reason: str) -> None:
        """Note a reason why something is missing, beside those noted before."""
        self.problem = reason if self.problem is None else f"{self.problem}; {reason}"

    @property
    def positions(self) -> list[np.ndarray]:
        """``(N, 3)`` Å each."""
        return [conformer.positions for conformer in self.conformers]

    @property
    def energies(self) -> list[float]:
        """kcal/mol each; empty where none was computed."""
        return [conformer.energy for conformer in self.conformers if conformer.energy is not None]

    @property
    def init(self) -> list[str]:
        """What each conformer was made from."""
        return [conformer.init for conformer in self.conformers]
