"""Draws of a vocoder's model beside a recording: at its rate, near an estimate, guided, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scoregen.core import DenseSpace, karras_grid, sample
from scoregen.core import Noise as KeyedNoise
from scoregen.core.denoiser import Prediction
from scoregen.core.sampling import Guide
from scoregen.core.solvers import solver_by_name
from scoregen.core.uncertainty import summarise

from .files import fit, resample
from .loudness import gain_to_target
from .mel import MelSpec, aligned
from .render import LAST, GuidedRenderer
from .vocoder import Vocoder

STEP = 0.01
"""Seconds that one value of the spread stands for."""
PIECE, OVERLAP = 1720, 86
"""Frames rendered at once (20 s at 22.05 kHz and a hop of 256), and those that two pieces share."""


@dataclass(frozen=True)
class Job:
    """One recording and how to draw from the model beside it."""

    vocoder: Vocoder
    renderer: GuidedRenderer
    given: np.ndarray
    rate: int
    steps: int
    level: float

    @property
    def spec(self) -> MelSpec:
        return self.vocoder.spec

    def blocks(self, wave: np.ndarray) -> Tensor:
        """A wave at the input's rate as ``(1, F * hop)`` at the model's, zeros at the end."""
        wave = resample(wave, self.rate, self.spec.sample_rate)
        frames = max(-(-len(wave) // self.spec.hop), -(-2 * self.spec.n_fft // self.spec.hop))
        return torch.from_numpy(fit(wave, frames * self.spec.hop))[None]

    def back(self, wave: Tensor) -> np.ndarray:
        """The way back."""
        at_rate = resample(wave[0].cpu().numpy(), self.spec.sample_rate, self.rate)
        return fit(at_rate, len(self.given))

    def mel(self, blocks: Tensor) -> Tensor:
        """Aligned log-mel ``(1, n_mels, F)`` of whole blocks."""
        return aligned(self.spec, self.spec(blocks), blocks.shape[-1] // self.spec.hop)

    def draw(
        self, mel: Tensor, start: Tensor, guide: Callable[[DenseSpace], Guide], noise: KeyedNoise, first: int
    ) -> Tensor:
        """One draw near ``start`` ``(1, F * hop)`` of the frames from ``first`` on, guided."""
        renderer, device = self.renderer, self.vocoder.device
        denoiser = renderer.denoiser
        mel = mel.to(device)
        space = renderer.prior.space(mel)
        with torch.no_grad():
            condition = renderer.network.condition(mel, space)

        def denoise(x: Tensor, t: Tensor) -> Prediction:
            prediction: Prediction = denoiser(x, t, space, condition)
            return prediction

        low = min(LAST, self.level / 2)
        return sample(
            denoise,
            denoiser.sde,
            space,
            solver=solver_by_name("dpmpp-2m"),
            grid=karras_grid(denoiser.sde, self.steps, sigma_max=self.level, sigma_min=low, rho=3.0),
            noise=replace(noise, offset=first * self.spec.hop),
            start=start.to(device),
            guides=[guide(space)],
        ).cpu()


def levelled(job: Job, wave: Tensor) -> tuple[Tensor, Tensor]:
    """Log-mel ``(1, n_mels, F)`` of ``wave`` at the training level, and its gain to that level ``(1,)``."""
    gain = gain_to_target(job.spec, job.mel(wave))
    return job.mel(wave * gain), gain


def estimate(job: Job, mel: Tensor, noise: KeyedNoise) -> Tensor:
    """What is likely by a levelled mel alone, ``(1, F * hop)``, piece by piece."""
    hop, device = job.spec.hop, job.vocoder.device

    def pieces() -> Iterator[tuple[int, Tensor]]:
        for first, last in ranges(mel.shape[-1]):
            here = replace(noise, offset=first * hop)
            yield first, job.renderer.estimate(mel[..., first:last].to(device), here).cpu()

    return joined(pieces(), mel.shape[-1], hop)


def in_pieces(
    job: Job, mel: Tensor, start: Tensor, guide: Callable[[DenseSpace, slice], Guide], noise: KeyedNoise
) -> Tensor:
    """A draw of a whole clip ``(1, F * hop)`` in bounded memory: pieces that are cross-faded."""
    hop = job.spec.hop

    def pieces() -> Iterator[tuple[int, Tensor]]:
        for first, last in ranges(mel.shape[-1]):
            at = slice(first * hop, last * hop)
            chosen = start[:, at]
            yield (
                first,
                job.draw(mel[..., first:last], chosen, lambda space, at=at: guide(space, at), noise, first),  # type: ignore[misc]
            )

    return joined(pieces(), mel.shape[-1], hop)


def ranges(frames: int) -> list[tuple[int, int]]:
    """Pieces of at most :data:`PIECE` frames that share :data:`OVERLAP`."""
    starts = range(0, max(1, frames - OVERLAP), PIECE - OVERLAP)
    return [(first, min(frames, first + PIECE)) for first in starts]


def joined(pieces: Iterator[tuple[int, Tensor]], frames: int, hop: int) -> Tensor:
    """Cross-fade pieces ``(1, f * hop)`` at their first frames; their weights sum to 1."""
    out = torch.zeros(1, frames * hop)
    ramp = (torch.arange(OVERLAP * hop) + 0.5) / (OVERLAP * hop)
    for first, piece in pieces:
        at = slice(first * hop, first * hop + piece.shape[1])
        fade = torch.ones(piece.shape[1])
        if first:
            fade[: len(ramp)] = ramp
            out[:, at.start : at.start + len(ramp)] *= 1 - ramp
            out[:, at.start + len(ramp) : at.stop] = 0
        out[:, at] += fade * piece
    return out


def spread_of(drawn: list[np.ndarray], rate: int) -> np.ndarray:
    """Deviation of the draws, root mean square over each 10 ms."""
    members = [torch.from_numpy(d)[None].double() for d in drawn]
    space = DenseSpace((1, len(drawn[0])), dtype=torch.float64)
    square = summarise(members, space).element_std[0].square().numpy()
    edges = np.arange(0, len(square) / rate / STEP) * STEP * rate
    starts = np.unique(np.ceil(edges - 1e-6).astype(np.int64))
    starts = starts[starts < len(square)]
    counts = np.diff(np.append(starts, len(square)))
    spread: np.ndarray = np.sqrt(np.add.reduceat(square, starts) / counts)
    return spread
