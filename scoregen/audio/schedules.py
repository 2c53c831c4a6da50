"""Search for noise schedules of few steps (WaveGrad, Chen et al. 2021, section 4).

WaveGrad is told the noise level and not the number of the step, so one trained network can be sampled along
any chain of β. With few steps their choice decides the quality. The paper sweeps a grid: each β_k is a
mantissa 1 … 9 times a power of ten of its own, 1e-6 … 1e-1 for six steps, and the schedule is kept whose
waveforms have the smallest mean squared error of the log-mel spectrogram.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scoregen.core.sampling import NonFiniteSample
from scoregen.errors import InputError
from scoregen.files import atomic_path
from scoregen.hub import Model, read_config
from scoregen.training.config import validate

from .config import ChainConfig, VocoderModelConfig
from .files import MELS, read_clip, read_mel, resample
from .mel import MelSpec
from .prepare import normalised
from .vocoder import Vocoder

MANTISSAS = range(1, 10)
EXPONENTS = (-6.0, -1.0)
"""Powers of ten of the first and the last β."""

PAPER_BASE_6 = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""The paper's grid for six steps: each of these times 1 … 9."""

FRAMES = 256
"""Frames of each clip that are rendered: its middle (3 s at 22.05 kHz and a hop of 256)."""

# Strides of the refinement, in mantissas.
_STRIDES = (3, 1)

Schedule = tuple[float, ...]
Mantissas = tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """A schedule that was tried.

    Attributes:
        betas: β_1 … β_K.
        error: mean squared error of the log-mel, nats²; infinite where sampling diverged.
    """

    betas: Schedule
    error: float


def powers(steps: int) -> Schedule:
    """The powers of ten of the grid, ``steps`` of them evenly spaced in their logarithm, 0.1 the last."""
    if steps < 1:
        raise InputError(f"--steps {steps}: need at least 1")
    exponents = np.linspace(*EXPONENTS, steps) if steps > 1 else EXPONENTS[1:]
    return tuple(10.0 ** float(exponent) for exponent in exponents)


def betas_at(mantissas: Mantissas) -> Schedule:
    """β at a point of the grid, rounded to six digits so that 3 × 1e-5 is 3e-5."""
    pairs = zip(mantissas, powers(len(mantissas)), strict=True)
    return tuple(float(f"{mantissa * power:.6g}") for mantissa, power in pairs)


def is_rising(betas: Sequence[float]) -> bool:
    """Whether every β is larger than the one before."""
    return all(a < b for a, b in itertools.pairwise(betas))


