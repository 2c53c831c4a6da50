"""Candidates from a trained denoiser: molecular graphs that pass a strict check as they were drawn."""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.hub import find_model, from_pretrained
from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.sampler import sample_key

from .encode import decode
from .novelty import read_hashes
from .objective import CandidateModelConfig
from .request import Request
from .sampler import Draw, Schedule, draw_candidates
from .scores import Jury
from .shaping import allowances, draw_sizes, draw_values, seed_state, sizes_of_mass, walked
from .tokens import PROPERTIES, PROPERTY_SCALES
from .validity import kind, problem

BATCH = 256
"""Candidates drawn at once, at most."""

TRAINING = "training.npy"
"""File of a model folder: hashes of the molecules it was trained on, by which candidates are called new."""

# Streams of the generators of sizes and told values.
_SIZES, _VALUES = 21, 22


@dataclass
class Tally:
    """What became of the draws.

    Args:
        drawn: candidates drawn.
        invalid: those that failed the strict check, by reason.
        lost: those that did not keep what was to be kept.
        duplicates: valid ones seen before.
        filtered: those that a filter dropped, by reason.
        kept: candidates accepted.
    """

    drawn: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    duplicates: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    kept: int = 0

    @property
    def validity(self) -> float:
        """Share of the draws that passed the strict check; NaN without draws."""
        return 1 - self.invalid.total() / self.drawn if self.drawn else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return {
            "drawn": self.drawn,
            "validity": self.validity,
            "invalid": dict(self.invalid.most_common()),
            "lost": self.lost,
            "duplicates": self.duplicates,
            "filtered": dict(self.filtered.most_common()),
            "kept": self.kept,
        }


@dataclass(frozen=True)
class Candidate:
    """An accepted candidate.

    Args:
        mol: sanitised, hydrogens as counts; with positions of the heavy atoms where the model draws them.
        smiles: canonical.
        number: of the draw; with the seed it tells the candidate.
    """

    mol: Mol
    smiles: str
    number: int


