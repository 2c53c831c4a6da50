"""Euler–Maruyama, plain and with the analytic variance."""

import math

import pytest
import torch

from scoregen.core import EDM, DenseSpace, RectifiedFlow, karras_grid, sample, uniform_grid
from scoregen.core.solvers import EulerMaruyama

from ..affine import moments
from ..gaussian import PROCESSES, Gaussian, example, noise, ratio_grid, slope, space

PLAIN = EulerMaruyama("published")


@pytest.mark.parametrize("solver", [PLAIN, EulerMaruyama(sigma_data=0.7)], ids=["published", "analytic"])
@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_weak_order_one(name: str, solver: EulerMaruyama) -> None:
    """From the exact marginal at the start, mean and variance at the end err like the step."""
    problem, steps = example(name), [50, 100, 200, 400]
    mean_errors, variance_errors = [], []
    for count in steps:
        grid = ratio_grid(problem.sde, count, power=0)
        mean, variance = moments(problem, solver, grid, exact_start=True, most=1)
        mean_errors.append(float((mean - grid.alpha[-1] * problem.mean).abs().max()))
        exact = problem.variance(grid.alpha[-1], grid.sigma[-1])
        variance_errors.append(float((variance - exact).abs().max()))
    assert slope(steps, variance_errors) == pytest.approx(1.0, abs=0.15)
    if max(mean_errors) > 1e-12:  # the plain mean is exact where α is constant, the other everywhere
        assert solver.variance == "published"
        assert slope(steps, mean_errors) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("solver", [PLAIN, EulerMaruyama()], ids=["published", "analytic"])
@pytest.mark.parametrize("name", ["vp", "edm", "rectified_flow"])
def test_terminal_mean_and_variance(name: str, solver: EulerMaruyama) -> None:
    """Samples drawn through ``sample`` have the moments of the data."""
    problem, size = example(name), 5000
    grid = ratio_grid(problem.sde, 200, high=60.0, low=0.02, power=0)
    result = sample(problem.denoise, problem.sde, space(size), solver=solver, grid=grid, noise=noise(size))
    variance = problem.variance(grid.alpha[-1], grid.sigma[-1])
    error = (variance / size).sqrt()
    assert float(((result.mean(0) - grid.alpha[-1] * problem.mean) / error).abs().max()) < 4.5
    ratio = result.var(0) / variance
    assert float((ratio - 1).abs().max()) < 4.5 * math.sqrt(2 / size) + 0.05


def test_the_draws_match_the_affine_moments() -> None:
    """The noise ``sample`` adds is independent between steps and from the start."""
    problem, size = example("vp"), 20_000
    grid = ratio_grid(problem.sde, 12, high=10.0, low=0.5)
    result = sample(problem.denoise, problem.sde, space(size), solver=PLAIN, grid=grid, noise=noise(size))
    mean, variance = moments(problem, PLAIN, grid)
    assert float(((result.mean(0) - mean) / (variance / size).sqrt()).abs().max()) < 4.5
    assert float((result.var(0) / variance - 1).abs().max()) < 4.5 * math.sqrt(2 / size)


def test_shaped_noise_gives_shaped_samples() -> None:
    """Data N(0, s²Σ) with Σ diagonal: the reverse SDE driven by coloured noise keeps the shape."""
    size, std = 6000, 0.7
    scale = torch.tensor([0.2, 1.0, 4.0], dtype=torch.float64)
    batch = DenseSpace((size, 3), scale=scale, dtype=torch.float64)
    problem = Gaussian(EDM(), torch.zeros(3, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
    grid = ratio_grid(EDM(), 200, high=40.0, low=0.01, power=0)
    result = sample(problem.denoise, EDM(), batch, solver=PLAIN, grid=grid, noise=noise(size))
    ratio = result.std(0) / (std * scale)
    assert float((ratio - 1).abs().max()) < 4.5 / math.sqrt(2 * size) + 0.03


@pytest.mark.parametrize("solver", [PLAIN, EulerMaruyama()], ids=["published", "analytic"])
def test_a_grid_to_zero_lands_on_the_estimate(solver: EulerMaruyama) -> None:
    problem = example("edm")
    point = Gaussian(EDM(), problem.mean, torch.zeros(3, dtype=torch.float64))
    result = sample(
        point.denoise, EDM(), space(4), solver=solver, grid=karras_grid(EDM(), 30), noise=noise(4)
    )
    torch.testing.assert_close(result, problem.mean.expand(4, 3))


@pytest.mark.parametrize("solver", [PLAIN, EulerMaruyama()], ids=["published", "analytic"])
def test_a_start_without_signal_is_refused(solver: EulerMaruyama) -> None:
    problem = example("rectified_flow")
    grid = uniform_grid(RectifiedFlow(), 5)
    with pytest.raises(ValueError, match="start the grid below t_max"):
        sample(problem.denoise, RectifiedFlow(), space(2), solver=solver, grid=grid, noise=noise(2))


def test_an_unknown_variance_is_refused() -> None:
    with pytest.raises(ValueError, match="variance must be one of published, analytic, got 'big'"):
        EulerMaruyama("big")
