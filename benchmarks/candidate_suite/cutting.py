"""Tasks with a known answer: pieces of molecules that no model learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import check_supported, has_3d, stereo_from_3d
from scoregen.molecules.design.cuts import link_task, scaffold_task
from scoregen.molecules.design.kept import Scaffold
from scoregen.molecules.design.novelty import contains, key
from scoregen.molecules.sdf import parse_block, read_blocks

from .reference import Reference, molecule

KINDS = ("scaffold", "link")
HELD_OUT = ("dev", "benchmark")


@dataclass(frozen=True, eq=False)
class Task:
    """A piece to complete.

    Args:
        kind: one of :data:`KINDS`.
        answer: key of the molecule it was cut from.
        size: heavy atoms of that molecule.
        scaffold: what is kept.
        source: where the molecule is from.
    """

    kind: str
    answer: str
    size: int
    scaffold: Scaffold
    source: str


def cut(mols: Iterable[tuple[str, Mol]], kind: str, count: int, seed: int, largest: int) -> list[Task]:
    """The first ``count`` tasks of a kind that molecules give; fewer where they give fewer.

    Args:
        mols: source and sanitised molecule.
        kind: one of :data:`KINDS`.
        count: tasks wanted.
        seed: of the cuts.
        largest: heavy atoms of the largest molecule that the model makes.
    """
    found: list[Task] = []
    for number, (source, mol) in enumerate(mols):
        if len(found) == count:
            break
        if mol.GetNumHeavyAtoms() > largest:
            continue
        rng = np.random.default_rng((seed, number, KINDS.index(kind)))
        try:
            if kind == "scaffold":
                scaffold = scaffold_task(mol, rng)
            else:
                linked = link_task(mol, rng)
                scaffold = linked[0] if linked else None
        except InputError:  # such as an atom that no candidate may have
            continue
        if scaffold is not None:
            found.append(Task(kind, key(mol), mol.GetNumHeavyAtoms(), scaffold, source))
    return found


def of_cache(reference: Reference, seed: int) -> Iterator[tuple[str, Mol]]:
    """Held-out molecules of a cache in random order, graphs only.

    Raises:
        InputError: the cache keeps none out of training.
    """
    found = reference.smiles(*HELD_OUT)
    if not found:
        raise InputError(f"{reference.name}: no molecule of split dev or benchmark in this cache")
    for i in np.random.default_rng((seed, 2)).permutation(len(found)).tolist():
        mol = molecule(found[i])
        if not known(reference, mol):
            yield reference.name, mol


def of_file(path: Path, reference: Reference) -> Iterator[tuple[str, Mol]]:
    """Posed molecules of an SDF, in its order, that are not among the training molecules.

    Raises:
        InputError: no such file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; --data takes SDF files")
    for block in read_blocks(path):
        try:
            mol = parse_block(block)
            check_supported(mol)
        except InputError:
            continue
        if has_3d(mol) and not known(reference, mol):
            yield path.name, stereo_from_3d(mol)


def known(reference: Reference, mol: Mol) -> bool:
    """Whether a molecule was trained on, stereo apart."""
    return bool(contains(reference.known, [key(mol)])[0])
