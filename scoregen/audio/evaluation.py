"""Scores of generated recordings against references, files or folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from scoregen.errors import InputError

from .files import SOUND, find_inputs, read_clip
from .metrics import mr_stft_distance, pesq_wb, stoi

MEASURES = ("pesq_wb", "stoi", "mr_stft")


def evaluate_audio(generated: str | os.PathLike[str], reference: str | os.PathLike[str]) -> dict[str, Any]:
    """PESQ-WB, STOI and MR-STFT distance of each pair, and their means.

    Files of two folders are matched by their path without suffix; two files are one pair.

    Returns:
        ``clips`` (count), the mean of each measure (None without a clip), ``rows`` (one dict a clip) and
        ``problems``: (file, reason) pairs.

    Raises:
        InputError: nothing to compare.
        MissingExtra: the packages of the ``metrics`` extra are not installed.
    """
    problems: list[tuple[str, str]] = []
    rows = []
    for name, made, truth in _pairs(Path(generated), Path(reference), problems):
        try:
            rows.append({"name": name, **_scores(made, truth)})
        except InputError as error:
            problems.append((name, str(error)))
    means = {key: float(np.mean([row[key] for row in rows])) if rows else None for key in MEASURES}
    return {"clips": len(rows), **means, "rows": rows, "problems": problems}


def _scores(made: Path, truth: Path) -> dict[str, float]:
    a, b = read_clip(truth), read_clip(made)
    if a.sample_rate != b.sample_rate:
        raise InputError(f"{b.sample_rate} Hz against {a.sample_rate} Hz in the reference; resample one")
    if len(a.wave) != len(b.wave):
        raise InputError(f"{len(b.wave)} samples against {len(a.wave)} in the reference; align them first")
    return {
        "pesq_wb": pesq_wb(a.wave, b.wave, a.sample_rate),
        "stoi": stoi(a.wave, b.wave, a.sample_rate),
        "mr_stft": mr_stft_distance(a.wave, b.wave),
    }


def _pairs(generated: Path, reference: Path, problems: list[tuple[str, str]]) -> list[tuple[str, Path, Path]]:
    for path in (generated, reference):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if generated.is_dir() != reference.is_dir():
        raise InputError("give two files or two folders, not one of each")
    if not generated.is_dir():
        return [(generated.name, generated, reference)]
    truth = {relative.with_suffix(""): path for path, relative in find_inputs([reference], SOUND)}
    pairs = []
    for path, relative in find_inputs([generated], SOUND):
        if relative.with_suffix("") in truth:
            pairs.append((str(relative), path, truth[relative.with_suffix("")]))
        else:
            problems.append((str(relative), "no reference of that name"))
    return pairs
