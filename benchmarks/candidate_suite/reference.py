"""The molecules that a model learned from, and those that were kept from it: a prepared cache."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from suite.runner import progress
from suite.sources import file_sha256

from scoregen.errors import InputError
from scoregen.molecules.design.distributions import Profile, profile
from scoregen.molecules.design.novelty import hashes, key, read_hashes, write_hashes
from scoregen.molecules.design.tokens import PROPERTIES
from scoregen.training.cache import Cache


class Reference:
    """A cache of kind ``candidates``.

    Args:
        folder: of the cache.
        store: where the table of training molecules is kept; None keeps it nowhere.

    Raises:
        CacheError: no such cache.
    """

    def __init__(self, folder: Path, store: Path | None = None):
        self.cache = Cache(folder, "candidates")
        self.name, self.folder, self.store = folder.name, folder, store
        self._profiles: dict[tuple[str, int, int], Profile] = {}

    @property
    def sources(self) -> frozenset[str]:
        """Names of the files it was made from."""
        return frozenset(self.cache.info.get("sources", ()))

    @cached_property
    def sha256(self) -> str:
        """Of its index and its records' facts, which hold the molecules."""
        files = [self.folder / "index.json", *sorted(self.folder.glob("records-*.jsonl"))]
        return "-".join(file_sha256(path)[:8] for path in files)

    @cached_property
    def sizes(self) -> dict[int, int]:
        """How often each number of heavy atoms occurs in training."""
        lengths = self.cache.lengths("token")[self.cache.select(split="train")]
        return {int(n): int(k) for n, k in sorted(Counter(lengths.tolist()).items())}

    def smiles(self, *splits: str) -> list[str]:
        """Canonical SMILES of the molecules of splits, in the cache's order."""
        return [facts["smiles"] for facts in self.cache.facts if facts.get("split") in splits]

    def values(self, name: str) -> np.ndarray:
        """A property of the training molecules, one of :data:`PROPERTIES`."""
        place = PROPERTIES.index(name)
        return np.array([self.cache[int(i)]["property"][place] for i in self.cache.select(split="train")])

    @cached_property
    def known(self) -> np.ndarray:
        """Table of :func:`~scoregen.molecules.design.novelty.hashes` of the training molecules."""
        path = self.store / f"known-{self.sha256}.npy" if self.store else None
        if path is not None and path.is_file():
            return read_hashes(path)
        train = self.smiles("train")
        progress(f"{self.name}: keys of {len(train)} training molecules")
        table = hashes(key(mol) for mol in map(molecule, train))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_hashes(path, table)
        return table

    def sample(self, split: str, size: int, seed: int) -> list[Mol]:
        """So many molecules of a split, drawn without replacement; all of them where there are fewer.

        Raises:
            InputError: the split is empty.
        """
        found = self.smiles(split)
        if not found:
            raise InputError(f"{self.name}: no molecule of split '{split}' in this cache")
        order = np.random.default_rng((seed, 1)).permutation(len(found))[:size]
        return [molecule(found[i]) for i in order.tolist()]

    def profile(self, split: str, size: int, seed: int) -> Profile:
        """What :mod:`~scoregen.molecules.design.distributions` compares, of such a sample."""
        place = split, size, seed
        if place not in self._profiles:
            progress(f"{self.name}: profile of {size} molecules of split {split}")
            self._profiles[place] = profile(self.sample(split, size, seed))
        return self._profiles[place]


def molecule(smiles: str) -> Mol:
    """A sanitised molecule of a SMILES that RDKit wrote."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise InputError(f"'{smiles}' is no molecule to this RDKit; prepare the cache again")
    return mol
