"""Exact moments of what a solver makes from Gaussian data, through ``sample`` itself.

With Gaussian data the denoiser is affine, so the end point is ``c + Σ_k w_k n_k`` over all noises drawn: the
start, every step, every stage. Row 0 of a batch gets no noise and comes out as c; each other row gets a one
in a single noise and comes out as ``c + w_k``. Mean c and variance ``Σ_k w_k²`` follow without sampling
error, for one-step, multistep and multi-stage rules alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scoregen.core import DenseSpace, Grid, Noise, sample
from scoregen.core.solvers import Solver
from scoregen.core.space import Space

from .gaussian import Gaussian


@dataclass(frozen=True)
class UnitNoise(Noise):
    """Hands each (step, stage) its own row of the batch; asks twice for one and the run is refused."""

    rows: dict[tuple[int, int], int] = field(default_factory=dict)

    def normal(self, space: Space, step: int, stage: int = 0) -> Tensor:
        assert (step, stage) not in self.rows, f"step {step} draws stage {stage} twice"
        row = self.rows[step, stage] = len(self.rows) + 1
        result = space.zeros()
        result[row] = 1.0
        return result


def moments(
    problem: Gaussian, solver: Solver[Any], grid: Grid, *, exact_start: bool = False, most: int = 3
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the end point, ``(width,)`` each, from the start that ``sample`` uses.

    Args:
        exact_start: begin with the exact marginal at the first grid time instead of σ n, so that only the
            solver errs.
        most: draws a step, at most.
    """
    width = len(problem.mean)
    space = DenseSpace((2 + most * grid.steps, width), dtype=torch.float64)
    noise = UnitNoise(0, torch.arange(space.size))
    start = problem.mean.expand(space.size, width) if exact_start else None
    result = sample(problem.denoise, problem.sde, space, solver=solver, grid=grid, noise=noise, start=start)
    weights = result[1:] - result[0]
    variances = weights**2
    if exact_start:  # the start's own noise has variance v instead of σ²
        first = problem.variance(grid.alpha[0], grid.sigma[0]) / grid.sigma[0] ** 2
        variances[0] = variances[0] * first
    return result[0], variances.sum(0)
