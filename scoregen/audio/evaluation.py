"""Scores of generated sound files against the recordings they stand for, matched by file name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from scoregen.errors import InputError

from .files import SOUND, find_inputs, read_clip, resample
from .metrics import mr_stft_distance, pesq_wb, stoi


def evaluate_audio(generated: str | os.PathLike[str], reference: str | os.PathLike[str]) -> dict[str, Any]:
    """PESQ-WB, STOI and multi-resolution STFT distance, mean over clips.

    Folders are matched by path without suffix. A pair must last equally long, up to one millisecond; another
    sample rate is converted to the reference's.

    Returns:
        ``clips`` scored; the means ``pesq_wb``, ``stoi``, ``mr_stft`` (None without clips); ``scores`` of
        each clip; ``problems``: ``(file, reason)`` of what could not be scored.

    Raises:
        InputError: a folder without sound files.
        MissingExtra: pesq or pystoi is not installed.
    """
    made, wanted = _by_name(generated), _by_name(reference)
    if len(made) == len(wanted) == 1:
        wanted = dict(zip(made, wanted.values(), strict=True))
    scores: dict[str, dict[str, float]] = {}
    problems: list[tuple[str, str]] = []
    for name, path in made.items():
        try:
            if name not in wanted:
                raise InputError(f"no reference named '{name}' in {reference}")
            scores[name] = _score(path, wanted[name])
        except InputError as error:
            problems.append((str(path), str(error)))
    problems.extend(
        (str(wanted[name]), "nothing was generated for it") for name in wanted if name not in made
    )
    means = {
        key: float(np.mean([s[key] for s in scores.values()])) if scores else None
        for key in ("pesq_wb", "stoi", "mr_stft")
    }
    return {"clips": len(scores), **means, "scores": scores, "problems": problems}


def _by_name(source: str | os.PathLike[str]) -> dict[str, Path]:
    return {str(relative.with_suffix("")): path for path, relative in find_inputs([source], SOUND)}


def _score(path: Path, reference: Path) -> dict[str, float]:
    want, have = read_clip(reference), read_clip(path)
    wave = resample(have.wave, have.sample_rate, want.sample_rate)
    if abs(len(wave) - len(want.wave)) > want.sample_rate / 1000:
        lasts, should = len(wave) / want.sample_rate, len(want.wave) / want.sample_rate
        raise InputError(f"lasts {lasts:.3f} s, its reference {should:.3f} s")
    count = min(len(wave), len(want.wave))
    a, b = want.wave[:count], wave[:count]
    return {
        "pesq_wb": pesq_wb(a, b, want.sample_rate),
        "stoi": stoi(a, b, want.sample_rate),
        "mr_stft": mr_stft_distance(a, b),
    }
