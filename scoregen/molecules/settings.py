"""What can be asked of the conformer generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scoregen.errors import InputError

from .relax import METHODS

INITS = ("auto", "etkdg", "noise", "mix")

# Noise levels of successive tries from ETKDG, relative to the first: less noise keeps more of the start.
RETRY = (1.0, 1.0, 0.5, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class Settings:
    """What is asked of the generator.

    Args:
        n: conformers of each molecule.
        draws: geometries drawn for each conformer kept; with more than 1 the conformers are the medoids of
            what was drawn, with ``population`` and ``spread``.
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
    draws: float = 1.0
    seed: int = 0
    steps: int | None = None
    init: str = "auto"
    sigma: float = 0.5
    relax: str = "none"
    prune: float = 0.0
    energy_window: float | None = None
    tries: int = len(RETRY)

    def __post_init__(self) -> None:
        checks = (
            (self.n >= 1, f"-n must be at least 1, got {self.n}"),
            (1 <= self.draws <= 100, f"--draws must be between 1 and 100, got {self.draws}"),
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

    def drawn(self, n: int) -> int:
        """Geometries to draw for ``n`` conformers."""
        return math.ceil(n * self.draws - 1e-9)
