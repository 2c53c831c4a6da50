"""Which molecules are the same: uniqueness, novelty, diversity, nearest neighbours.

Two molecules are the same when their canonical SMILES without stereo, isotopes and hydrogen atoms are: a
generator that draws graphs draws no stereo. Tautomers and charge states count as different.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from rdkit import DataStructs
from rdkit.Chem import Mol, MolFromSmiles, MolToSmiles, rdFingerprintGenerator
from rdkit.DataStructs import ExplicitBitVect

from scoregen.errors import InputError
from scoregen.files import atomic_path
from scoregen.molecules.inputs import MoleculeInput, read_inputs
from scoregen.training.cache import Cache

from .descriptors import heavy_graph


def key(mol: Mol) -> str:
    """What a molecule is told apart by.

    Args:
        mol: sanitised, with or without hydrogen atoms.

    Example:
        >>> from rdkit.Chem import MolFromSmiles
        >>> key(MolFromSmiles("C[C@H](N)C(=O)O")) == key(MolFromSmiles("OC(=O)[C@H](C)N"))
        True
    """
    return str(MolToSmiles(heavy_graph(mol), isomericSmiles=False))


def uniqueness(keys: Sequence[str]) -> float:
    """Share of distinct keys; NaN of none."""
    return len(set(keys)) / len(keys) if keys else float("nan")


def novelty(keys: Iterable[str], known: Collection[str] | np.ndarray) -> float:
    """Share of the distinct keys that are not known (as in MOSES, Polykovskiy et al. 2020); NaN of none.

    Args:
        keys: of generated molecules.
        known: keys, or what :func:`hashes` made of them.
    """
    distinct = sorted(set(keys))
    if not distinct:
        return float("nan")
    if isinstance(known, np.ndarray):
        return float(1 - contains(known, distinct).mean())
    return sum(k not in known for k in distinct) / len(distinct)


def hashes(keys: Iterable[str]) -> np.ndarray:
    """Sorted distinct 64-bit BLAKE2b digests, uint64: a set of keys in 8 bytes each, the same on any machine.

    One of 10,000 other molecules is mistaken for one of 100,000 known ones with a probability of 5e-11.
    """
    return np.unique(_digests(keys))


def contains(table: np.ndarray, keys: Iterable[str]) -> np.ndarray:
    """Whether each key is in a table of :func:`hashes`; bool, one for each key."""
    wanted = _digests(keys)
    if not len(table):
        return np.zeros(len(wanted), bool)
    places = np.searchsorted(table, wanted).clip(max=len(table) - 1)
    return np.asarray(table[places] == wanted)


def write_hashes(path: str | os.PathLike[str], table: np.ndarray) -> None:
    """Write a table of :func:`hashes` as ``.npy``; the file appears whole."""
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.save(stream, table, allow_pickle=False)


def read_hashes(path: str | os.PathLike[str]) -> np.ndarray:
    """A table that :func:`write_hashes` wrote.

    Raises:
        InputError: missing, damaged, or something else.
    """
    try:
        table: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: no readable table of molecule hashes ({error})") from None
    good = isinstance(table, np.ndarray) and table.dtype == np.uint64 and table.ndim == 1
    if not good or not (table[1:] > table[:-1]).all():
        raise InputError(f"{path}: not a sorted table of molecule hashes")
    return table


def read_file(path: str | os.PathLike[str]) -> Iterator[MoleculeInput]:
    """The molecules of a ``.smi``, ``.csv`` or ``.sdf`` file, plain or gzipped; bad ones carry their error.

    Raises:
        InputError: no such file.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    yield from read_inputs([os.fspath(path)])


def hashes_of_file(path: str | os.PathLike[str]) -> np.ndarray:
    """The table of the molecules of a file; entries that cannot be read are left out.

    Raises:
        InputError: no such file, or no molecule in it.
    """
    table = hashes(key(entry.mol) for entry in read_file(path) if entry.mol is not None)
    if not len(table):
        raise InputError(f"{path}: holds no molecule that can be read")
    return table


def hashes_of_cache(path: str | os.PathLike[str]) -> np.ndarray:
    """The table of the training molecules of a prepared cache; it belongs beside a model's weights.

    Raises:
        CacheError: no prepared cache of kind ``candidates`` there.
    """
    cache = Cache(path, "candidates")
    chosen = cache.select(split="train")
    return hashes(key(MolFromSmiles(cache.facts[int(i)]["smiles"])) for i in chosen)


def fingerprints(mols: Iterable[Mol]) -> list[ExplicitBitVect]:
    """Morgan fingerprints of radius 2, 2,048 bits (ECFP4, Rogers and Hahn 2010), without stereo."""
    return [_morgan().GetFingerprint(heavy_graph(mol)) for mol in mols]


def internal_diversity(prints: Sequence[ExplicitBitVect], limit: int = 3000, seed: int = 0) -> float:
    """Mean of 1 − Tanimoto similarity over all pairs (Benhenda 2017); NaN of fewer than two.

    Args:
        prints: from :func:`fingerprints`.
        limit: of more than this many, a random subset of this size is taken.
        seed: of the subset.
    """
    if len(prints) > limit:
        chosen = np.random.default_rng(seed).choice(len(prints), limit, replace=False)
        prints = [prints[i] for i in chosen.tolist()]
    pairs = len(prints) * (len(prints) - 1) // 2
    if not pairs:
        return float("nan")
    total = sum(sum(DataStructs.BulkTanimotoSimilarity(one, prints[:i])) for i, one in enumerate(prints) if i)
    return 1 - total / pairs


class Neighbour(NamedTuple):
    """Nearest reference: its place among them and the Tanimoto similarity to it."""

    place: int
    similarity: float


def nearest(
    prints: Iterable[ExplicitBitVect], references: Sequence[ExplicitBitVect]
) -> list[Neighbour | None]:
    """The most similar reference of each fingerprint, the first of several; None without references."""
    found: list[Neighbour | None] = []
    for one in prints:
        similarities = DataStructs.BulkTanimotoSimilarity(one, references)
        index = int(np.argmax(similarities)) if similarities else None
        found.append(None if index is None else Neighbour(index, float(similarities[index])))
    return found


def _digests(keys: Iterable[str]) -> np.ndarray:
    packed = b"".join(hashlib.blake2b(k.encode(), digest_size=8).digest() for k in keys)
    return np.frombuffer(packed, ">u8").astype(np.uint64)


@cache
def _morgan() -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
