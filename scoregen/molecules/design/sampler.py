"""Drawing candidates: batches of states through the core's sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scoregen.core.denoiser import Denoiser, Prediction
from scoregen.core.fields import ProductSpace
from scoregen.core.grid import quantile_grid
from scoregen.core.noise import Noise
from scoregen.core.sampling import sample
from scoregen.core.solvers import Renoise
from scoregen.core.weighting import LogNormalTimes
from scoregen.molecules.sampler import buckets

from .state import Candidates, Condition, Layout
from .tokens import NUM_ORDERS, NUM_TOKENS, PROPERTIES

LEVELS = LogNormalTimes(-0.5, 0.6)
"""Where the steps are: categories are decided between noise of two and of a quarter."""


@dataclass(frozen=True)
class Draw:
    """One candidate to draw.

    Args:
        size: heavy atoms.
        key: identity of the sample; with the seed it fixes the noise, whatever the batch.
        properties: scaled values wanted, ``(len(PROPERTIES),)``, NaN where nothing is said; None for nothing.
        kept: atoms given beforehand, bool ``(N,)``, or None.
        tokens, orders: what each atom and pair may be, bool ``(N, T)`` and ``(N(N−1)/2, 4)``, or None.
        start: tokens ``(N,)`` and orders ``(N(N−1)/2,)`` of a molecule to start from, noised, or None.
    """

    size: int
    key: int
    properties: np.ndarray | None = None
    kept: np.ndarray | None = None
    tokens: np.ndarray | None = None
    orders: np.ndarray | None = None
    start: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Schedule:
    """How the reverse process is integrated.

    Args:
        steps: network calls.
        temperature: exponent 1/τ of the estimated probabilities; below 1 the likelier becomes likelier still.
        guidance: weight of the wanted properties; 1 is the model's own, 0 leaves them out.
        sigma: noise level of categories to begin with; None is the model's highest.
    """

    steps: int = 50
    temperature: float = 1.0
    guidance: float = 1.0
    sigma: float | None = None


class Drawing:
    """A denoiser for one batch: it sees its own last estimate, sharpens and guides; serves one run.

    Args:
        denoiser: the model.
        condition: of the batch.
        space: of the packed state.
        schedule: gives temperature and guidance.
    """

    def __init__(self, denoiser: Denoiser, condition: Condition, space: ProductSpace, schedule: Schedule):
        self.denoiser, self.condition, self.space, self.schedule = denoiser, condition, space, schedule
        told = bool(condition.properties.isfinite().any())
        self.free = condition.without_properties() if told and schedule.guidance != 1 else None

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        prediction: Prediction = self.denoiser(x, t, self.space, self.condition)
        estimate = self.space.unpack(prediction.x0)
        if self.free is not None:
            plain = self.space.unpack(self.denoiser(x, t, self.space, self.free).x0)
            estimate = {name: self._guided(name, estimate[name], plain[name]) for name in estimate}
            self.free = self.free.with_estimate(self.space.pack(estimate))
        for name in ("atoms", "bonds"):
            estimate[name] = sharpened(estimate[name], self.schedule.temperature)
        x0 = self.space.pack(estimate)
        self.condition = self.condition.with_estimate(x0)
        return replace(prediction, x0=x0)

    def _guided(self, name: str, told: Tensor, plain: Tensor) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022), of categories in their log-probabilities."""
        weight = self.schedule.guidance
        if name == "coordinates":
            return plain + weight * (told - plain)
        logits = torch.lerp((plain + 1e-9).log(), (told + 1e-9).log(), weight)
        return logits.softmax(-1) if weight > 0 else plain


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """``p^(1/τ)``, normalised over the last axis."""
    if temperature == 1:
        return probabilities
    powers = (probabilities + 1e-12).log() / temperature
    return powers.softmax(-1)


