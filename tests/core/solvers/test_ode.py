"""Deterministic solvers against the closed-form probability flow of a Gaussian: what they get exactly."""

import pytest
import torch

from scoregen.core import EDM, Grid, RectifiedFlow, karras_grid, sample
from scoregen.core.solvers import DDIM, IPNDM, SOLVERS, Heun, solver_by_name
from scoregen.core.solvers.ipndm import ADAMS_BASHFORTH
from scoregen.core.solvers.linear import Past

from ..gaussian import PROCESSES, Gaussian, example, noise, ratio_grid, slope, space
from .convergence import SIZE, error

DETERMINISTIC = {
    name: solver_by_name(name)
    for name in ("ddim", "heun", "dpmpp-2s", "dpmpp-2m", "dpmpp-3m", "unipc-3", "deis-3", "ipndm-4", "vab-3")
}


@pytest.mark.parametrize("name", sorted(PROCESSES))
@pytest.mark.parametrize("order_asked", [1, 2, 3, 4])
def test_ipndm_has_its_order_from_an_exact_history(name: str, order_asked: int) -> None:
    """The Adams–Bashforth weights themselves, on equal steps in σ/α with exact slopes to begin with."""
    problem, steps = example(name), [64, 128, 256]
    errors = []
    for count in steps:
        grid = ratio_grid(problem.sde, count, high=3.0, low=1.0)
        first = torch.randn(SIZE, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        exact = [problem.flow(first, grid.times[0], t) for t in grid.times]
        begin = order_asked - 1
        history = tuple(
            (exact[i], problem.denoise(exact[i], grid.times[i]).x0) for i in reversed(range(begin))
        )
        carry, solver = Past(exact[begin], history), IPNDM(order_asked)
        for i in range(begin, count):
            carry = solver.step(carry, i, grid, problem.denoise, None)
        errors.append(float((carry.x - exact[-1]).square().mean().sqrt()))
    assert slope(steps, errors) == pytest.approx(order_asked, abs=0.15)


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_ipndm_has_the_smallest_constant(name: str) -> None:
    problem, grid = example(name), ratio_grid(PROCESSES[name], 64)
    assert error(problem, IPNDM(4), grid) < 0.5 * error(problem, IPNDM(2), grid)
    assert error(problem, IPNDM(4), grid) < 0.2 * error(problem, DDIM(), grid)


def test_adams_bashforth_weights_integrate_polynomials() -> None:
    """The rule with k slopes is exact for polynomials of degree k − 1 over the next unit step."""
    for weights in ADAMS_BASHFORTH:
        for degree in range(len(weights)):
            rule = sum(w * float(-j) ** degree for j, w in enumerate(weights))
            assert rule == pytest.approx(1 / (degree + 1), abs=1e-12)


@pytest.mark.parametrize("name", sorted(PROCESSES))
@pytest.mark.parametrize("solver", sorted(set(DETERMINISTIC) - {"heun"}))
def test_exact_in_any_number_of_steps_for_a_point(name: str, solver: str) -> None:
    """Data at one point: x_0 is known everywhere, and these rules are exact for a constant estimate."""
    problem = example(name)
    point = Gaussian(problem.sde, problem.mean, torch.zeros(3, dtype=torch.float64))
    for count in (1, 2, 7):
        assert error(point, DETERMINISTIC[solver], ratio_grid(problem.sde, count)) < 1e-10


@pytest.mark.parametrize("solver", sorted(DETERMINISTIC))
def test_a_long_run_from_noise_reaches_the_data(solver: str) -> None:
    """EDM's own grid, 80 → 0: the end point has the mean and the width of the data."""
    problem, size = example("edm"), 4000
    result = sample(
        problem.denoise,
        problem.sde,
        space(size),
        solver=DETERMINISTIC[solver],
        grid=karras_grid(EDM(), 60),
        noise=noise(size),
        start=problem.mean.expand(size, 3),  # else the end point keeps σ_max's small bias towards zero
    )
    error = problem.std / size**0.5
    assert float(((result.mean(0) - problem.mean) / error).abs().max()) < 4.5
    torch.testing.assert_close(result.std(0), problem.std, rtol=0.06, atol=0)


def test_solvers_are_found_by_name() -> None:
    assert all(solver_by_name(name) == SOLVERS[name]() for name in SOLVERS)
    with pytest.raises(ValueError, match="unknown solver 'rk45'; known: ddim"):
        solver_by_name("rk45")
    with pytest.raises(ValueError, match="orders 1 to 4, got 5"):
        IPNDM(5)


def test_solvers_hold_no_state() -> None:
    """One solver object may serve interleaved runs (threads); its history travels in the carry."""
    problem, grid = example("edm"), ratio_grid(EDM(), 6)
    for solver in DETERMINISTIC.values():
        x, y = noise(SIZE, 1).normal(space(SIZE), 0), noise(SIZE, 2).normal(space(SIZE), 0)
        one, two = solver.init(x), solver.init(y)
        for i in range(6):
            one = solver.step(one, i, grid, problem.denoise, None)
            two = solver.step(two, i, grid, problem.denoise, None)
        alone = solver.init(x)
        for i in range(6):
            alone = solver.step(alone, i, grid, problem.denoise, None)
        assert torch.equal(one.x, alone.x)
        assert not torch.equal(one.x, two.x)


def test_rectified_flow_is_straight() -> None:
    """For a point the flow is a line, so one Heun step on the whole interval is exact."""
    problem = Gaussian(
        RectifiedFlow(), torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    )
    grid = Grid(RectifiedFlow(), torch.tensor([0.9, 0.1]))
    assert error(problem, Heun(), grid) < 1e-12


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_an_impossible_eta_is_refused(eta: float) -> None:
    with pytest.raises(ValueError, match="eta must lie in"):
        DDIM(eta)
