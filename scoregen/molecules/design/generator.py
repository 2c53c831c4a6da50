"""Candidates from a trained denoiser: molecular graphs that pass a strict check as they were drawn."""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
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
from .filters import named
from .novelty import read_hashes
from .objective import CandidateModelConfig
from .request import Request
from .sampler import Draw, Schedule, draw_candidates
from .scores import Jury
from .selection import worth
from .shaping import allowances, draw_sizes, draw_values, pose_of, seed_state, sizes_of_mass, walked
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
        kept: candidates accepted, whether they were taken or not.
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

    def check(self, request: Request) -> None:
        """Raise where this model cannot make what is asked for.

        Raises:
            InputError: a reference or a molecule to vary that is larger or smaller than what it makes, a
                shape for a model without coordinates, or an atom to keep that no candidate has.
        """
        if (kept := request.scaffold) is not None:
            try:
                walked(kept)
            except InputError as error:
                raise InputError(
                    f"{kept.source}: {error}, so it cannot be kept; give another piece"
                ) from None
        low, high = self.limits
        reference = None if request.shape is None else request.shape.mol
        for flag, mol in (("--shape", reference), ("--similar", request.similar)):
            if mol is not None and not low <= (count := mol.GetNumHeavyAtoms()) <= high:
                raise InputError(
                    f"{flag}: {count} heavy atoms; model '{self.name}' makes {low} to {high}, choose another"
                )
        if request.shape is not None and not self.config.network.coordinates:
            raise InputError(f"--shape: model '{self.name}' draws no coordinates; choose one that does")

    def _sizes_of(self, request: Request, least: int) -> tuple[int, int] | None:
        """Fewest and most heavy atoms asked for: said, or those of the shape; None where nothing says."""
        if request.atoms is not None or request.shape is None:
            return request.atoms
        fewest, most = request.shape.sizes
        low, high = self.limits
        return max(fewest, low), max(min(most, high), least)

    def draw(self, request: Request, first: int, count: int, jury: Jury | None = None) -> list[Mol]:
        """Molecules as drawn, numbers ``first`` to ``first + count``: not checked, not sanitised.

        What a number gives does not depend on how many are drawn with it. Where draws compete they do so in
        groups of consecutive numbers, and whole groups are drawn.

        Args:
            request: what is wanted.
            first: number of the first one.
            count: how many.
            jury: scores draws that compete; by default a new one.

        Raises:
            InputError: a wish that this model cannot serve, or a score that fails on every molecule.
        """
        self.check(request)
        coordinates = self.config.network.coordinates
        seed = None if request.similar is None else seed_state(request.similar, coordinates)
        sigma = None
        if request.similar is not None:
            low, high = self.config.sigma_min, min(2.0, self.config.sigma_max)
            sigma = low * (high / low) ** (0.5 + 0.5 * request.strength)
        schedule = Schedule(
            steps=request.steps or self.config.steps,
            temperature=request.temperature,
            guidance=request.guidance if request.targets else 1.0,
            sigma=sigma,
            bridge=self._bridge(request),
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
            jury=jury or (Jury(request.scores) if request.scores else None),
        )
        mols = [decode(a) for a in arrays[first - begin : first - begin + count]]
        if request.scaffold is None:
            return mols
        # Back from the order of the walk to the scaffold's own.
        place = np.argsort(walked(request.scaffold)[0]).tolist()
        rest = [range(len(place), mol.GetNumAtoms()) for mol in mols]
        return [Chem.RenumberAtoms(mol, [*place, *new]) for mol, new in zip(mols, rest, strict=True)]

    def _bridge(self, request: Request) -> float:
        """The noise above which draws go along the bridge: asked for, or the model's own."""
        return next((level for level in (request.bridge, self.config.bridge) if level is not None), math.inf)

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
        size = int(draw_sizes(self.sizes, self._sizes_of(request, least), least, 1, rng, likely)[0])
        if request.scaffold is None:
            return Draw(size, key, properties)
        pose = pose_of(request.scaffold, size)
        return Draw(size, key, properties, *allowances(request.scaffold, size), pose)


class Hunt:
    """Draws until enough candidates are accepted; remembers what it has seen.

    Args:
        generator: of the model.
        request: what is wanted.
    """

    def __init__(self, generator: CandidateGenerator, request: Request):
        self.generator, self.request, self.tally = generator, request, Tally()
        self._jury = Jury(request.scores) if request.scores else None
        self._seen: set[str] = set()
        self._waiting: deque[Candidate] = deque()
        if request.similar is not None:
            self._seen.add(canonical_smiles(request.similar, stereo=False))

    @property
    def left(self) -> int:
        """Draws that may still be made; the last group of those that compete may go beyond."""
        return max(self.request.n * self.request.tries - self.tally.drawn, 0)

    def take(self, count: int, on_done: Callable[[int, int], None] | None = None) -> list[Candidate]:
        """The next accepted candidates; fewer than ``count`` when the tries are used up.

        Of draws that competed with each other, the best come first.

        Args:
            count: how many.
            on_done: called with (accepted, wanted).

        Raises:
            InputError: a wish that this model cannot serve.
        """
        accepted: list[Candidate] = []
        while len(accepted) < count and (self._waiting or self.left):
            if self._waiting:
                accepted.append(self._waiting.popleft())
                continue
            self._refill(count - len(accepted))
            if on_done is not None:
                on_done(min(len(accepted) + len(self._waiting), count), count)
        return accepted

    def _refill(self, wanted: int) -> None:
        """Draw as many as are likely to give ``wanted``, in whole groups, and look at all of them."""
        tally, group = self.tally, self.request.group
        rate = max(tally.kept / tally.drawn, 0.05) if tally.drawn else 0.9
        count = min(math.ceil(wanted / rate), max(BATCH, group), self.left)
        first = tally.drawn
        last = first + count + -(first + count) % group
        drawn = self.generator.draw(self.request, first, last - first, self._jury)
        for begin in range(0, len(drawn), group):
            for place in self._best_first(drawn[begin : begin + group]):
                found = self._accept(drawn[begin + place], first + begin + place)
                if found is not None:
                    self._waiting.append(found)

    def _best_first(self, group: Sequence[Mol]) -> list[int]:
        """Places of draws that competed, by the mean of their quantiles in all scores."""
        if self._jury is None:
            return list(range(len(group)))
        values = self._jury.values([Chem.Mol(mol) for mol in group])
        order: list[int] = np.argsort(-worth(values), kind="stable").tolist()
        return order

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
                tally.filtered[named(reason)] += 1
                return None
        tally.kept += 1
        return Candidate(mol, canonical_smiles(mol), number)