def draw_candidates(
    denoiser: Denoiser,
    draws: Sequence[Draw],
    schedule: Schedule,
    seed: int,
    *,
    coordinates: bool,
    pairs: int = 40_000,
) -> list[dict[str, np.ndarray]]:
    """Arrays of :func:`scoregen.molecules.design.encode.decode` for every draw, in order; not checked.

    Draws of like size share a batch of at most ``pairs`` atom pairs (Σ N²); the batch a draw is in does not
    change its noise.
    """
    device = next(denoiser.parameters()).device
    results: list[dict[str, np.ndarray]] = [{}] * len(draws)
    for chunk in buckets([draw.size for draw in draws], pairs):
        chosen = [draws[i] for i in chunk]
        condition = stated(chosen).to(device)
        space = condition.layout.space(coordinates)
        packed = sample(
            Drawing(denoiser, condition, space, schedule),
            denoiser.sde,
            space,
            solver=Renoise(),
            grid=quantile_grid(denoiser.sde, schedule.steps, LEVELS, sigma_max=schedule.sigma),
            noise=Noise(seed, torch.tensor([draw.key for draw in chosen], device=device)),
            start=_start(chosen, space),
        )
        for i, arrays in zip(chunk, read(condition.layout, space.unpack(packed)), strict=True):
            results[i] = arrays
    return results


def _start(draws: Sequence[Draw], space: ProductSpace) -> Tensor | None:
    """The clean states to start from, if every draw has one. Coordinates are not started from."""
    starts = [draw.start for draw in draws if draw.start is not None]
    if len(starts) < len(draws):
        return None
    token, order = (torch.from_numpy(np.concatenate(column)) for column in zip(*starts, strict=True))
    layout = Layout.of([draw.size for draw in draws])
    return space.pack(Candidates(layout, token, order).fields(coordinates=False)).to(space.zeros())


def stated(draws: Sequence[Draw]) -> Condition:
    """What is known of a batch of draws."""
    layout = Layout.of([draw.size for draw in draws])
    unsaid = np.full(len(PROPERTIES), np.nan, np.float32)
    properties = np.stack([unsaid if d.properties is None else d.properties for d in draws])
    kept = [np.zeros(d.size, bool) if d.kept is None else d.kept for d in draws]
    tokens = [np.ones((d.size, NUM_TOKENS), bool) if d.tokens is None else d.tokens for d in draws]
    orders = [
        np.ones((d.size * (d.size - 1) // 2, NUM_ORDERS), bool) if d.orders is None else d.orders
        for d in draws
    ]
    return Condition(
        layout,
        torch.from_numpy(properties.astype(np.float32)),
        torch.from_numpy(np.concatenate(kept)),
        torch.from_numpy(np.concatenate(tokens)),
        torch.from_numpy(np.concatenate(orders)),
    )


def read(layout: Layout, fields: dict[str, Tensor]) -> list[dict[str, np.ndarray]]:
    """The likeliest tokens and orders of each molecule, and its positions."""
    counts = layout.counts.tolist()
    token = np.split(fields["atoms"].argmax(-1).cpu().numpy(), np.cumsum(counts)[:-1])
    ends = np.cumsum([n * (n - 1) // 2 for n in counts])[:-1]
    order = np.split(fields["bonds"].argmax(-1).cpu().numpy(), ends)
    placed = "coordinates" in fields
    x = fields["coordinates"] if placed else torch.zeros(sum(counts), 0)
    found: list[dict[str, np.ndarray]] = []
    for n, token_, order_, x_ in zip(
        counts, token, order, np.split(x.cpu().numpy(), np.cumsum(counts)[:-1]), strict=True
    ):
        i, j = np.triu_indices(n, 1)
        bonded = order_ > 0
        found.append(
            {
                "token": token_.astype(np.uint8),
                "bond": np.stack((i[bonded], j[bonded]), 1).astype(np.int16),
                "order": order_[bonded].astype(np.uint8),
                "x": x_ if placed else np.zeros((0, 3), np.float32),
            }
        )
    return found
