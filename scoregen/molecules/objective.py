"""Training side of the conformer model: batches from a prepared cache, and their loss. No RDKit here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from scoregen.core.denoiser import Denoiser
from scoregen.core.losses import denoising_error, noised
from scoregen.core.noise import Noise
from scoregen.core.sde import EDM
from scoregen.core.weighting import EDMWeight, LogNormalTimes, Stratified
from scoregen.errors import InputError
from scoregen.training.cache import Cache
from scoregen.training.config import Strict

from .align import kabsch
from .graph import Graphs, collate, molecule_data
from .network import EquivariantTransformer, NetworkConfig
from .vocabulary import THEORIES

# Streams of the keyed generator that picks batches.
_PICK, _ESTIMATE = 1, 2


class ConformerModelConfig(Strict):
    """The ``model:`` section of a conformer model."""

    network: NetworkConfig = NetworkConfig()
    sigma_data: float = Field(0.75, gt=0, description="std of the whitened coordinates, Å")
    sigma_min: float = Field(0.005, gt=0)
    sigma_max: float = Field(10.0, gt=0)


class ConformerDataConfig(Strict):
    """The ``data:`` section: which records, how many at once, which noise levels."""

    cache: Path
    sources: dict[str, float] = Field(
        {}, description="relative share of each source; all equal by records if empty"
    )
    theory: dict[str, str] = Field({}, description="level of theory of each source; unknown where not named")
    hide_theory: float = Field(0.1, ge=0, le=1, description="chance to hide the level of theory")
    pairs: int = Field(16_000, ge=100, description="batch size in atom pairs, Σ N²")
    hide_stereo: float = Field(0.1, ge=0, le=1, description="chance to hide the stated stereo of a molecule")
    log_sigma_mean: float = -1.0
    log_sigma_std: float = Field(1.4, gt=0)
    dev_batches: int = Field(8, ge=1)

    @field_validator("theory")
    @classmethod
    def _known(cls, theory: dict[str, str]) -> dict[str, str]:
        for source, name in theory.items():
            if name not in THEORIES:
                raise ValueError(f"'{name}' of {source} is not one of {', '.join(THEORIES)}")
        return theory


def build_denoiser(config: ConformerModelConfig) -> Denoiser:
    """A denoiser with fresh weights."""
    sde = EDM(config.sigma_min, config.sigma_max)
    return Denoiser(EquivariantTransformer(config.network, config.sigma_data), sde, config.sigma_data)


@dataclass(frozen=True)
class ConformerBatch:
    """Molecules with reference positions, and the record numbers that key their noise."""

    graphs: Graphs
    ids: Tensor

    def to(self, device: torch.device | str) -> ConformerBatch:
        """The batch on another device."""
        return ConformerBatch(self.graphs.to(device), self.ids.to(device))


class Pool:
    """Records of one source sorted by size; a batch is a random pivot and its neighbours in size."""

    def __init__(self, records: np.ndarray, sizes: np.ndarray):
        order = np.argsort(sizes[records], kind="stable")
        self.records, self.sizes = records[order], sizes[records][order]

    def batch(self, rng: np.random.Generator, pairs: int) -> np.ndarray:
        """Record numbers of molecules of like size, at most ``pairs`` atom pairs when padded (or one)."""
        pivot = int(rng.integers(len(self.records)))
        count = max(1, pairs // int(self.sizes[pivot]) ** 2)
        # A window a few times the batch keeps sizes close and batches varied.
        half = min(len(self.records), 4 * count) // 2 + 1
        low = max(0, min(pivot - half, len(self.records) - 2 * half))
        window = np.arange(low, min(low + 2 * half, len(self.records)))
        chosen = rng.choice(window, min(count, len(window)), replace=False)
        fitting = max(1, pairs // int(self.sizes[chosen].max()) ** 2)
        records: np.ndarray = self.records[chosen[:fitting]]
        return records


class ConformerTask:
    """Denoising score matching on conformers (see :class:`scoregen.modality.Task`)."""

    def __init__(self, model: ConformerModelConfig, data: ConformerDataConfig, seed: int):
        self.model, self.data, self.seed = model, data, seed
        self.cache = Cache(data.cache, "molecules")
        sizes = self.cache.lengths("z")
        known = sorted({facts["source"] for facts in self.cache.facts if facts["split"] == "train"})
        names = list(data.sources) or known
        self.pools, self.dev_pools, shares = [], [], []
        for name in names:
            records = self.cache.select(source=name, split="train")
            if not len(records):
                raise InputError(
                    f"data.sources: no training record of '{name}' in {data.cache}; it has {known}"
                )
            self.pools.append(Pool(records, sizes))
            held_out = self.cache.select(source=name, split="dev")
            self.dev_pools.append(Pool(held_out, sizes) if len(held_out) else None)
            shares.append(data.sources.get(name, float(len(records))))
        self.shares = np.array(shares) / np.sum(shares)
        self.times = Stratified(LogNormalTimes(data.log_sigma_mean, data.log_sigma_std))
        self.weight = EDMWeight(model.sigma_data)

    def batch(self, step: int) -> ConformerBatch:
        """The batch of a training step, a pure function of (seed, step)."""
        rng = np.random.default_rng((_PICK, self.seed, step))
        pool = self.pools[int(rng.choice(len(self.pools), p=self.shares))]
        return self._load(pool.batch(rng, self.data.pairs), rng)

    def dev_batches(self) -> list[ConformerBatch]:
        """Fixed batches of held-out molecules, in the proportions of training."""
        rng = np.random.default_rng((_PICK, 0, 0))
        pools = [pool for pool in self.dev_pools if pool is not None]
        return [
            self._load(pools[k % len(pools)].batch(rng, self.data.pairs), None)
            for k in range(self.data.dev_batches if pools else 0)
        ]

    def _load(self, records: np.ndarray, rng: np.random.Generator | None) -> ConformerBatch:
        def shown(chance_to_hide: float) -> bool:
            return rng is None or rng.random() >= chance_to_hide

        molecules = [
            molecule_data(
                self.cache[int(i)],
                stereo=shown(self.data.hide_stereo),
                theory=self._theory(int(i)) if shown(self.data.hide_theory) else "unknown",
            )
            for i in records
        ]
        return ConformerBatch(collate(molecules), torch.from_numpy(records))

    def _theory(self, record: int) -> str:
        return self.data.theory.get(self.cache.facts[record]["source"], "unknown")

    def loss(self, denoiser: Denoiser, batch: ConformerBatch, step: int) -> dict[str, Tensor]:
        """Whitened squared error of the denoised positions against the Kabsch-aligned reference.

        In half of the steps the network first estimates the positions and then sees its own estimate
        (self-conditioning, Chen et al., *Analog Bits*, 2023).
        """
        graphs = batch.graphs
        space = graphs.space()
        noise = Noise(self.seed, batch.ids)
        state = noised(denoiser.sde, graphs.pos, space, times=self.times, noise=noise, step=step)
        coin = np.random.default_rng((_ESTIMATE, self.seed, abs(step))).random()
        if self.model.network.self_condition and coin < 0.5:
            with torch.no_grad():
                estimate = denoiser(state.x, state.t, space, graphs).x0
            graphs = graphs.with_estimate(estimate.detach())
        prediction = denoiser(state.x, state.t, space, graphs)
        goal = kabsch(graphs.pos, state.x, space)
        return {"loss": denoising_error(prediction, goal, space, state, self.weight).mean()}

    def provenance(self) -> dict[str, Any]:
        """Sources and counts of the training records."""
        return {
            "conventions": {"coordinates": "angstrom", "hydrogens": "explicit"},
            "sources": dict(zip(self.data.sources or ["all"], map(float, self.shares), strict=False)),
            "cache": self.cache.info,
        }
