"""Training side of candidate models: batches from a prepared cache, and their loss. No RDKit here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scoregen.core.denoiser import Denoiser
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.losses import Noised, noised, noised_at
from scoregen.core.noise import Noise
from scoregen.core.sde import EDM, SDE
from scoregen.core.weighting import LogNormalTimes, Stratified
from scoregen.errors import InputError
from scoregen.molecules.align import kabsch
from scoregen.molecules.objective import Pool
from scoregen.training.cache import Cache
from scoregen.training.config import Strict

from .allowed import allowed_orders, allowed_tokens
from .imposed import imposed
from .masks import random_kept
from .network import CandidateNetwork, CandidateNetworkConfig
from .ordering import depth_first, reordered
from .state import Candidates, Condition, collate, pair_orders
from .tokens import NUM_ORDERS, NUM_TOKENS, PROPERTIES, PROPERTY_SCALES, TOKENS

# Streams of the keyed generator that picks batches.
_PICK, _ESTIMATE = 11, 12

# The earlier call whose estimate is told: how much larger its noise may be (logarithm), and its stage.
_APART, _EARLIER = 0.3, 1

_HYDROGENS = np.array([token.hydrogens for token in TOKENS])
_CENTRE, _WIDTH = (np.array(column, np.float32) for column in zip(*PROPERTY_SCALES, strict=True))


class CandidateModelConfig(Strict):
    """The ``model:`` section of a candidate model."""

    network: CandidateNetworkConfig = CandidateNetworkConfig()
    sigma_min: float = Field(0.15, gt=0, description="of one-hot tokens and orders")
    sigma_max: float = Field(5.0, gt=0)
    reach: float = Field(2.0, gt=0, description="std of the coordinates, Å")
    reach_min: float = Field(0.01, gt=0, description="lowest noise of the coordinates, Å")
    reach_max: float = Field(20.0, gt=0)
    steps: int = Field(40, ge=2, description="network calls of a draw where none are asked for")
    bridge: float | None = Field(
        None, gt=0, description="draws go along the bridge to samples above this noise; none if null"
    )


class CandidateDataConfig(Strict):
    """The ``data:`` section: which records, how many at once, which noise levels, what is told."""

    cache: Path
    sources: dict[str, float] = Field({}, description="relative share of each; all equal by records if empty")
    pairs: int = Field(20_000, ge=100, description="batch size in atom pairs, Σ N²")
    log_sigma_mean: float = -0.6
    log_sigma_std: float = Field(0.7, gt=0)
    keep: float = Field(0.3, ge=0, le=1, description="share of molecules of which a piece is given")
    pose: float = Field(0.5, ge=0, le=1, description="share of the pieces given with their positions")
    tell: float = Field(0.5, ge=0, le=1, description="share of molecules whose properties are told")
    weights: dict[str, float] = Field({}, description="of the fields' losses; 1 where not named")
    dev_batches: int = Field(8, ge=1)


def process(config: CandidateModelConfig) -> SDE:
    """The noise of all fields on one clock; the coordinates' reaches its ends when the categories' does."""
    category = EDM(config.sigma_min, config.sigma_max)
    fields: dict[str, SDE] = {"atoms": category, "bonds": category}
    if not config.network.coordinates:
        return ProductSDE(fields)
    power = np.log(config.reach_min / config.reach_max) / np.log(config.sigma_min / config.sigma_max)
    fields["coordinates"] = EDM(config.reach_min, config.reach_max)
    return ProductSDE(fields, {"coordinates": float(power)})


def build_denoiser(config: CandidateModelConfig) -> Denoiser:
    """A denoiser with fresh weights."""
    spreads = (0.2, 0.25, config.reach)[: 3 if config.network.coordinates else 2]
    return Denoiser(CandidateNetwork(config.network, spreads), process(config), spreads, "x0")


@dataclass(frozen=True)
class CandidateBatch:
    """Molecules, what the model is told of them, and the record numbers that key their noise."""

    candidates: Candidates
    condition: Condition
    ids: Tensor

    def to(self, device: torch.device | str) -> CandidateBatch:
        """The batch on another device."""
        return CandidateBatch(self.candidates.to(device), self.condition.to(device), self.ids.to(device))


class CandidateTask:
    """Denoising of candidates (see :class:`scoregen.modality.Task`)."""

    def __init__(self, model: CandidateModelConfig, data: CandidateDataConfig, seed: int):
        self.model, self.data, self.seed = model, data, seed
        self.cache = Cache(data.cache, "candidates")
        sizes = self.cache.lengths("token")
        known = sorted({facts["source"] for facts in self.cache.facts if facts["split"] == "train"})
        self.sources = list(data.sources) or known
        self.pools, self.dev_pools, shares = [], [], []
        for name in self.sources:
            records = self._usable(self.cache.select(source=name, split="train"))
            if not len(records):
                placed = " with 3D coordinates" if model.network.coordinates else ""
                raise InputError(
                    f"data.sources: no training record of '{name}'{placed} in {data.cache}; it has {known}"
                )
            self.pools.append(Pool(records, sizes))
            held_out = self._usable(self.cache.select(source=name, split="dev"))
            self.dev_pools.append(Pool(held_out, sizes) if len(held_out) else None)
            shares.append(data.sources.get(name, float(len(records))))
        self.shares = np.array(shares) / np.sum(shares)
        self.times = Stratified(LogNormalTimes(data.log_sigma_mean, data.log_sigma_std))

    def _usable(self, records: np.ndarray) -> np.ndarray:
        """Those with positions, where the model needs them."""
        if not self.model.network.coordinates:
            return records
        placed: np.ndarray = records[self.cache.lengths("x")[records] > 0]
        return placed

    def batch(self, step: int) -> CandidateBatch:
        """The batch of a training step, a pure function of (seed, step)."""
        rng = np.random.default_rng((_PICK, self.seed, step))
        pool = self.pools[int(rng.choice(len(self.pools), p=self.shares))]
        return self._load(pool.batch(rng, self.data.pairs), rng)

    def dev_batches(self) -> list[CandidateBatch]:
        """Fixed batches of held-out molecules, of which nothing is told."""
        rng = np.random.default_rng((_PICK, 0, 0))
        pools = [pool for pool in self.dev_pools if pool is not None]
        return [
            self._load(pools[k % len(pools)].batch(rng, self.data.pairs), None)
            for k in range(self.data.dev_batches if pools else 0)
        ]

    def _load(self, records: np.ndarray, rng: np.random.Generator | None) -> CandidateBatch:
        arrays = [self.cache[int(i)] for i in records]
        ids = torch.from_numpy(records)
        if rng is None:
            candidates = collate(arrays)
            return CandidateBatch(candidates, Condition.free(candidates.layout), ids)
        told = np.stack([self._told(a["property"], rng) for a in arrays])
        molecules, kept = zip(*(self._kept(a, rng) for a in arrays), strict=True)
        tokens, orders = zip(
            *(self._allowed(a, k, rng) for a, k in zip(molecules, kept, strict=True)), strict=True
        )
        candidates = collate(molecules)
        given, some, joined = (torch.from_numpy(np.concatenate(v)) for v in (kept, tokens, orders))
        pose = self._pose(molecules, kept, rng) if self.model.network.coordinates else None
        condition = Condition(candidates.layout, torch.from_numpy(told), given, some, joined, pose)
        return CandidateBatch(candidates, condition, ids)

    def _told(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Scaled properties, those hidden as NaN."""
        shown = (rng.random() < self.data.tell) & (rng.random(len(PROPERTIES)) < 0.5)
        return np.where(shown, (values - _CENTRE) / _WIDTH, np.nan).astype(np.float32)

    def _kept(
        self, arrays: dict[str, np.ndarray], rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """A molecule with what is given of it first, and which atoms those are, bool ``(N,)``; often none."""
        count = len(arrays["token"])
        kept = np.zeros(count, bool)
        if count < 4 or rng.random() >= self.data.keep:
            return arrays, kept
        kept = random_kept(arrays["bond"].astype(np.int64), count, rng)
        order = depth_first(arrays["bond"], kept, rng)
        return reordered(arrays, order), kept[order]

    def _pose(
        self, molecules: Sequence[dict[str, np.ndarray]], kept: Sequence[np.ndarray], rng: np.random.Generator
    ) -> Tensor:
        """Places of given atoms, ``(ΣN, 3)`` Å, NaN where none is given."""
        said = [given & (rng.random() < self.data.pose) for given in kept]
        return torch.from_numpy(
            np.concatenate(
                [np.where(given[:, None], a["x"], np.nan) for a, given in zip(molecules, said, strict=True)]
            )
        )

    def _allowed(
        self, arrays: dict[str, np.ndarray], kept: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens ``(N, T)`` and orders ``(N(N−1)/2, 4)`` that may be, given what is kept."""
        token, order = arrays["token"], pair_orders(arrays)
        count = len(token)
        if not kept.any():
            return np.ones((count, NUM_TOKENS), bool), np.ones((len(order), NUM_ORDERS), bool)
        first, last = arrays["bond"].astype(np.int64).T
        lost = np.zeros(count, np.int64)
        cut = kept[first] != kept[last]
        for ends in (first, last):
            np.add.at(lost, ends[cut], arrays["order"][cut])
        most = _HYDROGENS[token] + lost
        # Open are the atoms that were cut, and others, as a user may leave open more than is used.
        open_ = kept & ((lost > 0) | (rng.random(count) < rng.choice((0.0, 0.5, 1.0))))
        least = np.where(open_, 0, most)
        if rng.random() < 0.5:
            most = most - (lost > 0)  # it is said that these must grow
        return allowed_tokens(token, kept, least, most), allowed_orders(order, kept, kept & ~open_)

    def loss(self, denoiser: Denoiser, batch: CandidateBatch, step: int) -> dict[str, Tensor]:
        """Cross-entropies of tokens and orders, nats an atom, and the weighted error of the coordinates.

        In half of the steps the network is told its own estimate of an earlier call, as it is when it draws:
        a call at somewhat more noise, and at noise of its own, since every step renoises. (Told an estimate
        at the same noise, as in Chen et al. 2023, it would learn that the estimate knows all that the state
        shows, and not look.) A pose that is given is seen there alone, as when it draws.
        """
        placed = self.model.network.coordinates
        space = batch.candidates.layout.space(placed)
        clean = batch.candidates.fields(placed)
        noise = Noise(self.seed, batch.ids)
        state = noised(denoiser.sde, space.pack(clean), space, times=self.times, noise=noise, step=step)
        condition = batch.condition
        rng = np.random.default_rng((_ESTIMATE, self.seed, abs(step)))
        if rng.random() < 0.5:
            t = (state.t * math.exp(rng.uniform(0, _APART))).clamp(max=denoiser.sde.t_max)
            earlier = noised_at(
                denoiser.sde, space.pack(clean), space, t, noise.normal(space, step, _EARLIER)
            )
            with torch.no_grad():
                told = space.unpack(denoiser(earlier.x, earlier.t, space, condition).x0)
            condition = condition.with_estimate(space.pack(imposed(told, condition)))
        estimate = space.unpack(denoiser(state.x, state.t, space, condition).x0)
        return self._losses(estimate, clean, space, state)

    def _losses(
        self, estimate: dict[str, Tensor], clean: dict[str, Tensor], space: ProductSpace, state: Noised
    ) -> dict[str, Tensor]:
        atoms = space.fields["atoms"].dof().to(state.x.dtype) / clean["atoms"].shape[1]
        found = {}
        for name in ("atoms", "bonds"):
            surprise = -(clean[name] * (estimate[name] + 1e-7).log())
            found[name] = (space.fields[name].sum(surprise) / atoms).mean()
        if "coordinates" in clean:
            part = space.fields["coordinates"]
            noisy = space.unpack(state.x)["coordinates"]
            goal = kabsch(clean["coordinates"], noisy, part)
            sigma, spread = state.sigma[:, 2].to(noisy.dtype), self.model.reach
            weight = (sigma.square() + spread**2) / (sigma * spread).square()
            error = part.sum((estimate["coordinates"] - goal).square()) * weight
            found["coordinates"] = (error / part.dof().to(noisy.dtype)).mean()
        total = sum(self.data.weights.get(name, 1.0) * value for name, value in found.items())
        return {"loss": torch.as_tensor(total), **found}

    def provenance(self) -> dict[str, Any]:
        """Sources and counts of the training records, and how large their molecules are."""
        records = np.concatenate([pool.records for pool in self.pools])
        lengths = self.cache.lengths("token")[records]
        sizes, counts = np.unique(lengths, return_counts=True)
        place = PROPERTIES.index("mw")
        mass = np.array([self.cache[int(i)]["property"][place] for i in records]) / lengths
        return {
            "conventions": {"atoms": [str(token) for token in TOKENS], "bonds": "kekulised"},
            "sources": dict(zip(self.sources, map(float, self.shares), strict=True)),
            "sizes": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
            "mass_per_atom": {"mean": float(mass.mean()), "std": float(mass.std())},
            "cache": self.cache.info,
        }
