"""Section ``quality``: clips never trained on, through their mel and back, scored against themselves.

Every method gets the mel of the same recording at the level of training clips, and its waveform is compared
with that recording sample by sample in time. Means by speaker with 95 % bootstrap intervals over clips.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import print_table
from suite.bootstrap import interval
from suite.runner import progress

from scoregen.audio.baselines import griffin_lim
from scoregen.audio.files import fit, resample
from scoregen.audio.mel import MelSpec
from scoregen.audio.metrics import (
    World,
    log_mel_l1,
    mr_stft_distance,
    pesq_wb,
    stoi,
    voice_scores,
    world,
)
from scoregen.audio.render import GuidedRenderer
from scoregen.audio.vocoder import Vocoder
from scoregen.errors import InputError

from .clips import Clip
from .options import Options
from .workbench import Workbench

DEFAULTS = Options()
MEASURES = (
    *("pesq_wb", "stoi", "mr_stft", "log_mel_l1", "mcd"),
    *("f0_rmse_hz", "f0_rmse_cents", "vuv_error", "vuv_f1", "seconds_per_second"),
)
HEADS = ("PESQ-WB", "STOI", "MR-STFT", "log-mel", "MCD dB", "F0 Hz", "cents", "V/UV", "F1", "s per s")


@dataclass(frozen=True)
class Method:
    """From a log-mel of ``spec`` to a waveform of whole hops; ``facts`` decide what it makes."""

    name: str
    spec: MelSpec
    make: Callable[[torch.Tensor], np.ndarray]
    facts: dict[str, Any]


def methods(bench: Workbench, options: Options) -> list[Method]:
    """Griffin-Lim for each mel convention, then every model's estimate and numbers of steps."""
    found: dict[str, Method] = {}
    for vocoder in bench.vocoders.values():
        # The convention is named where models differ in it.
        several = len({v.spec for v in bench.vocoders.values()}) > 1
        base = f"Griffin-Lim {options.iterations}" + (f", {vocoder.spec.name}" if several else "")
        facts = {"iterations": options.iterations, "spec": vocoder.spec.to_dict()}
        found.setdefault(base, Method(base, vocoder.spec, _griffin_lim(vocoder.spec, options), facts))
    for label, vocoder in bench.vocoders.items():
        weights = {"weights": bench.weights[label]}
        if isinstance(vocoder.renderer, GuidedRenderer):
            name = f"{label}, estimate"
            found[name] = Method(name, vocoder.spec, _estimate(vocoder, options), {**weights, "steps": 0})
        for steps in options.steps:
            name = f"{label}, {steps}"
            make = _synthesis(vocoder, steps, options)
            found[name] = Method(name, vocoder.spec, make, {**weights, "steps": steps})
    return list(found.values())


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows by method and speaker, and the scores of every clip."""
    clips = bench.clips(options.clips, options.seconds)
    chosen = methods(bench, options)
    scores: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for k, clip in enumerate(clips):
        analysis: list[World] = []
        for method in chosen:
            progress(f"quality: {clip.name} ({k + 1}/{len(clips)}), {method.name}")
            facts = {"code": bench.code, "seed": options.seed, "clip": clip.sha256}
            facts |= {"section": "quality", "method": method.name, **method.facts}
            entry = bench.store.load(facts)
            if entry is None:
                entry = score(clip, method, analysis)
                bench.store.save(facts, entry)
            scores.setdefault((method.name, clip.speaker, clip.split), []).append(
                {"clip": clip.name, **entry}
            )
    progress(f"quality: {len(chosen)} methods, {len(clips)} clips\n")
    rows = [
        {"method": method, "speaker": speaker, "split": split, **summary(entries, options.seed)}
        for (method, speaker, split), entries in sorted(scores.items(), key=lambda item: item[0][1:])
    ]
    by_clip = [{"method": method, "scores": entries} for (method, _, _), entries in scores.items()]
    facts = {label: _size(vocoder) for label, vocoder in bench.vocoders.items()}
    return {"models": facts, "threads": torch.get_num_threads(), "rows": rows, "by_clip": by_clip}


def score(clip: Clip, method: Method, analysis: list[World]) -> dict[str, Any]:
    """All measures of one method on one clip, None where one cannot be told; ``notes`` say why.

    Args:
        clip: the recording.
        method: what is scored.
        analysis: WORLD's of the recording, made and kept here when it is empty.
    """
    spec, wave, rate = method.spec, clip.wave, clip.rate
    heard = resample(wave, rate, spec.sample_rate)
    frames = -(-len(heard) // spec.hop)
    heard = fit(heard, max(frames * spec.hop, 2 * spec.n_fft))
    mel = spec(torch.from_numpy(heard))[:, :frames]
    started = time.perf_counter()
    made = method.make(mel)
    seconds = (time.perf_counter() - started) / (len(wave) / rate)
    out = fit(resample(made, spec.sample_rate, rate), len(wave))
    if not analysis:
        analysis.append(world(wave, rate))
    notes: list[str] = []
    found: dict[str, Any] = {
        "pesq_wb": _told(notes, lambda: pesq_wb(wave, out, rate)),
        "stoi": _told(notes, lambda: stoi(wave, out, rate)),
        "mr_stft": mr_stft_distance(wave, out),
        "log_mel_l1": log_mel_l1(wave, out, clip_spec(spec, rate)),
        **voice_scores(analysis[0], world(out, rate)).as_dict(),
        "seconds_per_second": seconds,
    }
    return {**found, **({"notes": notes} if notes else {})}


def clip_spec(spec: MelSpec, rate: int) -> MelSpec:
    """The convention that log-mels are compared in: the method's, or HiFi-GAN's where the rate is another."""
    return spec if spec.sample_rate == rate else MelSpec.preset("hifigan-22k")


def summary(entries: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Mean, 95 % interval and number of clips of each measure."""
    found: dict[str, Any] = {"clips": len(entries)}
    for key in MEASURES:
        values = [entry[key] for entry in entries if entry[key] is not None]
        mean = float(np.mean(values)) if values else None
        found[key] = {"mean": mean, "interval": interval(values, seed=seed), "clips": len(values)}
    return found


