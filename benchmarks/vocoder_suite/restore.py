"""Section ``restore``: gaps, a band limit and noise, by the methods of ``benchmarks/restore.py``."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import restore as script
from common import print_table
from suite.bootstrap import interval
from suite.runner import progress

from scoregen.audio.metrics import pesq_wb
from scoregen.errors import InputError

from .options import Options
from .workbench import Workbench

DEFAULTS = Options(clips=2, seconds=6.0, steps=(6,))


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows by damage and method: PESQ-WB with interval, log-spectral distance."""
    clips = bench.clips(options.clips, options.seconds)
    scores: dict[tuple[str, str], list[tuple[float, float | None]]] = {}
    for label, vocoder in bench.vocoders.items():
        for number, clip in enumerate(clips):
            for steps in options.steps:
                settings: Any = SimpleNamespace(steps=steps, levels=[], cautions=[])
                cases = script.problems(vocoder, clip.wave, clip.rate, number, settings)
                for damage in options.damages:
                    damaged, spans, methods = cases[damage]
                    own = f"{vocoder.name} {steps}"
                    for name, make in methods.items():
                        shown = name.replace(own, f"{label}, {steps}")
                        progress(f"restore: {clip.name}, {damage}, {shown}")
                        earlier = scores.setdefault((damage, shown), [])
                        # The simple methods know no model and no steps: once a clip.
                        if len(earlier) > number:
                            continue
                        earlier.append(_scored(clip, make, damaged, spans, shown))
    progress(f"restore: {len(clips)} clips\n")
    rows = []
    for (damage, name), values in scores.items():
        known = [pesq for pesq, _ in values if not np.isnan(pesq)]
        far = [distance for _, distance in values if distance is not None]
        row = {"damage": damage, "method": name, "clips": len(known)}
        row["pesq_wb"] = {
            "mean": float(np.mean(known)) if known else None,
            "interval": interval(known, seed=options.seed),
        }
        rows.append({**row, "lsd_db": float(np.mean(far)) if far else None})
    rows.sort(key=lambda row: options.damages.index(str(row["damage"])))
    return {"rows": rows}


def _scored(clip: Any, make: Any, damaged: np.ndarray, spans: Any, name: str) -> tuple[float, float | None]:
    try:
        out = make(damaged)
        distance = script.log_spectral_distance(clip.wave, out, spans) if spans else None
        return pesq_wb(clip.wave, out, clip.rate), distance
    except InputError as error:
        print(f"note: {clip.name}, {name}: {error}", file=sys.stderr)
        return float("nan"), None


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    rows = [
        [row["damage"], row["method"], row["clips"], row["pesq_wb"]["mean"], row["lsd_db"]]
        for row in result["rows"]
    ]
    print_table("Restored clips", ("damage", "method", "clips", "PESQ-WB", "LSD (dB)"), rows)
