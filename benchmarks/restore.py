"""Gaps of 50 ms, a band limit of 4 kHz and noise at 10 dB: restored by the vocoder, beside simple methods.

Clips that the model was not trained on: of the speakers of a folder those whose hash kept them out of
training (``prepare audio`` with its default share), and all of the speakers that the model's card names as
held out. PESQ-WB of the whole clip (1.02 to 4.64, more is better); log-spectral distance in dB
(less is better) within gaps, and of the whole clip for the band limit.

    python benchmarks/restore.py --data data/speech --limit 4 --json benchmarks/results/restore.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import print_table, write_json

from scoregen.audio.damage import Bandwidth, Gap, Noise, bridge, low_pass
from scoregen.audio.denoise import denoised, noise_power
from scoregen.audio.files import SOUND, find_inputs, fit, read_clip
from scoregen.audio.metrics import pesq_wb
from scoregen.audio.phase import analyse, synthesise
from scoregen.audio.prepare import split_of
from scoregen.audio.restore import restore
from scoregen.audio.vocoder import Vocoder, describe

COLUMNS = ("damage", "method", "clips", "PESQ-WB", "LSD (dB)", "s per s")
GAP, BAND, SNR = 0.05, 4000.0, 10.0
DEV_FRACTION = 0.03

Method = Callable[[np.ndarray], np.ndarray]


def clips(
    folders: list[str], held_out: list[str], limit: int, seconds: float
) -> list[tuple[str, np.ndarray, int]]:
    """(name, waveform, rate), the speakers in turn."""
    groups: dict[str, list[Path]] = {}
    for path, _ in find_inputs(folders, SOUND):
        speaker = path.resolve().parent.name
        if speaker in held_out or split_of(f"{speaker}/{path.stem}", DEV_FRACTION) == "dev":
            groups.setdefault(speaker, []).append(path)
    longest = max(map(len, groups.values()), default=0)
    turns = [group[i] for i in range(longest) for group in groups.values() if i < len(group)]
    found = []
    for path in turns[:limit]:
        clip = read_clip(path)
        name = f"{path.parent.name}/{path.stem}"
        found.append((name, clip.wave[: int(seconds * clip.sample_rate)], clip.sample_rate))
    return found


def draw_gaps(wave: np.ndarray, rate: int, random: np.random.Generator) -> Gap:
    """A gap a second at random places, none in the quietest third of the clip."""
    size = round(GAP * rate)
    power = np.convolve(wave.astype(np.float64) ** 2, np.ones(size), "valid")
    loud = np.flatnonzero(power > np.quantile(power, 1 / 3))
    spans: list[tuple[float, float]] = []
    for second in range(len(wave) // rate):
        inside = loud[(loud >= (second + 0.1) * rate) & (loud < (second + 0.8) * rate)]
        if len(inside):
            first = int(random.choice(inside))
            spans.append((first / rate, (first + size) / rate))
    return Gap(tuple(spans))


def log_spectral_distance(a: np.ndarray, b: np.ndarray, spans: list[tuple[int, int]]) -> float:
    """Mean over frames of 512 samples around each gap of the root mean square difference in dB."""

    def spectra(x: np.ndarray, first: int, last: int) -> np.ndarray:
        piece = np.pad(x, 256)[first : last + 512]
        frames = np.lib.stride_tricks.sliding_window_view(piece, 512)[::64] * np.hanning(512)
        return 20 * np.log10(np.abs(np.fft.rfft(frames)) + 1e-3)

    found = [np.sqrt(((spectra(a, *s) - spectra(b, *s)) ** 2).mean(1)).mean() for s in spans]
    return float(np.mean(found))


def straight(wave: np.ndarray, spans: list[tuple[int, int]]) -> np.ndarray:
    """Gaps bridged by straight lines."""
    out = wave.copy()
    for first, last in spans:
        ends = [first - 1, last]
        out[first:last] = np.interp(np.arange(first, last), ends, out[ends])
    return out


def suppressed(vocoder: Vocoder, wave: np.ndarray, kind: str) -> np.ndarray:
    """Spectral subtraction, the Wiener filter or the log-spectral estimator, all with the same noise."""
    spec = vocoder.spec
    x = torch.from_numpy(fit(wave, -(-len(wave) // spec.hop) * spec.hop))[None]
    noise = noise_power(spec, x, SNR)
    if kind == "log-MMSE":
        return fit(denoised(spec, x, noise)[0].numpy(), len(wave))
    spectrum = analyse(spec, x)
    share = noise[:, None] / spectrum[0].abs().square().clamp(min=1e-12)
    gain = 1 - (share.sqrt() if kind == "subtraction" else share)
    return fit(synthesise(spec, spectrum * gain.clamp(min=0.05))[0].numpy(), len(wave))


def problems(
    vocoder: Vocoder, wave: np.ndarray, rate: int, number: int, options: argparse.Namespace
) -> dict[str, tuple[np.ndarray, list[tuple[int, int]], dict[str, Method]]]:
    """Damage → (damaged clip, spans that are looked at closely, methods)."""
    random = np.random.default_rng(number)
    gap = draw_gaps(wave, rate, random)
    spans = gap.samples(len(wave), rate)
    holes = wave.copy()
    for first, last in spans:
        holes[first:last] = 0
    limited = low_pass(torch.from_numpy(wave).double(), rate, BAND).float().numpy()
    level = float(np.sqrt(np.mean(wave.astype(np.float64) ** 2))) * 10 ** (-SNR / 20)
    noisy = wave + (level * random.standard_normal(len(wave))).astype(np.float32)

    def ours(damage: Any, **settings: Any) -> Method:
        return lambda x: restore(vocoder, x, rate, damage, steps=options.steps, **settings).wave

    def nothing(x: np.ndarray) -> np.ndarray:
        return x

    name = f"{vocoder.name} {options.steps}"
    tables: dict[str, tuple[np.ndarray, list[tuple[int, int]], dict[str, Method]]] = {
        "50 ms gaps": (
            holes,
            spans,
            {
                "zeros": nothing,
                "straight line": lambda x: straight(x, spans),
                "linear prediction": lambda x: bridge(x, spans, rate),
                name: ours(gap),
            },
        ),
        "4 kHz limit": (limited, [(0, len(wave))], {"as it is": nothing, name: ours(Bandwidth(BAND))}),
        "10 dB noise": (
            noisy,
            [],
            {
                "as it is": nothing,
                **{
                    k: lambda x, k=k: suppressed(vocoder, x, k) for k in ("subtraction", "Wiener", "log-MMSE")
                },
                name: ours(Noise(SNR)),
                f"{name}, level not told": ours(Noise(None)),
            },
        ),
    }
    for level in options.levels:
        for damage, made in (
            ("50 ms gaps", gap),
            ("4 kHz limit", Bandwidth(BAND)),
            ("10 dB noise", Noise(SNR)),
        ):
            tables[damage][2][f"{name}, from {level:g}"] = ours(made, level=level)
    for caution in options.cautions:
        tables["4 kHz limit"][2][f"{name}, caution {caution:g}"] = ours(Bandwidth(BAND), caution=caution)
    return tables


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["data/speech"], help="folders, one a speaker inside")
    parser.add_argument("--model", default="vocoder-fast-22k")
    parser.add_argument("--limit", type=int, default=4, help="clips")
    parser.add_argument("--seconds", type=float, default=6.0, help="longer clips are cut")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--damages", nargs="+", default=["50 ms gaps", "4 kHz limit", "10 dB noise"])
    parser.add_argument("--levels", type=float, nargs="*", default=[], help="also start from these levels")
    parser.add_argument(
        "--cautions", type=float, nargs="*", default=[], help="also take these off the treble"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", default="benchmarks/results/restore.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    vocoder = Vocoder.from_pretrained(options.model)
    held_out = list(vocoder.info.get("held_out_speakers", ()))
    chosen = clips(options.data, held_out, options.limit, options.seconds)
    if not chosen:
        parser.error(f"no clip in {', '.join(options.data)} was kept out of training")
    scores: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for number, (_, wave, rate) in enumerate(chosen):
        for damage, (damaged, spans, methods) in problems(vocoder, wave, rate, number, options).items():
            if damage not in options.damages:
                continue
            for method, make in methods.items():
                began = time.perf_counter()
                out = make(damaged)
                cost = (time.perf_counter() - began) / (len(wave) / rate)
                distance = log_spectral_distance(wave, out, spans) if spans else float("nan")
                scores.setdefault((damage, method), []).append((pesq_wb(wave, out, rate), distance, cost))
    rows: list[tuple[Any, ...]] = []
    for damage in options.damages:
        for (of, method), values in scores.items():
            if of == damage:
                pesq, distance, cost = (float(v) for v in np.mean(values, axis=0))
                rows.append(
                    (damage, method, len(values), pesq, None if np.isnan(distance) else distance, cost)
                )
    print_table("Restored clips", COLUMNS, rows)
    write_json(
        options.json,
        {
            "benchmark": "restore",
            **describe(vocoder),
            "threads": options.threads,
            "clips": [name for name, _, _ in chosen],
            "rows": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
            "pesq_by_clip": [
                {"damage": d, "method": m, "pesq": [v[0] for v in values]}
                for (d, m), values in scores.items()
            ],
        },
    )


if __name__ == "__main__":
    main()