def show(result: dict[str, Any]) -> None:
    """Print means, and the interval of PESQ-WB."""
    rows = [
        [row["method"], f"{row['speaker']} ({row['split']})", row["clips"]]
        + [row[key]["mean"] for key in MEASURES]
        + ["–" if (i := row["pesq_wb"]["interval"]) is None else f"{i[0]:.2f} … {i[1]:.2f}"]
        for row in result["rows"]
    ]
    heads = ("method", "speaker", "clips", *HEADS, "PESQ 95 %")
    print_table("Vocoding of clips never trained on", heads, rows)


def _told(notes: list[str], measure: Callable[[], float]) -> float | None:
    try:
        value = measure()
    except InputError as error:
        notes.append(str(error))
        return None
    return value if np.isfinite(value) else None


def _size(vocoder: Vocoder) -> dict[str, Any]:
    count = sum(p.numel() for p in vocoder.network.parameters())
    return {"parameters": count, "mel": vocoder.spec.name, "init": vocoder.config.init}


def _griffin_lim(spec: MelSpec, options: Options) -> Callable[[torch.Tensor], np.ndarray]:
    return lambda mel: griffin_lim(spec, mel, iterations=options.iterations, seed=options.seed).numpy()


def _estimate(vocoder: Vocoder, options: Options) -> Callable[[torch.Tensor], np.ndarray]:
    return lambda mel: vocoder.estimate(mel, seed=options.seed)


def _synthesis(vocoder: Vocoder, steps: int, options: Options) -> Callable[[torch.Tensor], np.ndarray]:
    return lambda mel: vocoder.synthesize(mel, steps=steps, seed=options.seed)
