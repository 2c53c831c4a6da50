"""What can be asked of the conformer generator, and the defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

from rdkit.Chem import Mol, rdMolDescriptors

from scoregen.core.solvers import SOLVERS as CORE_SOLVERS
from scoregen.errors import require

from .relax import METHODS
from .vocabulary import THEORIES

SINGLE_STARTS = ("noise", "etkdg", "mmff")
INITS = ("auto", "mix", *SINGLE_STARTS)
RANKS = ("none", "energy", "likelihood", "population")

STEPS = {"noise": 15, "etkdg": 6, "mmff": 6}
"""Network calls of a draw, by its start."""

SIGMA = {"etkdg": 0.5, "mmff": 0.2}
"""Noise level to which a start is noised, Å in the harmonic metric: about what is wrong with it."""

THEORY = "gfn2"
"""Kind of geometry asked of models that know it (``theory="auto"``)."""

RELAX_SECONDS = 600.0
"""Limit of one GFN2-xTB relaxation."""

RETRY = (1.0, 1.0, 0.5, 0.5, 0.25, 0.1)
"""Noise levels of successive tries from a start, relative to the first: less noise keeps more of it."""

FALLBACK = 3
"""Tries from another start, where the settings allow one, after the first start's tries are spent."""

DRAWS = ((20, 4.0), (60, 2.0), (math.inf, 1.0))
"""Geometries drawn for each conformer kept, for at most so many conformers: a few should be chosen well."""

STRAIN = 10.0
"""kcal/mol (MMFF94s) above the lowest start; what lies higher is left out where more are drawn than kept."""

FEW = 20
"""Up to so many conformers ``init="auto"`` starts from relaxed geometries alone. Where more are asked for,
every second start stays as embedded: what a protein or a crystal holds is often no minimum in vacuum."""

MIX = ("mmff", "etkdg", "noise")
"""Starts of ``init="mix"``, in turn."""

COUNTS = ((7, 50), (12, 200), (math.inf, 300))
"""``n="auto"``: conformers for molecules of at most so many rotatable bonds (Ebejer, Morris & Deane 2012)."""

AUTO_PRUNE = 0.5
"""Å; what programs for drug-like molecules take conformers to be duplicates below (OMEGA, CONFORGE)."""

AUTO_WINDOW = 6.0
"""kcal/mol; bound ligands are rarely strained by more (Perola & Charifson 2004)."""

# Two network calls a step, the second at a time off the grid: the estimate that self-conditioning keeps from
# call to call would then belong to another step.
_TWO_CALLS = ("heun", "dpmpp-2s", "heun-churn", "pc")
SOLVERS = tuple(name for name in CORE_SOLVERS if name not in _TWO_CALLS)


