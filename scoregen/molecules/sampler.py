"""Drawing coordinates: batches of molecular graphs through the core's sampler."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scoregen.core.denoiser import Denoiser, Prediction
from scoregen.core.grid import karras_grid
from scoregen.core.noise import Noise
from scoregen.core.sampling import sample
from scoregen.core.solvers import solver_by_name

from .graph import Graphs, MoleculeData, collate


@dataclass(frozen=True)
class Draw:
    """One conformer to draw.

    Args:
        data: the molecular graph.
        key: identity of the sample; with the seed it fixes the noise, whatever the batch.
        start: positions to start from, ``(N, 3)`` Å, or None to start from noise.
    """

    data: MoleculeData
    key: int
    start: np.ndarray | None = None


@dataclass(frozen=True)
class Schedule:
    """How the reverse process is integrated.

    Args:
        steps: network calls.
        sigma: noise level to start from, Å in the whitened metric.
        solver: name of a core solver.
    """

    steps: int
    sigma: float
    solver: str = "dpmpp-2m"


def sample_key(text: str, *numbers: int) -> int:
    """A 63-bit identity for keyed noise, the same on every machine."""
    digest = hashlib.blake2b(repr((text, *numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class SelfConditioned:
    """A denoiser that shows the network its own last estimate; one object serves one sampling run."""

    def __init__(self, denoiser: Denoiser, graphs: Graphs):
        self.denoiser, self.graphs, self.space = denoiser, graphs, graphs.space()

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        prediction: Prediction = self.denoiser(x, t, self.space, self.graphs)
        self.graphs = self.graphs.with_estimate(prediction.x0)
        return prediction


def draw_positions(
    denoiser: Denoiser, draws: Sequence[Draw], schedule: Schedule, seed: int, *, pairs: int = 40_000
) -> list[np.ndarray]:
    """Coordinates for every draw, in order, ``(N, 3)`` float32 Å, centred.

    Draws of like size share a batch of at most ``pairs`` atom pairs (Σ N²); the batch a draw is in does not
    change its noise.
    """
    device = next(denoiser.parameters()).device
    results: list[np.ndarray] = [np.zeros((0, 3), np.float32)] * len(draws)
    for chunk in buckets([int(draw.data.num_nodes) for draw in draws], pairs):
        graphs = collate([draws[i].data for i in chunk]).to(device)
        noise = Noise(seed, torch.tensor([draws[i].key for i in chunk], device=device))
        starts = [draws[i].start for i in chunk]
        start = None
        if all(s is not None for s in starts):
            start = torch.from_numpy(np.concatenate(starts)).to(device, torch.float32)  # type: ignore[arg-type]
        positions = sample(
            SelfConditioned(denoiser, graphs),
            denoiser.sde,
            graphs.space(),
            solver=solver_by_name(schedule.solver),
            grid=karras_grid(denoiser.sde, schedule.steps, sigma_max=schedule.sigma),
            noise=noise,
            start=start,
        )
        counts = torch.bincount(graphs.index, minlength=len(chunk)).tolist()
        ends = np.cumsum(counts)
        for i, end, count in zip(chunk, ends, counts, strict=True):
            results[i] = positions[end - count : end].cpu().numpy()
    return results


def buckets(sizes: Sequence[int], pairs: int) -> Iterator[list[int]]:
    """Indices grouped by size so that each group, padded to its largest member, holds at most ``pairs``."""
    chunk: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if chunk and (len(chunk) + 1) * sizes[i] ** 2 > pairs:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk
