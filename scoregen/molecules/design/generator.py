"""Candidates from a trained denoiser: molecular graphs that pass a strict check as they were drawn."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.hub import from_pretrained
from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.sampler import sample_key

from .encode import decode
from .objective import CandidateModelConfig
from .request import Request
from .sampler import Draw, Schedule, draw_candidates
from .shaping import allowances, draw_sizes, draw_values, seed_state
from .validity import kind, problem

BATCH = 256
"""Candidates drawn at once, at most."""

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
    ):
        """Wrap a denoiser.

        Args:
            denoiser: the model.
            config: its ``model`` section.
            name: for records.
            info: provenance of the model, with ``sizes``: how often each number of heavy atoms occurs.

        Raises:
            InputError: the model does not say which sizes it makes.
        """
        self.denoiser, self.config, self.name, self.info = denoiser, config, name, dict(info or {})
        if not self.info.get("sizes"):
            raise InputError(f"model '{name}' does not say how large its molecules are (info.sizes)")
        self.sizes = {int(n): float(count) for n, count in self.info["sizes"].items()}

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = "design-druglike", device: str = "cpu"
    ) -> CandidateGenerator:
        """Load a shipped model by name, or a model folder by path.

        Raises:
            InputError: not found, damaged, or of another modality.
        """
        model = from_pretrained(name, "candidates", device)
        return cls(model.denoiser, model.config, model.name, model.info)

    def graphs(
        self, request: Request, on_done: Callable[[int, int], None] | None = None
    ) -> tuple[list[Candidate], Tally]:
        """Draw until enough candidates are accepted or the tries are used up.

        Args:
            request: what is wanted.
            on_done: called with (accepted, wanted).

        Returns:
            At most ``request.n`` candidates, and what became of all draws.

        Raises:
            InputError: a wish that this model cannot serve.
        """
        accepted: list[Candidate] = []
        tally, seen = Tally(), set[str]()
        if request.similar is not None:
            seen.add(canonical_smiles(request.similar, stereo=False))
        limit = request.n * request.tries
        while len(accepted) < request.n and tally.drawn < limit:
            wanted = request.n - len(accepted)
            rate = max(len(accepted) / tally.drawn, 0.05) if tally.drawn else 0.9
            count = min(int(np.ceil(wanted / rate)), BATCH, limit - tally.drawn)
            first = tally.drawn
            for number, mol in enumerate(self.draw(request, first, count), start=first):
                tally.drawn += 1
                found = self._accept(mol, number, request, tally, seen)
                if found is not None and len(accepted) < request.n:
                    accepted.append(found)
            tally.kept = len(accepted)
            if on_done is not None:
                on_done(len(accepted), request.n)
        return accepted, tally

    def draw(self, request: Request, first: int, count: int) -> list[Mol]:
        """Molecules as drawn, numbers ``first`` to ``first + count``: not checked, not sanitised.

        What a number gives does not depend on how many are drawn with it.

        Raises:
            InputError: a wish that this model cannot serve.
        """
        draws = [self._draw(request, number) for number in range(first, first + count)]
        sigma = None
        if request.similar is not None:
            low, high = self.config.sigma_min, min(2.0, self.config.sigma_max)
            sigma = low * (high / low) ** (0.5 + 0.5 * request.strength)
        schedule = Schedule(
            steps=request.steps,
            temperature=request.temperature,
            guidance=request.guidance if request.targets else 1.0,
            sigma=sigma,
        )
        coordinates = self.config.network.coordinates
        arrays = draw_candidates(self.denoiser, draws, schedule, request.seed, coordinates=coordinates)
        return [decode(a) for a in arrays]

    def _draw(self, request: Request, number: int) -> Draw:
        key = sample_key("candidate", number)
        properties = None
        if request.targets:
            rng = np.random.default_rng((_VALUES, abs(request.seed), number))
            properties = draw_values(request.targets, 1, rng)[0]
        if request.similar is not None:
            start = seed_state(request.similar)
            return Draw(len(start[0]), key, properties, start=start)
        rng = np.random.default_rng((_SIZES, abs(request.seed), number))
        least = 2 if request.scaffold is None else request.scaffold.size + 1
        size = int(draw_sizes(self.sizes, request.atoms, least, 1, rng)[0])
        if request.scaffold is None:
            return Draw(size, key, properties)
        return Draw(size, key, properties, *allowances(request.scaffold, size))

    def _accept(
        self, mol: Mol, number: int, request: Request, tally: Tally, seen: set[str]
    ) -> Candidate | None:
        if fault := problem(mol):
            tally.invalid[kind(fault)] += 1
            return None
        Chem.SanitizeMol(mol)
        if request.scaffold is not None and replace(request.scaffold, positions=None).contained(mol) is None:
            tally.lost += 1
            return None
        key = canonical_smiles(mol, stereo=False)
        if key in seen and not request.duplicates:
            tally.duplicates += 1
            return None
        for check in request.filters:
            if reason := check(mol):
                tally.filtered[reason.split(":")[0].split(" ")[0]] += 1
                return None
        seen.add(key)
        return Candidate(mol, canonical_smiles(mol), number)
