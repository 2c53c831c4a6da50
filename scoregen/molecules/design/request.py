"""What is asked of the candidate generator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rdkit.Chem import Mol

from scoregen.errors import InputError, require

from .bridge import HARD
from .descriptors import describe
from .filters import Filter
from .kept import Link, Scaffold
from .overlay import Overlay
from .scores import Score
from .selection import Selection
from .targets import Target, misses

STRONGEST = 100.0
"""Weight of the targets from which guidance is surely a slip; far beyond, estimates overflow."""

SELECTION = Selection()
"""Draws compete wherever there is something to compete in."""


def competing(particles: int) -> Selection | None:
    """The usual selection in groups of so many draws; None for 1.

    Raises:
        InputError: fewer than one.
    """
    if particles < 1:
        raise InputError(f"--particles must be at least 1, got {particles}")
    return None if particles == 1 else replace(SELECTION, particles=particles)


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Args:
        n: candidates.
        seed: any integer; the same seed gives the same candidates.
        steps: network calls of a draw; None for what the model does unasked.
        atoms: fewest and most heavy atoms; None draws sizes as the training molecules have them. With a
            scaffold they count its atoms.
        targets: properties wanted; the model is told, and what it made is measured.
        guidance: how much the targets count: 1 is what the model learned, more goes beyond.
        score: a function of a molecule to make large, beside the targets or without them.
        shape: a shape to resemble; only where the model draws coordinates.
        selection: of draws by targets and score while they are drawn; None for none.
        scaffold: atoms to keep, or two fragments to link.
        similar: a molecule to vary.
        strength: how far variations may go, 0 … 1.
        filters: reasons to drop a candidate.
        duplicates: keep a molecule as often as it comes.
        temperature: of the estimated probabilities; below 1 the likelier counts more.
        bridge: noise of categories above which draws that do not compete go along the bridge to a sample
            (:class:`~scoregen.molecules.design.bridge.Bridged`): the lower, the more diverse, and the
            less often valid. None leaves it to the model, ∞ is never.
        tries: draws in all, for each candidate wanted, before the rest is given up.

    Raises:
        InputError: a value out of range, or wishes that exclude each other.
    """

    n: int = 1
    seed: int = 0
    steps: int | None = None
    atoms: tuple[int, int] | None = None
    targets: tuple[Target, ...] = ()
    guidance: float = 1.0
    score: Score | None = None
    shape: Overlay | None = None
    selection: Selection | None = SELECTION
    scaffold: Scaffold | Link | None = None
    similar: Mol | None = None
    strength: float = 0.5
    filters: tuple[Filter, ...] = ()
    duplicates: bool = False
    temperature: float = 1.0
    bridge: float | None = None
    tries: int = 20

    def __post_init__(self) -> None:
        require(
            [
                (self.n >= 1, f"-n must be at least 1, got {self.n}"),
                (self.steps is None or self.steps >= 2, f"--steps must be at least 2, got {self.steps}"),
                (
                    0 <= self.guidance <= STRONGEST,
                    f"--guidance must lie in 0 … {STRONGEST:g}, got {self.guidance:g}",
                ),
                (0 < self.strength <= 1, f"--strength must lie above 0 and up to 1, got {self.strength:g}"),
                (self.temperature > 0, f"temperature must be positive, got {self.temperature:g}"),
                (
                    self.bridge is None or self.bridge >= HARD,
                    f"bridge must be at least {HARD:g}, got {self.bridge}",
                ),
                (self.tries >= 1, f"--tries must be at least 1, got {self.tries}"),
            ]
        )
        if self.similar is not None and (self.scaffold is not None or self.atoms is not None):
            raise InputError(
                "--similar varies a whole molecule: leave out --scaffold, --link and --atoms with it"
            )

    @property
    def scores(self) -> tuple[Score, ...]:
        """What draws compete in: nearness to the targets, likeness in shape, and the score."""
        if self.selection is None:
            return ()
        nearness = self._nearness if self.targets else None
        return tuple(score for score in (nearness, self.shape, self.score) if score is not None)

    @property
    def group(self) -> int:
        """Draws that compete with each other; 1 where none do."""
        return self.selection.particles if self.selection is not None and self.scores else 1

    def _nearness(self, mol: Mol) -> float:
        return -misses(describe(mol, [target.name for target in self.targets]), self.targets)
