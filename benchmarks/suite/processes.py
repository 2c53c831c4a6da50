"""One figure, one process: what a fresh process measures, and its memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from scoregen.errors import ScoregenError

_BENCHMARKS = Path(__file__).resolve().parents[1]


def measured(module: str, task: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Figures of a task by a module run in a fresh process: JSON in, one line of JSON out.

    Args:
        module: below ``benchmarks``.
        task: JSON-able; ``threads`` is the number of OpenMP threads.
        timeout: seconds.

    Returns:
        The figures, or ``error`` where the task fails or takes too long.

    Raises:
        ScoregenError: the process ends well and says no figures.
    """
    paths = [str(_BENCHMARKS), str(_BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment["OMP_NUM_THREADS"] = str(task["threads"])
    command = [sys.executable, "-m", module, json.dumps(task)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {timeout:g} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed"}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise ScoregenError(f"{module}: no figures in '{done.stdout[-200:]}'") from None
    return found


def peak_mb() -> float:
    """Peak resident memory of this process so far, MB.

    Linux's ``ru_maxrss`` begins with that of the process which started this one; ``VmHWM`` does not.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
