"""Section ``badinput``: a folder of files that people really have, good and bad, through ``scoregen vocode``.

Those that cannot be vocoded must each give one line that names them, with no traceback; the others must be
there afterwards, with their length.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from common import print_table
from suite.runner import progress

from scoregen.audio.mel import MelSpec

from .options import Options
from .workbench import Workbench

DEFAULTS = Options(clips=1, seconds=1.0, steps=(1,))
COMMAND = "from scoregen.cli import main; main()"

Writer = Callable[[Path, np.ndarray, int, MelSpec], None]


def _sound(channels: int = 1, subtype: str = "PCM_16") -> Writer:
    def write(path: Path, wave: np.ndarray, rate: int, spec: MelSpec) -> None:
        soundfile.write(path, np.repeat(wave[:, None], channels, 1), rate, subtype=subtype)

    return write


def _empty(path: Path, wave: np.ndarray, rate: int, spec: MelSpec) -> None:
    soundfile.write(path, wave[:0], rate, subtype="PCM_16")


def _nan(path: Path, wave: np.ndarray, rate: int, spec: MelSpec) -> None:
    broken = wave.copy()
    broken[len(broken) // 2] = np.nan
    soundfile.write(path, broken, rate, subtype="FLOAT")


def _text(path: Path, wave: np.ndarray, rate: int, spec: MelSpec) -> None:
    path.write_text("This is no sound.\n")


def _truncated(path: Path, wave: np.ndarray, rate: int, spec: MelSpec) -> None:
    soundfile.write(path, wave, rate, subtype="PCM_16", format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _mel(change: Callable[[np.ndarray], np.ndarray]) -> Writer:
    def write(path: Path, wave: np.ndarray, rate: int, spec: MelSpec) -> None:
        np.save(path, change(spec(torch.from_numpy(wave)).numpy()))

    return write


CASES: tuple[tuple[str, str, bool, Writer], ...] = (
    ("mono, 16 bits", "good.wav", True, _sound()),
    ("8 bits", "eight_bits.wav", True, _sound(subtype="PCM_U8")),
    ("5.1 channels", "surround.wav", True, _sound(channels=6)),
    ("mel of the model", "mel.npy", True, _mel(lambda mel: mel)),
    ("length 0", "empty.wav", False, _empty),
    ("NaN samples", "nan.wav", False, _nan),
    ("wrong number of bands", "bands.npy", False, _mel(lambda mel: mel[:-7])),
    # Decibels where the model has natural logarithms or values in [0, 1].
    ("wrong convention", "decibels.npy", False, _mel(lambda mel: 8.6859 * mel - 20)),
    ("NaN in a mel", "nan_mel.npy", False, _mel(lambda mel: np.where(mel == mel.max(), np.nan, mel))),
    ("text named .wav", "text.wav", False, _text),
    ("cut file", "cut.flac", False, _truncated),
)
"""What it is, file name, whether it can be vocoded, and what writes it."""


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for every case and model."""
    rows = []
    clip = bench.clips(options.clips, options.seconds)[0]
    for (label, vocoder), model in zip(bench.vocoders.items(), bench.models, strict=True):
        progress(f"badinput: {label}\n")
        rows += check(label, model, clip.wave, clip.rate, vocoder.spec, options.steps[0])
    return {"rows": rows}


def check(
    label: str, model: str, wave: np.ndarray, rate: int, spec: MelSpec, steps: int
) -> list[dict[str, Any]]:
    """Write all cases to a folder, vocode it in another process, and look at what came of each."""
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name, "in"), Path(name, "out")
        source.mkdir()
        for _, file, _, write in CASES:
            write(source / file, wave, rate, spec)
        arguments = ["vocode", str(source), "-o", str(out), "--model", model, "--steps", str(steps), "--json"]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=False
        )
        clean = done.returncode == 1 and "Traceback" not in done.stderr and bool(_object(done.stdout))
        rows = []
        for title, file, fine, _ in CASES:
            named = re.compile(rf"(^|[/ ]){re.escape(file)}: ")  # a.npy is not in na.npy
            lines = [line for line in done.stderr.splitlines() if named.search(line)]
            made = (out / file).with_suffix(".wav" if file.endswith(".npy") else Path(file).suffix)
            failed = [line for line in lines if line.startswith("failed:")]
            if fine:
                right = made.is_file() and not failed
                if right and file.endswith(".wav"):
                    right = soundfile.info(made).frames == soundfile.info(source / file).frames
            else:
                right = len(failed) == 1 and not made.exists()
            said = (failed or lines or [""])[0].replace(f"{source}/", "")
            expected = "served" if fine else "refused"
            row = {"model": label, "case": title, "file": file, "expected": expected}
            rows.append({**row, "right": clean and right, "exit_code": done.returncode, "line": said})
    return rows


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def show(result: dict[str, Any]) -> None:
    """Print what was said of each file."""
    rows = [
        [row["case"], row["model"], row["expected"], "yes" if row["right"] else "NO", row["line"][:90]]
        for row in result["rows"]
    ]
    print_table("Files good and bad", ("case", "model", "expected", "so", "what was said"), rows)
