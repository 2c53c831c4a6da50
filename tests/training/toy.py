"""A third kind of data: points in the plane. It exists to test that the loop needs to know no modality."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scoregen.core import EDM, Denoiser, DenseSpace, EDMWeight, LogNormalTimes, Noise, dsm
from scoregen.modality import Modality
from scoregen.training.cache import Cache, CacheWriter
from scoregen.training.config import Strict


class ModelConfig(Strict):
    width: int = 16
    dropout: float = 0.2


class DataConfig(Strict):
    cache: Path
    batch: int = 8
    pause: float = 0.0
    poison: int | None = None
    poison_gradient: int | None = None


class Network(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        # Dropout draws from the global generator: exact resume must restore it too.
        self.layers = nn.Sequential(
            nn.Linear(3, config.width), nn.SiLU(), nn.Dropout(config.dropout), nn.Linear(config.width, 2)
        )

    def forward(self, x: Tensor, level: Tensor, space: DenseSpace, cond: Any) -> Tensor:
        return self.layers(torch.cat([x, level[:, None]], dim=1))


def build(config: ModelConfig) -> Denoiser:
    return Denoiser(Network(config), EDM(), 1.0)


@dataclass
class Batch:
    x: Tensor
    ids: Tensor

    def to(self, device: Any) -> Batch:
        return Batch(self.x.to(device), self.ids.to(device))


class ToyTask:
    def __init__(self, model: ModelConfig, data: DataConfig, seed: int):
        self.data, self.seed = data, seed
        self.cache = Cache(data.cache, "toy")
        self.train, self.dev = self.cache.select(split="train"), self.cache.select(split="dev")

    def batch(self, step: int) -> Batch:
        time.sleep(self.data.pause)
        rows = np.random.default_rng((self.seed, step)).choice(self.train, self.data.batch)
        return self._collate(rows, step)

    def _collate(self, rows: np.ndarray, step: int) -> Batch:
        x = torch.from_numpy(np.concatenate([self.cache[int(row)]["x"] for row in rows]))
        return Batch(x, step * self.data.batch + torch.arange(len(rows)))

    def loss(self, denoiser: Denoiser, batch: Batch, step: int) -> dict[str, Tensor]:
        loss = dsm(
            denoiser,
            batch.x,
            DenseSpace(tuple(batch.x.shape), device=batch.x.device),
            times=LogNormalTimes(-0.5, 0.5),
            weight=EDMWeight(1.0),
            noise=Noise(self.seed, batch.ids),
            step=step,
        ).mean()
        if step == self.data.poison:
            loss = loss * float("nan")
        if step == self.data.poison_gradient:  # a finite loss whose gradient is infinite
            weight = next(denoiser.parameters()).sum()
            loss = loss + (weight - weight.detach()).abs().sqrt()
        return {"loss": loss, "half": loss / 2}

    def dev_batches(self) -> list[Batch]:
        return [self._collate(rows, 0) for rows in self.dev.reshape(2, -1)]

    def provenance(self) -> dict[str, Any]:
        return {"source": self.cache.info["source"]}


TOY = Modality("toy", ModelConfig, DataConfig, build, ToyTask)


def write_cache(path: Path, train: int = 64, dev: int = 16) -> Path:
    """The four corners of a square."""
    generator = np.random.default_rng(0)
    with CacheWriter(path, "toy", {"source": "square"}) as cache:
        for i in range(train + dev):
            point = generator.choice([-1.0, 1.0], size=(1, 2)).astype(np.float32)
            cache.add({"x": point}, {"name": f"p{i}", "split": "train" if i < train else "dev"})
    return path