class CandidateGenerator:
    """Generate molecules with a trained model.

    Example:
        >>> generator = CandidateGenerator.from_pretrained("design-qm9")              # doctest: +SKIP
        >>> mols = generator.generate(10, seed=0)                                     # doctest: +SKIP
    """

    def __init__(
        self,
        denoiser: Denoiser,
        config: CandidateModelConfig,
        name: str = "custom",
        info: Mapping[str, Any] | None = None,
        training: np.ndarray | None = None,
    ):
        """Wrap a denoiser.

        Args:
            denoiser: the model.
            config: its ``model`` section.
            name: for records.
            info: provenance of the model, with ``sizes``: how often each number of heavy atoms occurs.
            training: hashes of the molecules it was trained on (:mod:`~scoregen.molecules.design.novelty`).

        Raises:
            InputError: the model does not say which sizes it makes.
        """
        self.denoiser, self.config, self.name, self.info = denoiser, config, name, dict(info or {})
        if not self.info.get("sizes"):
            raise InputError(f"model '{name}' does not say how large its molecules are (info.sizes)")
        self.training = training
        self.sizes = {int(n): float(count) for n, count in self.info["sizes"].items()}

    @property
    def limits(self) -> tuple[int, int]:
        """Fewest and most heavy atoms that the model has learned to make."""
        return min(self.sizes), max(self.sizes)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = "design-druglike", device: str = "cpu"
    ) -> CandidateGenerator:
        """Load a shipped model by name, or a model folder by path.

        Raises:
            InputError: not found, damaged, or of another modality.
        """
        model = from_pretrained(name, "candidates", device)
        table = find_model(name) / TRAINING
        known = read_hashes(table) if table.is_file() else None
        return cls(model.denoiser, model.config, model.name, model.info, known)

    def hunt(self, request: Request) -> Hunt:
        """A hunt for candidates, to be taken in as many portions as wanted."""
        return Hunt(self, request)

    def graphs(
        self, request: Request, on_done: Callable[[int, int], None] | None = None
    ) -> tuple[list[Candidate], Tally]:
        """At most ``request.n`` accepted candidates, and what became of all draws; see :meth:`Hunt.take`."""
        hunt = self.hunt(request)
        return hunt.take(request.n, on_done), hunt.tally

    def _sizes_for(self, properties: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
        """How sizes go with the mass that is asked for, where one is."""
        place = PROPERTIES.index("mw")
        law = self.info.get("mass_per_atom")
        if law is None or not np.isfinite(properties[place]):
            return None
        centre, width = PROPERTY_SCALES[place]
        return sizes_of_mass(centre + width * float(properties[place]), law["mean"], law["std"])

    def _within(self, sizes: tuple[int, int]) -> tuple[int, int]:
        """Sizes of a reference, moved into what this model makes."""
        low, high = (min(max(size, self.limits[0]), self.limits[1]) for size in sizes)
        return low, high

    def draw(self, request: Request, first: int, count: int) -> list[Mol]:
        """Molecules as drawn, numbers ``first`` to ``first + count``: not checked, not sanitised.

        What a number gives does not depend on how many are drawn with it. Where draws compete they do so in
        groups of consecutive numbers, and whole groups are drawn.

        Raises:
            InputError: a wish that this model cannot serve, or a score that fails on every molecule.
        """
        coordinates = self.config.network.coordinates
        if request.shape is not None and not coordinates:
            raise InputError(f"--shape: model '{self.name}' draws no coordinates; choose one that does")
        seed = None if request.similar is None else seed_state(request.similar, coordinates)
        sigma = None
        if request.similar is not None:
            low, high = self.config.sigma_min, min(2.0, self.config.sigma_max)
            sigma = low * (high / low) ** (0.5 + 0.5 * request.strength)
        schedule = Schedule(
            steps=request.steps,
            temperature=request.temperature,
            guidance=request.guidance if request.targets else 1.0,
            sigma=sigma,
            selection=request.selection,
        )
        group = request.group
        begin, end = first - first % group, first + count + -(first + count) % group
        arrays = draw_candidates(
            self.denoiser,
            [self._draw(request, number, seed) for number in range(begin, end)],
            schedule,
            request.seed,
            coordinates=coordinates,
            jury=Jury(request.scores) if request.scores else None,
        )
        mols = [decode(a) for a in arrays[first - begin : first - begin + count]]
        if request.scaffold is None:
            return mols
        # Back from the order of the walk to the scaffold's own.
        place = np.argsort(walked(request.scaffold)[0]).tolist()
        rest = [range(len(place), mol.GetNumAtoms()) for mol in mols]
        return [Chem.RenumberAtoms(mol, [*place, *new]) for mol, new in zip(mols, rest, strict=True)]

    def _draw(self, request: Request, number: int, seed: Mapping[str, np.ndarray] | None) -> Draw:
        key = sample_key("candidate", number)
        leader = number - number % request.group  # those that compete are asked for the same
        properties = None
        if request.targets:
            rng = np.random.default_rng((_VALUES, abs(request.seed), leader))
            properties = draw_values(request.targets, 1, rng)[0]
        if seed is not None:
            return Draw(len(seed["token"]), key, properties, start=seed)
        rng = np.random.default_rng((_SIZES, abs(request.seed), leader))
        least = 2 if request.scaffold is None else request.scaffold.size + 1
        likely = None if properties is None else self._sizes_for(properties)
        atoms = request.atoms or (None if request.shape is None else self._within(request.shape.sizes))
        size = int(draw_sizes(self.sizes, atoms, least, 1, rng, likely)[0])
        if request.scaffold is None:
            return Draw(size, key, properties)
        return Draw(size, key, properties, *allowances(request.scaffold, size))


class Hunt:
    """Draws until enough candidates are accepted; remembers what it has seen.

    Args:
        generator: of the model.
        request: what is wanted.
    """

    def __init__(self, generator: CandidateGenerator, request: Request):
        self.generator, self.request, self.tally = generator, request, Tally()
        self._seen: set[str] = set()
        self._waiting: deque[tuple[int, Mol]] = deque()
        if request.similar is not None:
            self._seen.add(canonical_smiles(request.similar, stereo=False))

    @property
    def left(self) -> int:
        """Draws that may still be made."""
        return self.request.n * self.request.tries - self.tally.drawn

    def take(self, count: int, on_done: Callable[[int, int], None] | None = None) -> list[Candidate]:
        """The next accepted candidates; fewer than ``count`` when the tries are used up.

        Args:
            count: how many.
            on_done: called with (accepted, wanted).

        Raises:
            InputError: a wish that this model cannot serve.
        """
        accepted: list[Candidate] = []
        while len(accepted) < count and self.left:
            if not self._waiting:
                self._refill(count - len(accepted))
            number, mol = self._waiting.popleft()
            found = self._accept(mol, number)
            if found is not None:
                accepted.append(found)
            if on_done is not None and not self._waiting:
                on_done(len(accepted), count)
        return accepted

    def _refill(self, wanted: int) -> None:
        """Draw as many as are likely to give ``wanted``, in whole groups."""
        tally, group = self.tally, self.request.group
        rate = max(tally.kept / tally.drawn, 0.05) if tally.drawn else 0.9
        count = min(math.ceil(wanted / rate), max(BATCH, group), self.left)
        first = tally.drawn
        last = first + count + -(first + count) % group
        self._waiting.extend(enumerate(self.generator.draw(self.request, first, last - first), start=first))

    def _accept(self, mol: Mol, number: int) -> Candidate | None:
        tally, request = self.tally, self.request
        tally.drawn += 1
        if fault := problem(mol):
            tally.invalid[kind(fault)] += 1
            return None
        Chem.SanitizeMol(mol)
        if request.scaffold is not None:
            whole = request.scaffold.isomer(mol)
            if whole is None:
                tally.lost += 1
                return None
            mol = whole
        key = canonical_smiles(mol, stereo=False)
        if key in self._seen and not request.duplicates:
            tally.duplicates += 1
            return None
        self._seen.add(key)
        for check in request.filters:
            if reason := check(mol):
                tally.filtered[reason.split(":")[0].split(" ")[0]] += 1
                return None
        tally.kept += 1
        return Candidate(mol, canonical_smiles(mol), number)
