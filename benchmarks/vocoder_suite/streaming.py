"""Section ``streaming``: are pieces the whole, and are lengths exact?

A mel goes through ``Vocoder.stream`` in pieces of fixed and of random sizes; the waveform is compared with
that of the whole. Then recordings of random lengths go through the model and back: each must keep its length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from common import print_table
from suite.runner import progress

from scoregen.audio.files import fit
from scoregen.audio.vocoder import Vocoder

from .options import Options
from .workbench import Workbench

DEFAULTS = Options(clips=2, steps=(1, 6))
RAGGED = 60
"""Random pieces have 1 to so many frames."""

LONGEST = 1.0
"""Seconds; random lengths are below."""


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows by model and steps: the largest difference by size of the pieces; lengths that were wrong."""
    rows = []
    for label, vocoder in bench.vocoders.items():
        clips = bench.clips(options.clips, options.seconds)
        mels = [vocoder.mel(clip.wave, clip.rate) for clip in clips]
        for steps in options.steps:
            progress(f"streaming: {label}, {steps} steps")
            row: dict[str, Any] = {"method": f"{label}, {steps}", "clips": len(clips)}
            row.update(differences(vocoder, mels, steps, options))
            row["latency_seconds"] = vocoder.latency(steps=steps)
            rows.append(row)
        rate = clips[0].rate
        found = lengths(vocoder, clips[0].wave, rate, options.lengths, options.seed, progress)
        rows.append({"method": f"{label}, lengths", **found})
        progress(f"streaming: {label}\n")
    return {"chunks": list(options.chunks), "rows": rows}


def differences(
    vocoder: Vocoder, mels: list[torch.Tensor], steps: int, options: Options
) -> dict[str, float | None]:
    """Largest difference over clips for each size of pieces and for random sizes."""
    random = np.random.default_rng(options.seed)
    worst: dict[str, float] = {}
    for mel in mels:
        whole = vocoder.synthesize(mel, steps=steps, seed=options.seed)
        gain = float(vocoder.gain(mel[None])[0])
        frames = mel.shape[1]
        cuts: dict[str, list[int]] = {f"{size}": [size] * -(-frames // size) for size in options.chunks}
        cuts["ragged"] = random.integers(1, RAGGED + 1, frames).tolist()
        for name, sizes in cuts.items():
            pieces = [p for p in torch.split(mel, _exactly(sizes, frames), dim=1) if p.shape[1]]
            made = np.concatenate(list(vocoder.stream(pieces, steps=steps, seed=options.seed, gain=gain)))
            off = float(np.abs(made - whole).max()) if made.shape == whole.shape else float("inf")
            worst[name] = max(worst.get(name, 0.0), off)
    # JSON has no infinity: None is a wrong length.
    return {f"difference_{k}": v if np.isfinite(v) else None for k, v in worst.items()}


def lengths(
    vocoder: Vocoder, wave: np.ndarray, rate: int, count: int, seed: int, report: Any = None
) -> dict[str, Any]:
    """Resynthesise ``count`` beginnings of a recording of random lengths, at one step."""
    random = np.random.default_rng(seed)
    wave = fit(np.tile(wave, -(-int(LONGEST * rate) // len(wave))), int(LONGEST * rate))
    wrong = []
    for k, samples in enumerate(random.integers(1, len(wave), count, endpoint=True).tolist()):
        if report and k % 20 == 0:
            report(f"streaming: lengths {k}/{count}")
        made = vocoder.resynthesize(wave[:samples], rate, steps=1, seed=seed)
        if made.shape != (samples,) or not np.isfinite(made).all():
            wrong.append(samples)
    return {"lengths": count, "wrong_lengths": len(wrong), "wrong": wrong[:20]}


def _exactly(sizes: list[int], frames: int) -> list[int]:
    ends = np.minimum(np.cumsum(sizes), frames)
    return [int(size) for size in np.diff(ends, prepend=0)]


def show(result: dict[str, Any]) -> None:
    """Print differences and lengths."""
    names = [*map(str, result["chunks"]), "ragged"]

    def cell(value: float | None) -> str:
        return "–" if value is None else f"{value:.1e}"

    rows = [
        [
            row["method"],
            *(cell(row.get(f"difference_{name}")) for name in names),
            *(row.get(key) for key in ("latency_seconds", "lengths", "wrong_lengths")),
        ]
        for row in result["rows"]
    ]
    heads = ("method", *(f"chunks of {name}" for name in names), "latency s", "lengths", "wrong")
    print_table("Largest difference of pieces and whole", heads, rows)
