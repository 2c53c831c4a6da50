"""One timing of section ``speed`` in its own process: a task as JSON in, figures as one line of JSON out."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from suite.processes import peak_mb

from scoregen.audio.files import Sound, read_clip, sound_writer
from scoregen.audio.pipeline import run_vocode
from scoregen.audio.vocoder import Vocoder


def main() -> None:
    """Do the task."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    figures = {"call": _call, "synthesis": _synthesis, "memory": _memory}[task["kind"]](task)
    print(json.dumps(figures))


@torch.inference_mode()
def _call(task: dict[str, Any]) -> dict[str, Any]:
    from . import calls

    if "peer" in task:
        call, length, network = calls.peer(task["peer"], task["seconds"])
    else:
        config = task.get("config")
        vocoder = calls.of_config(config) if config else Vocoder.from_pretrained(task["model"])
        call, length = calls.ours(vocoder, task["seconds"])
        network = vocoder.network
    parameters = sum(p.numel() for p in network.parameters())
    return {"parameters": parameters, **_timed(call, length, task["repeats"])}


def _synthesis(task: dict[str, Any]) -> dict[str, Any]:
    vocoder = Vocoder.from_pretrained(task["model"])
    clip = read_clip(task["sound"])
    wave = np.tile(clip.wave, -(-int(task["seconds"] * clip.sample_rate) // len(clip.wave)))
    mel = vocoder.mel(wave[: int(task["seconds"] * clip.sample_rate)], clip.sample_rate)
    length = mel.shape[1] * vocoder.spec.hop / vocoder.sample_rate
    run = lambda: vocoder.synthesize(mel, steps=task["steps"])  # noqa: E731
    return _timed(run, length, task["repeats"])


def _memory(task: dict[str, Any]) -> dict[str, Any]:
    """``scoregen vocode --stream`` of a recording repeated to the length."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.wav"), Path(folder, "out.wav")
        seconds = write_tiled(Path(task["sound"]), source, 60 * task["minutes"])
        vocoder = Vocoder.from_pretrained(task["model"])
        loaded = peak_mb()
        start, start_cpu = time.perf_counter(), time.process_time()
        summary = run_vocode([source], out, vocoder, steps=task["steps"], stream=True)
        figures = {
            "seconds_per_second": (time.perf_counter() - start) / seconds,
            "cpu_seconds_per_second": (time.process_time() - start_cpu) / seconds,
        }
        if summary.failures:
            sys.exit(summary.failures[0][1])
        exact = abs(Sound(out).seconds - Sound(source).seconds) < 1e-9
        figures.update(audio_seconds=seconds, loaded_mb=loaded, peak_mb=peak_mb())
        return {**figures, "length_exact": exact}


def write_tiled(recording: Path, target: Path, seconds: float) -> float:
    """A recording again and again up to a length, written in pieces; the length in seconds."""
    clip = read_clip(recording)
    left = total = int(seconds * clip.sample_rate)
    with sound_writer(target, clip.sample_rate) as write:
        while left:
            write(clip.wave[:left])
            left -= min(left, len(clip.wave))
    return total / clip.sample_rate


def _timed(run: Callable[[], Any], length: float, repeats: int) -> dict[str, Any]:
    """The fastest of some runs after one to warm up, and the processor time of that one."""
    run()
    found = []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        run()
        found.append((time.perf_counter() - start, time.process_time() - start_cpu))
    seconds, cpu = min(found)
    return {
        "audio_seconds": length,
        "seconds_per_second": seconds / length,
        "cpu_seconds_per_second": min(c for _, c in found) / length,
        "times_real_time": length / seconds,
        "runs": [s / length for s, _ in found],
        "cpu_of_fastest": cpu / length,
        "peak_mb": peak_mb(),
    }


if __name__ == "__main__":
    main()