def search_grid(
    error: Callable[[Schedule], float],
    steps: int,
    *,
    budget: int = 150,
    seed: int = 0,
    starts: Sequence[Schedule] = (),
) -> tuple[Candidate, ...]:
    """Rising schedules of the grid, tried and sorted by their error.

    Where all ``9**steps`` points fit into the budget all are tried, as in the paper (531,441 for six steps).
    Else: the grid's powers themselves; then random points, a third of the budget, each β drawn among the
    mantissas that keep the schedule rising; then refinement one coordinate at a time by three mantissas and
    by one, from the best point and, when no move improves on that, from the next best. The outcome is then a
    local optimum among what was tried, not certainly the best of the grid.

    Args:
        error: what is minimised; called once a schedule.
        steps: number of β.
        budget: calls of ``error``, those for ``starts`` included.
        seed: of the random points.
        starts: further schedules to try first, which need not lie on the grid.

    Raises:
        InputError: ``steps`` or ``budget`` below 1, or no schedule has a finite error.
    """
    powers(steps)  # refuses steps < 1 before anything is tried
    if budget < 1:
        raise InputError(f"--budget {budget}: need at least 1")
    tried: dict[Schedule, float] = {}
    points: dict[Mantissas, float] = {}

    def spent() -> bool:
        return len(tried) >= budget

    def visit(mantissas: Mantissas) -> float:
        """Error at a point; infinite off the grid, where β do not rise, or where it would cost too much."""
        betas = betas_at(mantissas)
        if any(m not in MANTISSAS for m in mantissas) or not is_rising(betas):
            return math.inf
        if betas not in tried:
            if spent():
                return math.inf
            tried[betas] = error(betas)
        return points.setdefault(mantissas, tried[betas])

    for betas in starts[:budget]:
        tried[tuple(betas)] = error(tuple(betas))
    if 9**steps <= budget - len(tried):
        for mantissas in itertools.product(MANTISSAS, repeat=steps):
            visit(mantissas)
    else:
        rng = np.random.default_rng(seed)
        visit((1,) * steps)
        for _ in range(budget // 3):
            visit(_draw(rng, steps))
        _refine(visit, points, spent)
    found = sorted((Candidate(b, e) for b, e in tried.items()), key=lambda candidate: candidate.error)
    if not math.isfinite(found[0].error):
        raise InputError(f"none of {len(found)} schedules of {steps} steps gave finite waveforms")
    return tuple(found)


def _draw(rng: np.random.Generator, steps: int) -> Mantissas:
    """A random point whose β rise; a mantissa of 9 always does."""
    mantissas: list[int] = []
    last = 0.0
    for power in powers(steps):
        # Compared with a margin: equal products differ in their last bits.
        mantissa = int(rng.choice([m for m in MANTISSAS if m * power > last * (1 + 1e-5)]))
        mantissas.append(mantissa)
        last = mantissa * power
    return tuple(mantissas)


def _refine(
    visit: Callable[[Mantissas], float], points: dict[Mantissas, float], spent: Callable[[], bool]
) -> None:
    """Descend by coordinates from the best points in turn, until the budget is spent."""
    begun: set[Mantissas] = set()
    while not spent() and set(points) - begun:
        here = min((p for p in points if p not in begun), key=points.__getitem__)
        for stride in _STRIDES:
            moved = True
            while moved and not spent():
                moved = False
                for axis, sign in itertools.product(range(len(here)), (1, -1)):
                    there = (*here[:axis], here[axis] + sign * stride, *here[axis + 1 :])
                    if visit(there) < points[here]:
                        begun.add(here)
                        here, moved = there, True
        begun.add(here)


def chain_of(vocoder: Vocoder) -> ChainConfig:
    """The chain of a vocoder.

    Raises:
        InputError: it has none.
    """
    if vocoder.config.chain is None:
        raise InputError(
            f"model '{vocoder.name}' has no chain, so no schedule of β: it starts from a classical estimate"
            " and takes any --steps; give a WaveGrad, trained with model.chain"
        )
    return vocoder.config.chain


def with_schedule(vocoder: Vocoder, betas: Sequence[float]) -> Vocoder:
    """The same vocoder, with ``betas`` as its schedule for ``len(betas)`` steps; weights are shared."""
    chain = chain_of(vocoder)
    chain = chain.model_copy(update={"schedules": {**chain.schedules, len(betas): tuple(betas)}})
    config = vocoder.config.model_copy(update={"chain": chain})
    return Vocoder(Model(vocoder.name, "audio", config, vocoder.denoiser, vocoder.info))


def even_betas(chain: ChainConfig, steps: int) -> Schedule:
    """The schedule of ``steps`` evenly spaced levels of the training chain: what is used without a search.

    Raises:
        InputError: more steps than the chain has.
    """
    process = chain.process()
    try:
        times = process.grid(steps).times
    except ValueError as error:
        raise InputError(f"--steps {steps}: {error}") from None
    # 1 − (α_k/α_{k−1})², without cancellation.
    alpha, _ = process.marginal(times.flip(0))
    kept = -torch.expm1(2 * (alpha[1:].log() - alpha[:-1].log()))
    return tuple(kept.tolist())


def log_mel_error(spec: MelSpec, wave: Tensor, mel: Tensor) -> float:
    """Mean squared error of the natural log-mel magnitudes, without the frames that see an edge.

    The paper measures against the recording, on mels of 50 ms windows every 6.25 ms; here the target is the
    mel that was asked for, in the model's own convention, so that clips need no recording.

    Args:
        spec: convention of the mel.
        wave: ``(F * hop,)``.
        mel: ``(n_mels, F)``.

    Returns:
        nats².
    """
    margin = _margin(spec)
    inside = slice(margin, mel.shape[-1] - margin)
    found, wanted = (spec.expand(m).clamp(min=spec.floor).log() for m in (spec(wave), mel))
    return float((found[:, inside] - wanted[:, inside]).square().mean())


def _margin(spec: MelSpec) -> int:
    """Frames at either end that see beyond it."""
    return -(-spec.n_fft // (2 * spec.hop)) + 1


def schedule_error(vocoder: Vocoder, betas: Sequence[float], mels: Sequence[Tensor], seed: int = 0) -> float:
    """Log-mel error of what a vocoder makes of mels along a schedule, mean over the clips, nats².

    Args:
        vocoder: with a chain.
        betas: the schedule.
        mels: ``(n_mels, F)`` each.
        seed: of the noise; the clip's index is the other part of its key, so that every schedule gets the
            same noise.

    Returns:
        The error; infinity where sampling diverges.
    """
    along = with_schedule(vocoder, betas)
    total = 0.0
    for index, mel in enumerate(mels):
        try:
            wave = along.synthesize(mel, seed=seed, steps=len(betas), sample_id=index)
        except NonFiniteSample:
            return math.inf
        total += log_mel_error(vocoder.spec, torch.from_numpy(wave), mel)
    return total / len(mels) if math.isfinite(total) else math.inf


def search_schedule(
    vocoder: Vocoder,
    mels: Sequence[Tensor],
    steps: int,
    *,
    budget: int = 150,
    seed: int = 0,
    starts: Sequence[Schedule] = (),
    on_done: Callable[[int, int], None] | None = None,
) -> tuple[Schedule, tuple[Candidate, ...]]:
    """The schedule of the smallest log-mel error; see :func:`search_grid` for how it is searched.

    The schedules that the vocoder would use otherwise, evenly spaced levels of its training chain and one
    that it holds already for this number of steps, are tried first; so the result is no worse than they.

    Args:
        vocoder: with a chain.
        mels: development clips, ``(n_mels, F)`` each, of the vocoder's convention.
        steps: number of network calls.
        budget: schedules to try; each costs ``steps`` network calls a clip.
        seed: of the noise, the same for all schedules, and of the random part of the search.
        starts: further schedules of ``steps`` β to try first.
        on_done: progress, called with (tried, budget).

    Returns:
        The best β_1 … β_K, and all that was tried, best first.

    Raises:
        InputError: the vocoder has no chain, no clips, clips too short or silent, or ``steps`` outside
            1 … the chain's length.
    """
    chain, spec = chain_of(vocoder), vocoder.spec
    powers(steps)
    if not mels:
        raise InputError("no clips to score schedules on; give recordings or mels of a few seconds")
    for index, mel in enumerate(mels):
        _check(spec, mel, f"clip {index + 1}")
    held = chain.schedules.get(steps)
    first = [even_betas(chain, steps), *([held] if held else []), *starts]
    tried = 0

    def error(betas: Schedule) -> float:
        nonlocal tried
        value = schedule_error(vocoder, betas, mels, seed)
        tried += 1
        if on_done is not None:
            on_done(tried, budget)
        return value

    unique = list(dict.fromkeys(betas for betas in first if is_rising(betas)))
    table = search_grid(error, steps, budget=budget, seed=seed, starts=unique)
    return table[0].betas, table


def read_mels(paths: Sequence[Path], vocoder: Vocoder) -> tuple[list[Tensor], list[tuple[str, str]]]:
    """Mels to score schedules on: the middle :data:`FRAMES` frames of sound and mel files.

    Recordings are brought to the level that the vocoder was trained at.

    Args:
        paths: files.
        vocoder: gives the convention.

    Returns:
        Mels ``(n_mels, F)``, and (file, reason) of those that cannot be used.
    """
    mels, failed = [], []
    for path in paths:
        try:
            mel = _read(path, vocoder.spec)
            first = max(0, (mel.shape[-1] - FRAMES) // 2)
            mel = mel[:, first : first + FRAMES]
            _check(vocoder.spec, mel, str(path))
        except InputError as error:
            failed.append((str(path), str(error)))
        else:
            mels.append(mel)
    return mels, failed


def _read(path: Path, spec: MelSpec) -> Tensor:
    if path.suffix.lower() in MELS:
        return read_mel(path, spec)
    clip = read_clip(path)
    wave = resample(clip.wave, clip.sample_rate, spec.sample_rate)
    if len(wave) <= spec.n_fft:
        raise InputError(f"{path}: too short ({len(clip.wave) / clip.sample_rate:.2f} s)")
    levelled = torch.from_numpy(normalised(wave, spec))
    return spec(levelled)[:, : len(levelled) // spec.hop]


def _check(spec: MelSpec, mel: Tensor, source: str) -> None:
    """Refuse mels that a schedule cannot be scored on."""
    spec.check(mel, source)
    if mel.ndim != 2 or mel.shape[-1] <= 2 * _margin(spec):
        raise InputError(f"{source}: too short; need more than {2 * _margin(spec)} frames")
    if float(mel.max()) <= spec.lowest + 0.1:
        raise InputError(f"{source}: silent")


def store_schedule(folder: str | os.PathLike[str], betas: Sequence[float]) -> None:
    """Write a schedule into ``config.json`` of a model folder, whole or not at all.

    The folder's model then uses it for ``len(betas)`` steps. One it held for that number is replaced.

    Raises:
        InputError: no model there, one without a chain, or ``betas`` are no schedule.
    """
    folder = Path(folder)
    content = read_config(folder)
    chain = content["model"].get("chain") if content["modality"] == "audio" else None
    if chain is None:
        raise InputError(f"{folder}: not a model with a chain, so it holds no schedules")
    schedules = {**chain.get("schedules", {}), str(len(betas)): list(betas)}
    chain["schedules"] = dict(sorted(schedules.items(), key=lambda item: int(item[0])))
    validate(VocoderModelConfig, content["model"], f"{folder}/config.json: model")
    with atomic_path(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
