"""Scores of generated sound files against the recordings they stand for, matched by file name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from scoregen.errors import InputError, MissingExtra

from .files import SOUND, find_inputs, read_clip, resample
from .metrics import mr_stft_distance, pesq_wb, stoi, voice_scores, world

VOICE = ("mcd", "f0_rmse_hz", "f0_rmse_cents", "vuv_error", "vuv_f1")
"""What WORLD measures, and is left out where pyworld is missing."""

MEASURES = ("pesq_wb", "stoi", "mr_stft", *VOICE)


def evaluate_audio(generated: str | os.PathLike[str], reference: str | os.PathLike[str]) -> dict[str, Any]:
    """PESQ-WB, STOI, multi-resolution STFT distance, MCD, F0 and voicing errors, mean over clips.

    Folders are matched by path without suffix. A pair must last equally long, up to one millisecond; another
    sample rate is converted to the reference's.

    Returns:
        ``clips`` scored; the mean of each of :data:`MEASURES` over the clips that have it (None where none
        has: those of WORLD without pyworld, F0 without voice); ``scores`` of each clip; ``notices``;
        ``problems``: ``(file, reason)`` of what could not be scored.

    Raises:
        InputError: a folder without sound files.
        MissingExtra: pesq or pystoi is not installed.
    """
    made, wanted = _by_name(generated), _by_name(reference)
    if len(made) == len(wanted) == 1:
        wanted = dict(zip(made, wanted.values(), strict=True))
    scores: dict[str, dict[str, float | None]] = {}
    notices: list[str] = []
    problems: list[tuple[str, str]] = []
    for name, path in made.items():
        try:
            if name not in wanted:
                raise InputError(f"no reference named '{name}' in {reference}")
            scores[name] = _score(path, wanted[name], notices)
        except InputError as error:
            problems.append((str(path), str(error)))
    problems.extend(
        (str(wanted[name]), "nothing was generated for it") for name in wanted if name not in made
    )
    means = {key: _mean([s[key] for s in scores.values()]) for key in MEASURES}
    return {"clips": len(scores), **means, "scores": scores, "notices": notices, "problems": problems}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _by_name(source: str | os.PathLike[str]) -> dict[str, Path]:
    return {str(relative.with_suffix("")): path for path, relative in find_inputs([source], SOUND)}


def _score(path: Path, reference: Path, notices: list[str]) -> dict[str, float | None]:
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
        **_voice(a, b, want.sample_rate, notices),
    }


def _voice(a: np.ndarray, b: np.ndarray, sample_rate: int, notices: list[str]) -> dict[str, float | None]:
    try:
        return voice_scores(world(a, sample_rate), world(b, sample_rate)).as_dict()
    except MissingExtra as error:
        notice = f"MCD, F0 and voicing are left out: {error}"
        if notice not in notices:
            notices.append(notice)
        return dict.fromkeys(VOICE)
