"""From SDF and SMILES files to the cache that candidate models are trained on.

A record is one molecule: the arrays of :func:`scoregen.molecules.design.encode.encode` and ``property``
``(5,)`` float32, values of :data:`~scoregen.molecules.design.tokens.PROPERTIES`. Its facts are ``name``,
``smiles`` (canonical, without hydrogens), ``source`` and ``split``, which is by molecule as in
:mod:`scoregen.molecules.prepare`. Of a molecule that a source holds more than once, the first record stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, check_supported, has_3d, standardise, stereo_from_3d
from scoregen.molecules.prepare import (
    Prepared,
    Record,
    held_out_keys,
    is_sdf,
    molecule_key,
    write_records,
)
from scoregen.molecules.sdf import open_text, parse_block, read_blocks

from .descriptors import describe
from .encode import decode, in_smiles_order
from .tokens import PROPERTIES
from .validity import problem

PathLike = str | os.PathLike[str]


def prepare_candidates(
    sources: Sequence[PathLike],
    out: PathLike,
    *,
    holdout_ids: PathLike | Sequence[PathLike] | None = None,
    dev_fraction: float = 0.05,
    max_records: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Write a cache of kind ``candidates``.

    Args:
        sources: SDF files, whose positions are kept, and ``.smi`` files; plain or gzipped.
        out: cache folder; it appears whole.
        holdout_ids: text files with one record title a line, or SDF files: molecules that get split
            ``benchmark``.
        dev_fraction: share of the remaining molecules that get split ``dev``.
        max_records: at most so many records from each source.
        progress: called with the number of records seen, about once per thousand.

    Raises:
        InputError: a source is missing or of another kind, or nothing usable was found.
    """
    paths = [_checked(Path(source)) for source in sources]
    if not paths:
        raise InputError("no sources: give at least one .sdf or .smi file, plain or gzipped")
    held = held_out_keys([path for path in paths if is_sdf(path)], holdout_ids)

    def records(path: Path) -> Iterator[tuple[str, Callable[[], Record]]]:
        known: set[str] = set()
        for name, read in _records(path, max_records):
            yield name, partial(_record, read, known)

    return write_records("candidates", paths, out, records, held, dev_fraction, progress)


def _record(read: Callable[[], Mol], known: set[str]) -> Record:
    mol = read()
    smiles = canonical_smiles(mol)
    if smiles in known:
        raise InputError("seen before")
    arrays = _arrays(mol)
    known.add(smiles)
    return arrays, smiles, molecule_key(mol)


def _arrays(mol: Mol) -> dict[str, np.ndarray]:
    if mol.GetNumHeavyAtoms() < 2:
        raise InputError("fewer than two heavy atoms")
    arrays = in_smiles_order(mol)
    if fault := problem(decode({**arrays, "x": arrays["x"][:0]})):
        raise InputError(f"not valid by the strict table: {fault}")
    values = describe(mol, PROPERTIES)
    return {**arrays, "property": np.array([values[name] for name in PROPERTIES], np.float32)}


def _records(path: Path, limit: int | None) -> Iterator[tuple[str, Callable[[], Mol]]]:
    """Name of each record, and how to read it."""
    try:
        if is_sdf(path):
            for count, block in enumerate(read_blocks(path)):
                if limit is not None and count >= limit:
                    return
                yield block.title, lambda block=block: _placed(parse_block(block))  # type: ignore[misc]
            return
        with open_text(path) as stream:
            lines = (line.split() for line in stream if line.strip() and not line.startswith("#"))
            for count, (smiles, *rest) in enumerate(lines):
                if limit is not None and count >= limit:
                    return
                yield " ".join(rest) or smiles, lambda smiles=smiles: standardise(smiles)  # type: ignore[misc]
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _placed(mol: Mol) -> Mol:
    check_supported(mol)
    return stereo_from_3d(mol) if has_3d(mol) else mol


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not is_sdf(path) and not path.name.lower().removesuffix(".gz").endswith((".smi", ".smiles", ".txt")):
        raise InputError(f"{path}: not an SDF or SMILES file (.sdf, .smi, plain or .gz)")
    return path
