"""Scores of a generated SDF against a reference SDF."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from rdkit.Chem import Mol

from scoregen.errors import InputError

from .chem import canonical_smiles, has_3d, stereo_from_3d
from .metrics import EnsembleScores, ensemble_scores, rmsd_matrix, summarise
from .sdf import parse_block, read_blocks

Ensembles = dict[str, tuple[Mol, list[np.ndarray]]]


def evaluate_conformers(
    generated: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    thresholds: Sequence[float] = (0.5, 0.1),
) -> dict[str, Any]:
    """COV and AMR, recall and precision, of :func:`scoregen.molecules.metrics.summarise`.

    Molecules are matched by canonical SMILES with the stereo of their coordinates. One that is in the
    references alone counts as a failure; one that is among the generated alone is named in ``problems``.

    Args:
        generated, reference: SDF files with 3D coordinates.
        thresholds: δ, Å.

    Returns:
        The summary with ``references``, ``conformers`` (counts) and ``problems``: (record, reason) pairs.

    Raises:
        InputError: a file is missing, or holds no usable record.
    """
    problems: list[tuple[str, str]] = []
    references, made = _ensembles(reference, problems), _ensembles(generated, problems)
    problems += [(smiles, "not among the references") for smiles in made if smiles not in references]
    scores: list[EnsembleScores | None] = []
    for smiles, (mol, positions) in references.items():
        if smiles not in made:
            scores.append(None)
            continue
        other, drawn = made[smiles]
        scores.append(
            ensemble_scores(rmsd_matrix(mol, np.stack(positions), other, np.stack(drawn)), thresholds)
        )
    return {
        **summarise(scores, thresholds),
        "references": sum(len(positions) for _, positions in references.values()),
        "conformers": sum(len(positions) for _, positions in made.values()),
        "problems": problems,
    }


def _ensembles(path: str | os.PathLike[str], problems: list[tuple[str, str]]) -> Ensembles:
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    found: Ensembles = {}
    for number, block in enumerate(read_blocks(path), 1):
        try:
            mol = parse_block(block)
            if not has_3d(mol):
                raise InputError("no 3D coordinates")
            stereo_from_3d(mol)
        except InputError as error:
            problems.append((f"{path}: record {number}", str(error)))
            continue
        positions = np.asarray(mol.GetConformer().GetPositions())
        first, ensemble = found.setdefault(canonical_smiles(mol), (mol, []))
        if mol.GetNumAtoms() != first.GetNumAtoms() or [a.GetAtomicNum() for a in mol.GetAtoms()] != [
            a.GetAtomicNum() for a in first.GetAtoms()
        ]:
            order = mol.GetSubstructMatch(first)
            if len(order) != first.GetNumAtoms():
                problems.append(
                    (f"{path}: record {number}", "atoms differ from the first record of the molecule")
                )
                continue
            positions = positions[list(order)]
        ensemble.append(positions)
    if not found:
        raise InputError(f"{path}: holds no usable record")
    return found
