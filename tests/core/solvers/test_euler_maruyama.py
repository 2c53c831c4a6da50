"""Euler–Maruyama: for a Gaussian every step is affine, so its moments are known without sampling error."""

import math

import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, DenseSpace, Grid, RectifiedFlow, karras_grid, sample, uniform_grid
from scoregen.core.solvers import EulerMaruyama

from ..gaussian import PROCESSES, Gaussian, example, noise, ratio_grid, slope, space


def moments(problem: Gaussian, grid: Grid, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Carry mean and variance through the solver's own steps ``x ↦ a x + b + c n``."""
    solver = EulerMaruyama()
    basis = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64).expand(3, 3)
    draws = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64).expand(3, 3)
    for i in range(grid.steps):
        b, one, c = solver.step(solver.init(basis), i, grid, problem.denoise, lambda *_: draws).x
        a, c = one - b, c - b
        mean, variance = a * mean + b, a**2 * variance + c**2
    return mean, variance


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_weak_order_one(name: str) -> None:
    """From the exact marginal at the start, mean and variance at the end err like the step."""
    problem, steps = example(name), [100, 200, 400, 800]
    mean_errors, variance_errors = [], []
    for count in steps:
        grid = ratio_grid(problem.sde, count, power=0)
        first = problem.variance(grid.alpha[0], grid.sigma[0])
        mean, variance = moments(problem, grid, grid.alpha[0] * problem.mean, first)
        mean_errors.append(float((mean - grid.alpha[-1] * problem.mean).abs().max()))
        variance_errors.append(
            float((variance - problem.variance(grid.alpha[-1], grid.sigma[-1])).abs().max())
        )
    assert slope(steps, variance_errors) == pytest.approx(1.0, abs=0.15)
    if max(mean_errors) > 1e-12:  # where α is constant the mean is exact
        assert slope(steps, mean_errors) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("name", ["vp", "edm", "rectified_flow"])
def test_terminal_mean_and_variance(name: str) -> None:
    """Samples drawn through ``sample`` have the moments of the data."""
    problem, size = example(name), 5000
    grid = ratio_grid(problem.sde, 300, high=60.0, low=0.02, power=0)
    result = sample(
        problem.denoise, problem.sde, space(size), solver=EulerMaruyama(), grid=grid, noise=noise(size)
    )
    variance = problem.variance(grid.alpha[-1], grid.sigma[-1])
    error = (variance / size).sqrt()
    assert float(((result.mean(0) - grid.alpha[-1] * problem.mean) / error).abs().max()) < 4.5
    ratio = result.var(0) / variance
    assert float((ratio - 1).abs().max()) < 4.5 * math.sqrt(2 / size) + 0.05


def test_the_draws_match_the_affine_moments() -> None:
    """The noise ``sample`` adds is independent between steps and from the start."""
    problem, size = example("vp"), 20_000
    grid = ratio_grid(problem.sde, 12, high=10.0, low=0.5)
    result = sample(
        problem.denoise, problem.sde, space(size), solver=EulerMaruyama(), grid=grid, noise=noise(size)
    )
    zero = torch.zeros(3, dtype=torch.float64)
    mean, variance = moments(problem, grid, zero, zero + float(grid.sigma[0]) ** 2)
    assert float(((result.mean(0) - mean) / (variance / size).sqrt()).abs().max()) < 4.5
    assert float((result.var(0) / variance - 1).abs().max()) < 4.5 * math.sqrt(2 / size)


def test_shaped_noise_gives_shaped_samples() -> None:
    """Data N(0, s²Σ) with Σ diagonal: the reverse SDE driven by coloured noise keeps the shape."""
    size, std = 6000, 0.7
    scale = torch.tensor([0.2, 1.0, 4.0], dtype=torch.float64)
    batch = DenseSpace((size, 3), scale=scale, dtype=torch.float64)
    problem = Gaussian(EDM(), torch.zeros(3, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
    grid = ratio_grid(EDM(), 400, high=40.0, low=0.01, power=0)
    result = sample(problem.denoise, EDM(), batch, solver=EulerMaruyama(), grid=grid, noise=noise(size))
    ratio = result.std(0) / (std * scale)
    assert float((ratio - 1).abs().max()) < 4.5 / math.sqrt(2 * size) + 0.03


def test_a_grid_to_zero_lands_on_the_estimate() -> None:
    problem = example("edm")
    point = Gaussian(EDM(), problem.mean, torch.zeros(3, dtype=torch.float64))
    result = sample(
        point.denoise, EDM(), space(4), solver=EulerMaruyama(), grid=karras_grid(EDM(), 30), noise=noise(4)
    )
    torch.testing.assert_close(result, problem.mean.expand(4, 3))


def test_a_start_without_signal_is_refused() -> None:
    problem = example("rectified_flow")
    with pytest.raises(ValueError, match="start the grid below t_max"):
        sample(
            problem.denoise,
            RectifiedFlow(),
            space(2),
            solver=EulerMaruyama(),
            grid=uniform_grid(RectifiedFlow(), 5),
            noise=noise(2),
        )
