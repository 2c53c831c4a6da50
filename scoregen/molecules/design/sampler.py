"""Drawing candidates: batches of states through the core's sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from scoregen.core.denoiser import Denoiser, Prediction
from scoregen.core.fields import ProductSpace
from scoregen.core.grid import Grid, quantile_grid
from scoregen.core.noise import Noise
from scoregen.core.sampling import sample
from scoregen.core.weighting import LogNormalTimes
from scoregen.molecules.sampler import buckets

from .bridge import HARD, Bridged
from .encode import decode
from .imposed import imposed
from .scores import Jury
from .selection import Selection
from .state import Condition, Layout, collate
from .tokens import NUM_ORDERS, NUM_TOKENS, PROPERTIES

LEVELS = LogNormalTimes(-0.5, 0.6)
"""Where the steps are: categories are decided between noise of two and of a quarter."""

_SELECT = 23  # stream of the generators that select
_CHOOSE = 1  # stage of the keyed noise that samples estimates


@dataclass(frozen=True)
class Draw:
    """One candidate to draw.

    Args:
        size: heavy atoms.
        key: identity of the sample; with the seed it fixes the noise, whatever the batch.
        properties: scaled values wanted, ``(len(PROPERTIES),)``, NaN where nothing is said; None for nothing.
        kept: atoms given beforehand, bool ``(N,)``, or None.
        tokens, orders: what each atom and pair may be, bool ``(N, T)`` and ``(N(N−1)/2, 4)``, or None.
        pose: places of kept atoms, ``(N, 3)`` Å in any frame, NaN where none is given, or None.
        start: arrays of a molecule to start from, noised (:mod:`~scoregen.molecules.design.encode`), or None.
    """

    size: int
    key: int
    properties: np.ndarray | None = None
    kept: np.ndarray | None = None
    tokens: np.ndarray | None = None
    orders: np.ndarray | None = None
    pose: np.ndarray | None = None
    start: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Schedule:
    """How the reverse process is integrated.

    Args:
        steps: network calls.
        temperature: exponent 1/τ of the estimated probabilities; below 1 the likelier becomes likelier still.
        guidance: weight of the wanted properties; 1 is the model's own, 0 leaves them out.
        sigma: noise level of categories to begin with; None is the model's highest.
        hard: go on from a sample of the estimated categories while their noise is above this.
        bridge: go along the bridge to that sample while the noise is above this (see
            :class:`~scoregen.molecules.design.bridge.Bridged`); draws that compete never do, as copies are to
            part.
        selection: of draws by what they become; None for none.

    Raises:
        ValueError: a bridge to what is no sample.
    """

    steps: int
    temperature: float = 1.0
    guidance: float = 1.0
    sigma: float | None = None
    hard: float = HARD
    bridge: float = math.inf
    selection: Selection | None = None

    def __post_init__(self) -> None:
        if self.bridge < self.hard:
            raise ValueError(f"bridges lead to samples: {self.bridge:g} is below the {self.hard:g} of these")


class Drawing:
    """A denoiser for one batch: it sees its own last estimate, sharpens, guides and selects; serves one run.

    The mean of what an atom may be is no atom, and renoising it again and again makes the likely likelier;
    so, under noise that hides single atoms anyway, it returns a sample. With independent atoms and an exact
    estimate every step then keeps their distribution. Where the noise tells atoms apart, samples of
    neighbours that do not fit each other would stay, and means are returned.

    Args:
        denoiser: the model.
        condition: of the batch.
        space: of the packed state.
        schedule: gives temperature, guidance and where estimates are sampled.
        noise: of the run, which fixes the samples.
        contest: who is selected; None where nobody is.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        condition: Condition,
        space: ProductSpace,
        schedule: Schedule,
        noise: Noise,
        contest: Contest | None = None,
    ):
        self.denoiser, self.condition, self.space, self.schedule = denoiser, condition, space, schedule
        self.noise = noise
        told = bool(condition.properties.isfinite().any())
        self.free = condition.without_properties() if told and schedule.guidance != 1 else None
        self.contest, self.calls = contest, 0

    def __call__(self, x: Tensor, t: Tensor) -> Prediction:
        prediction: Prediction = self.denoiser(x, t, self.space, self.condition)
        estimate = self.space.unpack(prediction.x0)
        if self.free is not None:
            plain = self.space.unpack(self.denoiser(x, t, self.space, self.free).x0)
            estimate = {name: self._guided(name, estimate[name], plain[name]) for name in estimate}
        for name in ("atoms", "bonds"):
            estimate[name] = sharpened(estimate[name], self.schedule.temperature)
        estimate = imposed(estimate, self.condition)
        self.calls += 1
        if self.contest is not None:
            estimate = self.contest(self.calls, estimate)
        x0 = self.space.pack(estimate)
        self.condition = self.condition.with_estimate(x0)
        if self.free is not None:
            self.free = self.free.with_estimate(x0)
        if self._sigma(prediction) > self.schedule.hard:
            x0 = self.space.pack(self._sampled(estimate))
        return replace(prediction, x0=x0)

    def _sigma(self, prediction: Prediction) -> float:
        """The noise of categories; all draws of a batch are at one time."""
        return float(self.space.unpack(prediction.sigma)["atoms"].max())

    def _sampled(self, estimate: dict[str, Tensor]) -> dict[str, Tensor]:
        """One-hot samples of the categories (Gumbel-max); the rest as it is."""
        gumbel = self.space.unpack(self.noise.gumbel(self.space, self.calls, _CHOOSE))
        chosen = {name: (estimate[name].log() + gumbel[name]).argmax(-1) for name in ("atoms", "bonds")}
        return estimate | {
            name: one_hot(index, estimate[name].shape[-1]).to(estimate[name])
            for name, index in chosen.items()
        }

    def _guided(self, name: str, told: Tensor, plain: Tensor) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022), of categories in their log-probabilities."""
        weight = self.schedule.guidance
        if name == "coordinates":
            return plain + weight * (told - plain)
        logits = torch.lerp((plain + 1e-9).log(), (told + 1e-9).log(), weight)
        return logits.softmax(-1) if weight > 0 else plain


class Contest:
    """Selects among the draws of a batch, group by group; where all is renoised but the estimates count.

    Args:
        selection: how.
        jury: scores molecules.
        layout: of the batch, whose draws lie group by group, those of a group alike in size.
        steps: network calls of the run.
        seed, keys: of the run and of each draw; they fix who is selected.
    """

    def __init__(
        self, selection: Selection, jury: Jury, layout: Layout, steps: int, seed: int, keys: Sequence[int]
    ):
        self.selection, self.jury, self.layout = selection, jury, layout
        self.due, self.seed, self.keys = selection.steps(steps), abs(seed), keys

    def __call__(self, call: int, estimate: dict[str, Tensor]) -> dict[str, Tensor]:
        """The estimates after network call number ``call``, of those who stay."""
        if call not in self.due:
            return estimate
        group = self.selection.particles
        values = self.jury.values([decode(arrays) for arrays in read(self.layout, estimate)])
        chosen = []
        for first in range(0, self.layout.size, group):
            rng = np.random.default_rng((_SELECT, self.seed, self.keys[first], call))
            chosen.append(first + self.selection.ancestors(values[:, first : first + group], rng))
        atoms, pairs = self.layout.taken(np.concatenate(chosen))
        return {name: value[pairs if name == "bonds" else atoms] for name, value in estimate.items()}


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
    jury: Jury | None = None,
    pairs: int = 40_000,
) -> list[dict[str, np.ndarray]]:
    """Arrays of :func:`scoregen.molecules.design.encode.decode` for every draw, in order; not checked.

    Draws of like size share a batch of at most ``pairs`` atom pairs (Σ N²), or one group of them where they
    are selected; the batch a draw is in does not change its noise.

    Raises:
        ValueError: groups that are not whole, or whose draws differ in size.
    """
    device = next(denoiser.parameters()).device
    selection = schedule.selection if jury is not None else None
    group = 1 if selection is None else selection.particles
    sizes = [draw.size for draw in draws]
    if len(draws) % group or any(sizes[i] != sizes[i - i % group] for i in range(len(draws))):
        raise ValueError(f"draws that compete come in groups of {group}, alike in size")
    results: list[dict[str, np.ndarray]] = [{}] * len(draws)
    for leaders in buckets(sizes[::group], pairs // group):
        chunk = [group * k + member for k in leaders for member in range(group)]
        chosen = [draws[i] for i in chunk]
        condition = stated(chosen).to(device)
        space = condition.layout.space(coordinates)
        contest = None
        if selection is not None and jury is not None:
            keys = [draw.key for draw in chosen]
            contest = Contest(selection, jury, condition.layout, schedule.steps, seed, keys)
        noise = Noise(seed, torch.tensor([draw.key for draw in chosen], device=device))
        grid = quantile_grid(denoiser.sde, schedule.steps, LEVELS, sigma_max=schedule.sigma)
        packed = sample(
            Drawing(denoiser, condition, space, schedule, noise, contest),
            denoiser.sde,
            space,
            solver=Bridged(frozenset() if contest else _above(grid, schedule.bridge)),
            grid=grid,
            noise=noise,
            start=_start(chosen, space),
        )
        for i, arrays in zip(chunk, read(condition.layout, space.unpack(packed)), strict=True):
            results[i] = arrays
    return results


def _above(grid: Grid, level: float) -> frozenset[int]:
    """Numbers of the steps that begin above this noise of categories."""
    sigma = grid.levels[0].sigma
    return frozenset(i for i in range(grid.steps) if sigma[i] > level)


def _start(draws: Sequence[Draw], space: ProductSpace) -> Tensor | None:
    """The clean states to start from, if every draw has one."""
    starts = [draw.start for draw in draws if draw.start is not None]
    if len(starts) < len(draws):
        return None
    return space.pack(collate(starts).fields("coordinates" in space.fields)).to(space.zeros())


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
        _pose(draws),
    )


def _pose(draws: Sequence[Draw]) -> Tensor | None:
    """Places that are given, if any are."""
    if all(draw.pose is None for draw in draws):
        return None
    unsaid = [np.full((d.size, 3), np.nan) if d.pose is None else d.pose for d in draws]
    return torch.from_numpy(np.concatenate(unsaid).astype(np.float32))


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
