"""The parts of the fast vocoder, one at a time, each trained for the same small number of steps.

    python benchmarks/vocoder_ablation.py --cache cache/audio --steps 300 --json
    benchmarks/results/vocoder-ablation.json

First part: what tells magnitudes and phase differences, from scratch; PESQ-WB of the estimate on clips of the
cache's dev split. Second part: the network that corrects the denoiser, on top of a trained model (--base);
PESQ-WB after four calls, beside the model without it. All arms draw the same crops. Small budgets rank; they
do not measure what an arm would reach.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy read it

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import print_table, write_json
from vocoder_suite.clips import from_cache

from scoregen.audio.metrics import pesq_wb
from scoregen.audio.vocoder import Vocoder
from scoregen.training.config import load_config
from scoregen.training.loop import train

SMALL = ("model.spectrum.width=160", "model.spectrum.layers=4", "data.batch=6", "data.frames=48")
ARMS: dict[str, tuple[str, ...]] = {
    "base: width 160, 2 frames a mel frame": (),
    "1 frame a mel frame": ("model.spectrum.finer=1",),
    "4 frames a mel frame": ("model.spectrum.finer=4",),
    "width 80": ("model.spectrum.width=80",),
    "width 320": ("model.spectrum.width=320",),
    "differences of the magnitudes alone": ("model.spectrum.bins=1",),
    "crops at their own speed": ("data.speeds=[]",),
}
CORRECTION = (
    "model.network={kind: frames, width: 192, layers: 4}",
    *("data.batch=4", "data.frames=48", "data.spectrum_weight=0", "data.matching_weight=1"),
    *("data.spectral_weight=1", "data.mel_weight=1", "train.learning_rate=5e-4"),
)
CORRECTIONS: dict[str, tuple[str, ...]] = {
    "correction, spectral noise, spectral losses": (),
    "correction, no spectral losses": ("data.spectral_weight=0", "data.mel_weight=0", "data.on_policy=0"),
    "correction, energy noise": ("model.prior={kind: energy, gains: [1.056]}",),
    "correction, white noise": ("model.prior={kind: identity, gains: [0.12]}",),
    "correction, width 96": ("model.network={kind: frames, width: 96, layers: 4}",),
}


def trained(
    args: argparse.Namespace, overrides: tuple[str, ...], folder: str
) -> tuple[Vocoder, float, float]:
    """A model after ``args.steps``, its loss on the dev crops, and processor seconds a step."""
    common = (f"run={folder}", f"data.cache={args.cache}", f"train.steps={args.steps}", "train.warmup=30")
    often = (f"train.eval_every={args.steps}", f"train.checkpoint_every={args.steps}", "train.ema=0.98")
    config = load_config("vocoder-fast-22k", [*common, *often, "train.previews=false", *overrides])
    began = time.process_time()
    run = train(config)
    seconds = (time.process_time() - began) / args.steps
    losses = [line for line in (run / "log.jsonl").read_text().splitlines() if "dev_loss" in line]
    return Vocoder.from_pretrained(str(run / "best")), json.loads(losses[-1])["dev_loss"], seconds


def scores(vocoder: Vocoder, clips: list[np.ndarray], steps: int) -> list[float]:
    """PESQ-WB of each clip after ``steps`` calls; of the estimate if 0."""
    found = []
    for wave in clips:
        mel = vocoder.spec(torch.from_numpy(wave))[:, : len(wave) // vocoder.spec.hop]
        made = vocoder.synthesize(mel, steps=steps, gain=1.0) if steps else vocoder.estimate(mel)
        found.append(pesq_wb(wave, made, vocoder.sample_rate))
    return found


def main() -> None:
    """Train and score every arm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--base", default="vocoder-fast-22k", help="model that corrections are put on")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--clips", type=int, default=6, help="dev clips of each speaker")
    parser.add_argument("--arms", nargs="*", default=[*ARMS, *CORRECTIONS])
    parser.add_argument("--json", default="benchmarks/results/vocoder-ablation.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base = Vocoder.from_pretrained(args.base)
    chosen = [clip for clip in from_cache(args.cache, args.clips, 6.0) if clip.split == "dev"]
    hop = base.spec.hop
    clips = [clip.wave[: len(clip.wave) // hop * hop] for clip in chosen]
    rows: list[dict[str, Any]] = []

    def add(name: str, vocoder: Vocoder, steps: int, loss: float | None, seconds: float | None) -> None:
        values = scores(vocoder, clips, steps)
        count = sum(p.numel() for p in vocoder.network.parameters())
        row = {"arm": name, "pesq_wb": float(np.mean(values)), "calls": steps, "clips": values}
        rows.append({**row, "dev_loss": loss, "cpu_seconds_per_step": seconds, "parameters": count})
        print(f"{name}: {row['pesq_wb']:.3f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for k, (name, overrides) in enumerate(ARMS.items()):
            if name in args.arms:
                vocoder, loss, seconds = trained(args, (*SMALL, *overrides), f"{folder}/{k}")
                add(name, vocoder, 0, loss, seconds)
        if any(name in args.arms for name in CORRECTIONS):
            add(f"{args.base}, no correction", base, 4, None, None)
        for k, (name, overrides) in enumerate(CORRECTIONS.items()):
            if name in args.arms:
                init = f"init={args.base}"
                vocoder, loss, seconds = trained(args, (init, *CORRECTION, *overrides), f"{folder}/c{k}")
                add(name, vocoder, 4, loss, seconds)
    heads = ("arm", "calls", "parameters", "CPU s a step", "dev loss", "PESQ-WB")
    keys = ("arm", "calls", "parameters", "cpu_seconds_per_step", "dev_loss", "pesq_wb")
    print_table(f"{args.steps} steps each", heads, [[row[key] for key in keys] for row in rows])
    settings = {"steps": args.steps, "base": args.base, "clips": [clip.name for clip in chosen]}
    write_json(args.json, {"benchmark": "vocoder-ablation", "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
