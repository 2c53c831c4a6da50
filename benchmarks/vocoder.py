"""Griffin-Lim against a vocoder on clips that were never trained on: PESQ-WB, STOI, MR-STFT, log-mel, speed.

Every method gets the same mel spectrogram and its waveform is compared with the recording (at the
recording's loudness). Baseline: pseudo-inverse of the mel filters, then torchaudio's fast Griffin-Lim with 60
iterations. ``estimate`` is what the vocoder starts from: learned magnitudes and fast Griffin-Lim.

    python benchmarks/vocoder.py --cache cache/audio --json vocoder.json
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from common import print_table, write_json

from scoregen.audio.baselines import griffin_lim
from scoregen.audio.metrics import log_mel_l1, mr_stft_distance, pesq_wb, stoi
from scoregen.audio.vocoder import Start, Vocoder, describe
from scoregen.training.cache import Cache

COLUMNS = ("method", "speaker", "clips", "PESQ-WB", "STOI", "MR-STFT", "log-mel", "s per s", "PESQ / GL60")
BASELINE = "Griffin-Lim 60"


def clips(cache: Cache, per_speaker: int, longest: int) -> list[tuple[str, str, np.ndarray]]:
    """(speaker, split, waveform) of the first held-out clips of each speaker."""
    found = []
    for speaker in cache.info["speakers"]:
        for split in ("dev", "unseen"):
            for record in cache.select(speaker=speaker, split=split)[:per_speaker]:
                wave = cache[int(record)]["wave"].astype(np.float32) / 32767
                found.append((speaker, split, wave[:longest]))
    return found


def methods(vocoder: Vocoder, steps: list[int]) -> dict[str, Callable[[torch.Tensor], np.ndarray]]:
    """Name → function from a log-mel to a waveform."""

    def run(k: int, start: Start | None = None) -> Callable[[torch.Tensor], np.ndarray]:
        return lambda mel: vocoder.synthesize(mel, steps=k, start=start)

    table: dict[str, Callable[[torch.Tensor], np.ndarray]] = {
        BASELINE: lambda mel: griffin_lim(vocoder.spec, mel, iterations=60).numpy(),
        "estimate": vocoder.estimate,
    }
    table |= {f"{vocoder.name} {k}": run(k) for k in steps}
    other = Start("griffinlim", 1.0) if vocoder.config.init == "noise" else Start("noise", 5.0)
    return table | {f"{vocoder.name} 6, {other.kind} start": run(6, other)}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", default="cache/audio", help="prepared cache with dev and unseen clips")
    parser.add_argument("--model", default="vocoder-small-22k")
    parser.add_argument("--clips", type=int, default=12, help="clips of each speaker")
    parser.add_argument("--seconds", type=float, default=8.0, help="longer clips are cut")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 6, 12])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", default="benchmarks/results/vocoder.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    vocoder = Vocoder.from_pretrained(options.model)
    spec, rate = vocoder.spec, vocoder.sample_rate
    cache = Cache(options.cache, "audio")
    chosen = clips(cache, options.clips, int(options.seconds * rate) // spec.hop * spec.hop)
    scores: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    for speaker, split, recording in chosen:
        wave = recording[: len(recording) // spec.hop * spec.hop]
        mel = spec(torch.from_numpy(wave))[:, : len(wave) // spec.hop]
        for name, make in methods(vocoder, options.steps).items():
            started = time.perf_counter()
            out = make(mel)
            seconds = (time.perf_counter() - started) / (len(wave) / rate)
            scores[name, f"{speaker} ({split})"].append(
                (
                    pesq_wb(wave, out, rate),
                    stoi(wave, out, rate),
                    mr_stft_distance(wave, out),
                    log_mel_l1(wave, out, spec),
                    seconds,
                )
            )
    rows = []
    for (name, speaker), values in sorted(scores.items(), key=lambda item: item[0][1]):
        mean = [float(x) for x in np.mean(values, axis=0)]
        base = float(np.mean([v[0] for v in scores[BASELINE, speaker]]))
        rows.append((name, speaker, len(values), *mean, mean[0] / base))
    print_table("Vocoding of held-out clips (1.02 to 4.64, 1, 0 and 0 are best)", COLUMNS, rows)
    write_json(
        options.json,
        {
            "benchmark": "vocoder",
            **describe(vocoder),
            "threads": options.threads,
            "settings": vocoder.config.model_dump(include={"init", "start", "iterations", "blend"}),
            "rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
        },
    )


if __name__ == "__main__":
    main()
