"""What an arm trains and how: the shipped recipe, with every choice that is compared as a field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from scoregen.core.denoiser import Denoiser
from scoregen.core.losses import denoising_error, noised
from scoregen.core.noise import Noise
from scoregen.core.space import Space
from scoregen.molecules.align import kabsch
from scoregen.molecules.graph import Graphs
from scoregen.molecules.network import EquivariantTransformer, NetworkConfig
from scoregen.molecules.objective import (
    ConformerBatch,
    ConformerDataConfig,
    ConformerModelConfig,
    ConformerTask,
)

from .process import SIGMA_DATA, Process, edm
from .views import everything, taken

SIZE = NetworkConfig(width=96, vectors=24, pair=48, heads=8, layers=4, radial=20)
SOURCES = {"qm9_dft": 0.4, "qm9_xtb_ensembles": 0.3, "cascade_dft": 0.2, "pdb_ligands": 0.1}
THEORY = {
    "qm9_dft": "dft",
    "qm9_xtb_ensembles": "gfn2",
    "cascade_dft": "dft",
    "pdb_ligands": "experiment",
}
PAIRS = 6000
_ESTIMATE, _COPY = 2, 2**40

Target = Callable[[Tensor, Tensor, Space], Tensor]


def unaligned(data: Tensor, noisy: Tensor, space: Space) -> Tensor:
    """The reference where it lies, whatever rotation the noise suggests."""
    return space.project(data)


@dataclass(frozen=True)
class Recipe:
    """One way to train a conformer model.

    Args:
        network: sizes and options of the network.
        build: makes the network from its sizes and the scale of the data, Å.
        see: the view of the graphs that network, noise and loss get.
        sigma_data: standard deviation of the whitened data, Å; None measures it.
        process: the diffusion process for data of that standard deviation.
        target: ``target(data, noisy, space)``, what the network should answer.
        copies: noise levels at which each molecule of a batch is shown; the batch keeps its size.
    """

    network: NetworkConfig = SIZE
    build: Callable[[NetworkConfig, float], nn.Module] = EquivariantTransformer
    see: Callable[[Graphs], Graphs] = everything
    sigma_data: float | None = SIGMA_DATA
    process: Callable[[float], Process] = edm
    target: Target = kabsch
    copies: int = 1


class Task(ConformerTask):
    """The batches of the conformer task; with ``copies`` each molecule comes at several noise levels.

    Args:
        cache: folder of prepared molecules.
        seed: of batches and noise.
        copies: how many levels.
        data: further fields of the data section.
    """

    def __init__(self, cache: Path, seed: int, copies: int = 1, **data: object):
        settings = {"sources": SOURCES, "theory": THEORY, "pairs": PAIRS, "dev_batches": 24, **data}
        super().__init__(ConformerModelConfig(), ConformerDataConfig(cache=cache, **settings), seed)
        self.copies = copies

    def _load(self, records: np.ndarray, rng: np.random.Generator | None) -> ConformerBatch:
        if rng is None or self.copies == 1:
            return super()._load(records, rng)
        kept = -(-len(records) // self.copies)
        batch = super()._load(records[:kept], rng)
        # Copies lie a whole round apart, so that stratified times give each its own part of the levels.
        place = torch.arange(len(records))
        ids = batch.ids[place % kept] + _COPY * (place // kept)
        return ConformerBatch(taken(batch.graphs, place % kept), ids)


@dataclass(frozen=True)
class Model:
    """A recipe with everything that data decide, and fresh or trained weights."""

    recipe: Recipe
    sigma_data: float
    process: Process
    denoiser: Denoiser

    def loss(self, batch: ConformerBatch, seed: int, step: int) -> Tensor:
        """The loss of one training step; for the baseline that of the conformer task, to the bit."""
        graphs = self.recipe.see(batch.graphs)
        space, process = graphs.space(), self.process
        noise = Noise(seed, batch.ids)
        state = noised(process.sde, graphs.pos, space, times=process.times, noise=noise, step=step)
        coin = np.random.default_rng((_ESTIMATE, seed, abs(step))).random()
        if self.recipe.network.self_condition and coin < 0.5:
            with torch.no_grad():
                estimate = self.denoiser(state.x, state.t, space, graphs).x0
            graphs = graphs.with_estimate(estimate.detach())
        prediction = self.denoiser(state.x, state.t, space, graphs)
        goal = self.recipe.target(graphs.pos, state.x, space)
        return denoising_error(prediction, goal, space, state, process.weight).mean()


def fresh(recipe: Recipe, task: Task, seed: int) -> Model:
    """A model with new weights."""
    spread = spread_of(recipe, task) if recipe.sigma_data is None else recipe.sigma_data
    process = recipe.process(spread)
    torch.manual_seed(seed)
    network = recipe.build(recipe.network, spread)
    return Model(recipe, spread, process, Denoiser(network, process.sde, spread, process.parametrisation))


def spread_of(recipe: Recipe, task: Task, batches: int = 64) -> float:
    """Standard deviation of the whitened training data, Å: root of the mean square per degree of freedom."""
    total = count = 0.0
    for step in range(batches):
        graphs = recipe.see(task.batch(step).graphs)
        space = graphs.space()
        total += float(space.sum(space.whiten(graphs.pos) ** 2).sum())
        count += float(space.dof().sum())
    return float(round(math.sqrt(total / count), 3))