@dataclass(frozen=True)
class Settings:
    """What is asked of the generator.

    Args:
        n: conformers of each molecule, or ``"auto"``: 50, 200 or 300 by its rotatable bonds (:data:`COUNTS`).
        draws: geometries drawn for each conformer kept; with more than 1 the conformers are the medoids of
            what was drawn, with ``population`` and ``spread``. None: :data:`DRAWS`, and 1 with ``n="auto"``.
        seed: any integer; the same seed gives the same conformers, alone or among others.
        steps: network calls of a draw; None takes the default of the start, :data:`STEPS`.
        init: ``"noise"`` starts from pure noise; ``"etkdg"`` noises an ETKDG geometry to ``sigma`` and
            denoises it; ``"mmff"`` relaxes the ETKDG geometry with MMFF94s before (where there are
            parameters and the stereo survives). Several joined by ``+`` take turns: ``"mmff+noise"``.
            ``"auto"`` is ``"mmff"``, and ``"mmff+etkdg"`` for more than :data:`FEW` conformers or
            ``theory="experiment"``; ``"mix"`` is :data:`MIX`. Both take another start where one fails.
        sigma: noise level of starts that are geometries, Å in the harmonic metric; None is :data:`SIGMA`.
        solver: integration rule, one of :data:`SOLVERS`.
        theory: the kind of reference geometry asked for, one of
            :data:`~scoregen.molecules.vocabulary.THEORIES`, or ``"auto"``; models that were not trained to be
            told ignore it.
        relax: ``"none"``, ``"mmff"`` or ``"gfn2"``: relaxation after drawing.
        rank: order of the conformers: ``"none"`` (as drawn or picked), ``"energy"`` (of the relaxation, else
            MMFF94s), ``"likelihood"`` (of the model) or ``"population"``.
        prune: drop a conformer nearer than this to a better-ranked one (Å, symmetric heavy-atom RMSD); None
            is 0, with ``n="auto"`` :data:`AUTO_PRUNE`.
        energy_window: drop conformers this far (kcal/mol) above the lowest; None keeps all, but with
            ``n="auto"`` and energies at hand it is :data:`AUTO_WINDOW`.
        tries: draws of each conformer before its start is given up.

    Raises:
        InputError: a value out of range.
    """

    n: int | str = 1
    draws: float | None = None
    seed: int = 0
    steps: int | None = None
    init: str = "auto"
    sigma: float | None = None
    solver: str = "dpmpp-2m"
    theory: str = "auto"
    relax: str = "none"
    rank: str = "none"
    prune: float | None = None
    energy_window: float | None = None
    tries: int = len(RETRY)

    def __post_init__(self) -> None:
        count = self.n == "auto" or (isinstance(self.n, Integral) and self.n >= 1)
        starts = self.init in INITS or set(self.init.split("+")) <= set(SINGLE_STARTS)
        checks = (
            (count, f"-n must be at least 1, or auto; got {self.n}"),
            (
                self.draws is None or 1 <= self.draws <= 100,
                f"--draws must be between 1 and 100, got {self.draws}",
            ),
            (self.steps is None or self.steps >= 1, f"--steps must be at least 1, got {self.steps}"),
            (starts, f"--init '{self.init}' is not one of {', '.join(INITS)}, or several joined by +"),
            (self.sigma is None or self.sigma > 0, f"--sigma must be positive, got {self.sigma}"),
            (self.solver in SOLVERS, f"--solver '{self.solver}' is not one of {', '.join(SOLVERS)}"),
            (
                self.theory in ("auto", *THEORIES),
                f"--theory '{self.theory}' is not one of auto, {', '.join(THEORIES)}",
            ),
            (self.relax in METHODS, f"--relax '{self.relax}' is not one of {', '.join(METHODS)}"),
            (self.rank in RANKS, f"--rank '{self.rank}' is not one of {', '.join(RANKS)}"),
            (
                self.rank != "population" or self.oversampling > 1,
                "--rank population counts draws: ask for more than are kept, e.g. --draws 4",
            ),
            (self.prune is None or self.prune >= 0, f"--prune must be 0 or more Å, got {self.prune}"),
            (
                self.energy_window is None or self.energy_window > 0,
                f"--energy-window must be positive kcal/mol, got {self.energy_window}",
            ),
            (self.tries >= 1, f"tries must be at least 1, got {self.tries}"),
        )
        require(checks)

    def count(self, mol: Mol) -> int:
        """Conformers wanted of ``mol``."""
        if isinstance(self.n, Integral):
            return self.n
        rotors = rdMolDescriptors.CalcNumRotatableBonds(mol)
        return next(count for most, count in COUNTS if rotors <= most)

    def drawn(self, mol: Mol) -> int:
        """Geometries to draw of ``mol``."""
        return math.ceil(self.count(mol) * self.oversampling - 1e-9)

    @property
    def oversampling(self) -> float:
        """Geometries drawn for each conformer kept."""
        if self.draws is not None:
            return self.draws
        return 1.0 if isinstance(self.n, str) else next(draws for most, draws in DRAWS if self.n <= most)

    @property
    def key(self) -> str:
        """Everything here that decides what comes out, the defaults included."""
        defaults = (STEPS, SIGMA, RETRY, FALLBACK, DRAWS, STRAIN, FEW, MIX, COUNTS, AUTO_PRUNE, AUTO_WINDOW)
        return repr((self, defaults))

    @property
    def starts(self) -> tuple[str, ...]:
        """Starts of successive draws, in turn."""
        if self.init == "auto":
            many = not isinstance(self.n, Integral) or self.n > FEW
            return ("mmff", "etkdg") if many or self.theory == "experiment" else ("mmff",)
        return MIX if self.init == "mix" else tuple(self.init.split("+"))

    @property
    def falls_back(self) -> bool:
        """Whether another start may be taken where one fails."""
        return self.init == "auto" or len(set(self.starts)) > 1

    @property
    def energetic(self) -> bool:
        """Whether energies are computed."""
        return self.relax != "none" or self.energy_window is not None or self.rank == "energy"

    @property
    def threshold(self) -> float:
        """RMSD below which two conformers are duplicates, Å; 0 keeps all."""
        return self.prune if self.prune is not None else AUTO_PRUNE if self.n == "auto" else 0.0

    @property
    def window(self) -> float:
        """Energy window, kcal/mol."""
        if self.energy_window is not None:
            return self.energy_window
        return AUTO_WINDOW if self.n == "auto" else math.inf
