"""Ancestral sampling against the formulas of its papers."""

import pytest
import torch

from scoregen.core import EDM, VP, Grid, karras_grid, sample
from scoregen.core.solvers import Ancestral, EulerMaruyama

from ..affine import moments
from ..gaussian import PROCESSES, Gaussian, example, noise, ratio_grid, space


def test_follows_the_posterior_of_ddpm() -> None:
    """Ho et al. 2020, eq. 6-7, in their own ᾱ, α, β."""
    problem, grid = example("vp"), ratio_grid(VP(), 3, power=0.5)
    bar, bar_next = grid.alpha[0] ** 2, grid.alpha[1] ** 2
    ratio = bar / bar_next
    beta = 1 - ratio
    x, n = noise(5).normal(space(5), -1), noise(5).normal(space(5), 0)
    x0 = problem.denoise(x, grid.times[0]).x0
    mean = bar_next.sqrt() * beta / (1 - bar) * x0 + ratio.sqrt() * (1 - bar_next) / (1 - bar) * x
    for variance, square in (("small", (1 - bar_next) / (1 - bar) * beta), ("large", beta)):
        solver = Ancestral(variance)
        result = solver.step(solver.init(x), 0, grid, problem.denoise, lambda i, stage=0: n).x
        torch.testing.assert_close(result, mean + square.sqrt() * n)


def test_analytic_variance_joins_small_and_large() -> None:
    """On VP a width of 0 is the small variance and a width of 1 the large one."""
    problem, grid = example("vp"), ratio_grid(VP(), 9)
    for std, variance in ((0.0, "small"), (1.0, "large")):
        joined = moments(problem, Ancestral(sigma_data=std), grid)
        published = moments(problem, Ancestral(variance), grid)
        for left, right in zip(joined, published, strict=True):
            torch.testing.assert_close(left, right)


@pytest.mark.parametrize("name", sorted(PROCESSES))
@pytest.mark.parametrize(
    "solver", [Ancestral(sigma_data=0.6), EulerMaruyama(sigma_data=0.6)], ids=["ddpm", "euler"]
)
def test_the_right_width_is_exact_in_any_number_of_steps(name: str, solver: Ancestral) -> None:
    full = torch.ones(1, dtype=torch.float64)
    problem = Gaussian(PROCESSES[name], full, 0.6 * full)
    for count in (7, 30):
        grid = ratio_grid(problem.sde, count, power=0)
        mean, variance = moments(problem, solver, grid, exact_start=True, most=1)
        torch.testing.assert_close(mean, grid.alpha[-1] * problem.mean)
        torch.testing.assert_close(variance, problem.variance(grid.alpha[-1], grid.sigma[-1]))


def test_the_estimate_is_right_in_expectation() -> None:
    """One step from the exact law: the variance added on average is what is lost, for data of any width."""
    size, width, grid = 4000, 24, Grid(EDM(), torch.tensor([1.0, 0.75]))
    batch, full = space(size, width), torch.ones(width, dtype=torch.float64)
    for std in (0.1, 0.5, 2.0):
        problem, solver = Gaussian(EDM(), full, std * full), Ancestral()
        x = 1 + (1 + std**2) ** 0.5 * noise(size).normal(batch, -1)
        draw = noise(size, 1).normal(batch, 0)
        carry = solver.step(solver.init(x), 0, grid.on(batch), problem.denoise, lambda i, stage=0, n=draw: n)
        assert float((carry.x - 1).square().mean() / (std**2 + 0.75**2)) == pytest.approx(1, abs=0.02)


def test_few_steps_need_the_width() -> None:
    """Eight steps over EDM's range are too few for the estimate; with the width given they are enough."""
    size, grid = 4000, karras_grid(EDM(), 8)
    full = torch.ones(3, dtype=torch.float64)
    problem = Gaussian(EDM(), full, 0.5 * full)
    variance = [
        float(
            sample(problem.denoise, EDM(), space(size), solver=solver, grid=grid, noise=noise(size))
            .var(0)
            .mean()
        )
        for solver in (Ancestral(), Ancestral(sigma_data=0.5))
    ]
    assert variance[0] / 0.25 > 1.5
    assert variance[1] / 0.25 == pytest.approx(1, abs=0.05)


def test_unknown_variance() -> None:
    with pytest.raises(ValueError, match="variance must be one of small, large, analytic, got 'tiny'"):
        Ancestral("tiny")
