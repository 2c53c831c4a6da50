"""Section ``speed``: seconds for a second of sound, and peak memory; every figure from a fresh process.

One network call of ours beside those of the packages ``wavegrad`` (lmnt) and ``vocos`` in the same run, all
on sound of the same length; the whole synthesis by number of steps; memory of ``--stream`` by length. Loading
does not count. A package that is not installed is named, and its figures are absent. Beside the wall time
there is the processor time, which other work on the machine changes less.
"""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import print_table
from suite.processes import measured
from suite.runner import progress

from scoregen.audio.files import write_clip

from .calls import FULL, PEERS
from .options import Options
from .workbench import Workbench

DEFAULTS = Options(clips=1, seconds=4.0, steps=(1, 4, 6))
TIMEOUT = 7200
BASE = "lmnt wavegrad"


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows of calls, of syntheses and of memory; the packages that are not there."""
    tasks: list[dict[str, Any]] = []
    missing = [package for package in PEERS.values() if find_spec(package) is None]
    for threads in options.threads:
        common = {"threads": threads, "seconds": options.seconds, "repeats": options.repeats}
        for name, package in PEERS.items():
            if package not in missing:
                tasks.append({"method": name, "kind": "call", "peer": name, **common})
        full = f"{FULL}, random weights"
        tasks.append({"method": full, "kind": "call", "config": FULL, **common})
        for label, model in zip(bench.vocoders, bench.models, strict=True):
            tasks.append({"method": label, "kind": "call", "model": model, **common})
            for steps in options.steps:
                synthesis = {"kind": "synthesis", "model": model, "steps": steps, **common}
                tasks.append({"method": f"{label}, {steps}", **synthesis})
    for label, model in zip(bench.vocoders, bench.models, strict=True):
        for minutes in options.minutes:
            memory = {"kind": "memory", "model": model, "steps": options.steps[0], "minutes": minutes}
            tasks.append({"method": f"{label}, {options.steps[0]}", "threads": 1, **memory})
    clip = bench.clips(options.clips, options.seconds)[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, "clip.wav")
        write_clip(sound, clip.wave, clip.rate)
        for task in tasks:
            progress(f"speed: {task['method']}, {task['kind']}, {task['threads']} threads")
            facts = {"section": "speed", "code": bench.code, "clip": clip.sha256, "load": task}
            facts["weights"] = bench.weights
            found = bench.store.load(facts)
            if found is None:
                found = measured("vocoder_suite.speed_worker", {**task, "sound": str(sound)}, TIMEOUT)
                if "error" not in found:
                    bench.store.save(facts, found)
            keys = ("method", "kind", "threads", "minutes")
            rows.append({**{key: task[key] for key in keys if key in task}, **found})
    progress(f"speed: {len(rows)} figures\n")
    _compare(rows)
    return {"missing": missing, "rows": rows}


def _compare(rows: list[dict[str, Any]]) -> None:
    """Add ``to_lmnt`` to the calls: time in that of lmnt's network on as many threads; below 1 is faster."""
    base = {
        row["threads"]: row["seconds_per_second"]
        for row in rows
        if row["method"] == BASE and row["kind"] == "call" and "error" not in row
    }
    for row in rows:
        if row["kind"] == "call" and "error" not in row and row["threads"] in base:
            row["to_lmnt"] = row["seconds_per_second"] / base[row["threads"]]


def show(result: dict[str, Any]) -> None:
    """Print calls and syntheses, then memory."""
    rows, missing = result["rows"], result["missing"]
    timed = [
        [row["method"], row["kind"], row["threads"], row.get("parameters")]
        + [row.get(k) for k in ("seconds_per_second", "cpu_seconds_per_second", "times_real_time", "to_lmnt")]
        + [row.get("error")]
        for row in rows
        if row["kind"] != "memory"
    ]
    heads = ("method", "what", "threads", "parameters", "s per s", "CPU s per s", "× real time", "to lmnt")
    absent = f"; not installed: {', '.join(missing)}" if missing else ""
    print_table(f"Speed{absent}", (*heads, "error"), timed)
    held = [
        [row.get(k) for k in ("method", "minutes", "loaded_mb", "peak_mb", "seconds_per_second", "error")]
        for row in rows
        if row["kind"] == "memory"
    ]
    columns = ("method", "minutes", "loaded MB", "peak MB", "s per s", "error")
    print_table("Memory of --stream", columns, held)
