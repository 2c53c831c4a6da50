"""Scores of a file of candidates against a reference file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.sdf import SUFFIXES, Block, read_blocks

from . import assess
from .distributions import distances, profile, split
from .novelty import hashes, key, read_file
from .validity import as_generated

REFERENCE_LIMIT = 5000
"""Distributions and nearest neighbours are taken from a random sample of this size of a larger reference."""


def evaluate_candidates(
    generated: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    settings: assess.AssessSettings | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Any], list[assess.Row]]:
    """Validity of records as written, uniqueness, novelty, diversity, descriptors, alerts and distances.

    Records are taken as they stand: nothing is sanitised before it is judged. A record without any hydrogen
    atom is read as the format means it, with hydrogens implied; ``implied_hydrogens`` counts them.

    Args:
        generated: an SDF, plain or gzipped.
        reference: ``.smi``, ``.csv`` or ``.sdf``, plain or gzipped: novelty is against all of it.
        settings: what else to look at; ``known`` and ``references`` are set here.
        on_progress: called with the number of records done and of all.

    Returns:
        The summary of :func:`~scoregen.molecules.design.assess.assess` with ``reference_molecules``,
        ``distances`` and ``distances_within_reference`` (units: see
        :data:`~scoregen.molecules.design.distributions.UNITS`), ``implied_hydrogens`` and ``problems``:
        (record, reason) pairs; and the rows.

    Raises:
        InputError: a file is missing, or holds no usable record.
    """
    settings = settings or assess.AssessSettings()
    settings.check()
    problems: list[tuple[str, str]] = []
    mols, records, implied = _read_generated(generated, problems)
    keys, sample = _read_reference(reference, problems)
    settings = replace(settings, known=hashes(keys), references=sample)
    result = assess.assess(mols, settings, on_progress=on_progress)
    for row, record in zip(result.rows, records, strict=True):
        row["record"] = record
        if reason := row["problem"] or row.get("error"):
            problems.append((f"{generated}: record {record}", reason))
    within = profile(sample)
    found = {
        **result.summary,
        "implied_hydrogens": implied,
        "reference_molecules": len(keys),
        "distances": _plain(distances(profile(result.valid), within)) if result.valid else None,
        "distances_within_reference": (
            _plain(split(within, len(result.valid))) if result.valid and len(within) > 1 else None
        ),
        "problems": problems,
    }
    return found, result.rows


def read_as_written(block: Block) -> tuple[Mol, bool]:
    """A record, not sanitised, and whether its hydrogens had to be implied.

    Raises:
        InputError: not a mol block.
    """
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMolBlock(block.text, sanitize=False, removeHs=False)
        except RuntimeError:
            mol = None
    if mol is None:
        raise InputError("not a readable SDF record")
    if any(atom.GetAtomicNum() == 1 or atom.GetNumExplicitHs() for atom in mol.GetAtoms()):
        return mol, False
    mol.UpdatePropertyCache(strict=False)
    if not any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        return mol, False
    return as_generated(mol), True


def _read_generated(
    path: str | os.PathLike[str], problems: list[tuple[str, str]]
) -> tuple[list[Mol], list[int], int]:
    """Molecules, the number of the record of each, and how many have implied hydrogens."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    if not os.fspath(path).lower().removesuffix(".gz").endswith(SUFFIXES):
        raise InputError(f"{path}: candidates are scored from an SDF; give a .sdf or .sdf.gz file")
    mols: list[Mol] = []
    records: list[int] = []
    implied = 0
    try:
        for number, block in enumerate(read_blocks(path), 1):
            try:
                mol, without = read_as_written(block)
            except InputError as error:
                problems.append((f"{path}: record {number}", str(error)))
                continue
            mols.append(mol)
            records.append(number)
            implied += without
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if not mols:
        raise InputError(f"{path}: holds no usable record")
    return mols, records, implied


def _read_reference(
    path: str | os.PathLike[str], problems: list[tuple[str, str]]
) -> tuple[set[str], list[Mol]]:
    """Keys of all molecules, and a random sample of them (reservoir sampling, the same at every run)."""
    keys: set[str] = set()
    sample: list[Mol] = []
    bad: list[str] = []
    draw = np.random.default_rng(0)
    count = 0
    for entry in read_file(path):
        if entry.mol is None:
            bad.append(f"line {entry.line}: {entry.error}" if entry.line else str(entry.error))
            continue
        keys.add(key(entry.mol))
        count += 1
        place = count - 1 if count <= REFERENCE_LIMIT else int(draw.integers(count))
        if place < REFERENCE_LIMIT:
            sample[place : place + 1] = [entry.mol]
    if not keys:
        raise InputError(f"{path}: holds no usable molecule ({bad[0] if bad else 'it is empty'})")
    if bad:
        problems.append((os.fspath(path), f"{len(bad)} of {count + len(bad)} left out, the first: {bad[0]}"))
    return keys, sample


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    """NaN becomes None, which JSON has."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
