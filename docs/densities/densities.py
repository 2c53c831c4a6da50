"""2-D densities, a ring of Gaussians: the smallest whole modality."""

import torch
from torch import nn

from scoregen.core import EDM, Denoiser, DenseSpace, EDMWeight, LogNormalTimes, Noise, Stratified, dsm
from scoregen.modality import Modality
from scoregen.training.config import Strict

SIGMA_DATA = 1.4  # standard deviation of the data


class ModelConfig(Strict):
    width: int = 128


class DataConfig(Strict):
    modes: int = 8
    spread: float = 0.2
    batch: int = 512

    def mixture(self) -> torch.distributions.Distribution:
        angle = torch.arange(self.modes) * (2 * torch.pi / self.modes)
        modes = torch.distributions.Normal(2 * torch.stack([angle.cos(), angle.sin()], 1), self.spread)
        weights = torch.distributions.Categorical(torch.ones(self.modes))
        return torch.distributions.MixtureSameFamily(weights, torch.distributions.Independent(modes, 1))


class Network(nn.Sequential):
    def __init__(self, width: int):
        hidden = [layer for _ in range(3) for layer in (nn.LazyLinear(width), nn.SiLU())]
        super().__init__(*hidden, nn.Linear(width, 2))
        super().forward(torch.zeros(1, 10))  # gives the lazy layers their shapes

    def forward(self, x, level, space, cond):
        phase = level[:, None] * 2.0 ** torch.arange(4, device=x.device)
        return super().forward(torch.cat([x, phase.sin(), phase.cos()], 1))


class Task:
    def __init__(self, model: ModelConfig, data: DataConfig, seed: int):
        self.data, self.seed = data, seed

    def batch(self, step):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + step)
            return self.data.mixture().sample((self.data.batch,))

    def dev_batches(self):
        return [self.batch(-1 - k) for k in range(4)]

    def loss(self, denoiser, batch, step):
        noise = Noise(self.seed, torch.arange(len(batch), device=batch.device))
        space = DenseSpace(batch.shape, device=batch.device)
        law = {"times": Stratified(LogNormalTimes(-1.2, 1.6)), "weight": EDMWeight(SIGMA_DATA)}
        return {"loss": dsm(denoiser, batch, space, noise=noise, step=step, **law).mean()}

    def provenance(self):
        return {"density": self.data.model_dump()}


def build(config: ModelConfig) -> Denoiser:
    return Denoiser(Network(config.width), EDM(0.02, 20.0), SIGMA_DATA)


DENSITIES = Modality("densities", ModelConfig, DataConfig, build, Task)
