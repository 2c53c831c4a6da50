"""Error and measured order of a solver against the closed-form flow of a Gaussian."""

from __future__ import annotations

import torch

from scoregen.core import Grid, sample
from scoregen.core.solvers import Solver

from ..gaussian import Gaussian, noise, ratio_grid, slope, space

SIZE = 8


def error(problem: Gaussian, solver: Solver, grid: Grid) -> float:
    """Root mean square distance to the exact end point, from the very start ``sample`` used."""
    batch, keyed = space(SIZE), noise(SIZE)
    start = torch.full((SIZE, 3), 0.5, dtype=torch.float64)
    result = sample(problem.denoise, problem.sde, batch, solver=solver, grid=grid, noise=keyed, start=start)
    first = grid.alpha[0] * start + grid.sigma[0] * keyed.normal(batch, -1)
    return float((result - problem.flow(first, grid.times[0], grid.times[-1])).square().mean().sqrt())


def order(problem: Gaussian, solver: Solver, steps: list[int], **interval: float) -> float:
    """Fitted slope over grids evenly spaced in ``(σ/α)^power``."""
    grids = [ratio_grid(problem.sde, count, **interval) for count in steps]
    return slope(steps, [error(problem, solver, grid) for grid in grids])


def clock_order(problem: Gaussian, solver: Solver, steps: list[int], first: float, last: float) -> float:
    """Fitted slope over grids evenly spaced in time between two times."""
    grids = [Grid(problem.sde, torch.linspace(first, last, n + 1, dtype=torch.float64)) for n in steps]
    return slope(steps, [error(problem, solver, grid) for grid in grids])
