"""Heun with churn against algorithm 2 of EDM."""

import math

import pytest
import torch

from scoregen.core import EDM, VP, Grid, Prediction, karras_grid, sample
from scoregen.core.solvers import Heun, HeunChurn

from ..affine import moments
from ..gaussian import PROCESSES, example, noise, ratio_grid, space


def test_follows_algorithm_two() -> None:
    """Karras et al. 2022, algorithm 2, written out with numbers: α = 1, σ = t."""
    problem, grid = example("edm"), Grid(EDM(), torch.tensor([3.0, 1.0]))
    t, s = grid.times
    x, n = noise(5).normal(space(5), -1), noise(5).normal(space(5), 0)
    gamma = min(0.3 / 1, math.sqrt(2) - 1)
    hat = t + gamma * t
    raised = x + (hat**2 - t**2).sqrt() * 1.007 * n
    d = (raised - problem.denoise(raised, hat).x0) / hat
    euler = raised + (s - hat) * d
    d_next = (euler - problem.denoise(euler, s).x0) / s
    expected = raised + (s - hat) * (d / 2 + d_next / 2)
    solver = HeunChurn(0.3, noise_scale=1.007)
    result = solver.step(solver.init(x), 0, grid, problem.denoise, lambda i, stage=0: n)
    torch.testing.assert_close(result.x, expected)


@pytest.mark.parametrize("name", ["edm", "ve"])
def test_without_churn_it_is_heun(name: str) -> None:
    """Where α = 1 the two integrate one equation, over t or over σ: alike on EDM, close on VE."""
    problem, grid = example(name), ratio_grid(PROCESSES[name], 400)
    tolerance = 1e-12 if name == "edm" else 1e-4
    for one, two in zip(moments(problem, HeunChurn(0.0), grid), moments(problem, Heun(), grid), strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


def test_churn_stays_between_its_levels_and_below_t_max() -> None:
    problem, grid = example("edm"), karras_grid(EDM(), 20)
    seen: list[float] = []

    def watch(x: torch.Tensor, t: torch.Tensor) -> Prediction:
        seen.append(float(t))
        return problem.denoise(x, t)

    keyed = noise(2)
    sample(watch, EDM(), space(2), solver=HeunChurn(8.0, 1.0, 60.0), grid=grid, noise=keyed)
    times = grid.times.tolist()
    starts = seen[::2]
    assert len(seen) == 39
    assert starts == pytest.approx([min(t * 1.4, 80.0) if 1.0 <= t <= 60.0 else t for t in times[:-1]])
    seen.clear()
    sample(watch, EDM(), space(2), solver=HeunChurn(8.0, 0.0, 1e9), grid=grid, noise=keyed)
    assert max(seen) == 80.0
    assert seen[2] == pytest.approx(min(1.4 * times[1], 80.0))


def test_churn_widens_by_too_long_steps_and_by_inflated_noise() -> None:
    """Each departure from the paper's defaults, by what it repairs in a Gaussian."""
    problem, grid = example("vp"), karras_grid(VP(), 64)
    goal = moments(problem, HeunChurn(), grid)[1]
    assert bool((moments(problem, HeunChurn(40.0), grid)[1] > goal * 1.01).all())
    assert bool((moments(problem, HeunChurn(noise_scale=1.02), grid)[1] > goal * 1.005).all())


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="must not be negative, got -1 and 1"):
        HeunChurn(-1, noise_scale=1)
    with pytest.raises(ValueError, match="low must not exceed high, got 2 and 1"):
        HeunChurn(low=2, high=1)
