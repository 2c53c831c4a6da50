"""What is asked of the candidate generator."""

from __future__ import annotations

from dataclasses import dataclass

from rdkit.Chem import Mol

from scoregen.errors import InputError, require

from .filters import Filter
from .kept import Link, Scaffold
from .targets import Target

STEPS = 100
"""Network calls of a draw."""


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Args:
        n: candidates.
        seed: any integer; the same seed gives the same candidates.
        steps: network calls of a draw.
        atoms: fewest and most heavy atoms; None draws sizes as the training molecules have them. With a
            scaffold they count its atoms.
        targets: properties wanted; the model is told, and what it made is measured.
        guidance: how much the targets count: 1 is what the model learned, more goes beyond.
        scaffold: atoms to keep, or two fragments to link.
        similar: a molecule to vary.
        strength: how far variations may go, 0 … 1.
        filters: reasons to drop a candidate.
        duplicates: keep a molecule as often as it comes.
        temperature: of the estimated probabilities; below 1 the likelier counts more.
        tries: draws in all, for each candidate wanted, before the rest is given up.

    Raises:
        InputError: a value out of range, or wishes that exclude each other.
    """

    n: int = 1
    seed: int = 0
    steps: int = STEPS
    atoms: tuple[int, int] | None = None
    targets: tuple[Target, ...] = ()
    guidance: float = 2.0
    scaffold: Scaffold | Link | None = None
    similar: Mol | None = None
    strength: float = 0.5
    filters: tuple[Filter, ...] = ()
    duplicates: bool = False
    temperature: float = 1.0
    tries: int = 20

    def __post_init__(self) -> None:
        require(
            [
                (self.n >= 1, f"-n must be at least 1, got {self.n}"),
                (self.steps >= 2, f"--steps must be at least 2, got {self.steps}"),
                (self.guidance >= 0, f"--guidance must not be negative, got {self.guidance:g}"),
                (0 < self.strength <= 1, f"--strength must lie above 0 and up to 1, got {self.strength:g}"),
                (self.temperature > 0, f"temperature must be positive, got {self.temperature:g}"),
                (self.tries >= 1, f"--tries must be at least 1, got {self.tries}"),
            ]
        )
        if self.similar is not None and (self.scaffold is not None or self.atoms is not None):
            raise InputError(
                "--similar varies a whole molecule: leave out --scaffold, --link and --atoms with it"
            )
