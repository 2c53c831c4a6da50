"""Deterministic solvers against the closed-form probability flow of a Gaussian: their measured order."""

import pytest
import torch

from scoregen.core import EDM, Grid, Prediction, RectifiedFlow, karras_grid, sample, uniform_grid
from scoregen.core.solvers import DDIM, IPNDM, SOLVERS, DPMpp2M, Heun, Solver, solver_by_name
from scoregen.core.solvers.ipndm import ADAMS_BASHFORTH
from scoregen.core.solvers.linear import Past

from ..gaussian import PROCESSES, Gaussian, example, noise, ratio_grid, slope, space

SIZE = 8
DETERMINISTIC = {"ddim": DDIM(), "heun": Heun(), "dpmpp-2m": DPMpp2M(), "ipndm-4": IPNDM()}


def error(problem: Gaussian, solver: Solver, grid: Grid) -> float:
    """Root mean square distance to the exact end point, from the very start ``sample`` used."""
    batch, keyed = space(SIZE), noise(SIZE)
    start = torch.full((SIZE, 3), 0.5, dtype=torch.float64)
    result = sample(problem.denoise, problem.sde, batch, solver=solver, grid=grid, noise=keyed, start=start)
    first = grid.alpha[0] * start + grid.sigma[0] * keyed.normal(batch, -1)
    return float((result - problem.flow(first, grid.times[0], grid.times[-1])).square().mean().sqrt())


def order(problem: Gaussian, solver: Solver, steps: list[int], **interval: float) -> float:
    grids = [ratio_grid(problem.sde, count, **interval) for count in steps]
    return slope(steps, [error(problem, solver, grid) for grid in grids])


@pytest.mark.parametrize("name", sorted(PROCESSES))
@pytest.mark.parametrize("power", [1.0, 1 / 7, 0.0], ids=["equal", "karras", "log"])
@pytest.mark.parametrize(("solver", "expected"), [(DDIM(), 1), (Heun(), 2), (DPMpp2M(), 2)], ids=str)
def test_order_of_convergence(name: str, power: float, solver: Solver, expected: int) -> None:
    measured = order(example(name), solver, [64, 128, 256, 512], power=power)
    assert measured == pytest.approx(expected, abs=0.15)


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
@pytest.mark.parametrize(("order_asked", "expected"), [(1, 1), (2, 2), (3, 2), (4, 2)])
def test_ipndm_is_limited_by_its_euler_start(name: str, order_asked: int, expected: int) -> None:
    """As published it starts with one Euler step, whose error h² stays: the order from noise is 2 at most.

    Its worth is the constant: see :func:`test_ipndm_has_the_smallest_constant`.
    """
    measured = order(example(name), IPNDM(order_asked), [64, 128, 256, 512], high=3.0, low=1.0)
    assert measured == pytest.approx(expected, abs=0.15)


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
@pytest.mark.parametrize("solver", ["ddim", "dpmpp-2m", "ipndm-4"])
def test_exact_in_any_number_of_steps_for_a_point(name: str, solver: str) -> None:
    """Data at one point: x_0 is known everywhere, and these rules are exact for a constant estimate."""
    problem = example(name)
    point = Gaussian(problem.sde, problem.mean, torch.zeros(3, dtype=torch.float64))
    for count in (1, 2, 7):
        assert error(point, DETERMINISTIC[solver], ratio_grid(problem.sde, count)) < 1e-10


@pytest.mark.parametrize("solver", sorted(DETERMINISTIC))
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_from_no_signal_to_no_noise(solver: str, steps: int) -> None:
    """Rectified flow from α = 0 to σ = 0: both ends are singular for a careless solver."""
    problem = example("rectified_flow")
    grid = uniform_grid(problem.sde, steps)
    assert float(grid.alpha[0]) == 0.0
    assert float(grid.sigma[-1]) == 0.0
    result = sample(
        problem.denoise, problem.sde, space(SIZE), solver=DETERMINISTIC[solver], grid=grid, noise=noise(SIZE)
    )
    assert bool(torch.isfinite(result).all())


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


def test_heun_follows_algorithm_one() -> None:
    """Karras et al. 2022, algorithm 1, written out with numbers: α = 1, σ = t."""
    problem, batch = example("edm"), space(SIZE)
    t, s = torch.tensor(3.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    x = noise(SIZE).normal(batch, 0)
    d = (x - problem.denoise(x, t).x0) / t
    euler = x + (s - t) * d
    d_next = (euler - problem.denoise(euler, s).x0) / s
    expected = x + (s - t) * (d / 2 + d_next / 2)
    grid = Grid(EDM(), torch.stack([t, s]))
    torch.testing.assert_close(Heun().step(Heun().init(x), 0, grid, problem.denoise, None).x, expected)


def test_dpmpp_follows_algorithm_two() -> None:
    """Lu et al. 2022, algorithm 2, in its own variables."""
    problem, batch = example("vp"), space(SIZE)
    grid = ratio_grid(problem.sde, 3, power=0.5)
    solver, x = DPMpp2M(), noise(SIZE).normal(batch, 0)
    carry = solver.step(solver.init(x), 0, grid, problem.denoise, None)
    lam, a, s = grid.half_log_snr, grid.alpha, grid.sigma
    h0, h1 = lam[1] - lam[0], lam[2] - lam[1]
    d0 = problem.denoise(x, grid.times[0]).x0
    x1 = s[1] / s[0] * x - a[1] * torch.expm1(-h0) * d0
    torch.testing.assert_close(carry.x, x1)
    r = h0 / h1
    d1 = (1 + 1 / (2 * r)) * problem.denoise(x1, grid.times[1]).x0 - 1 / (2 * r) * d0
    x2 = s[2] / s[1] * x1 - a[2] * torch.expm1(-h1) * d1
    torch.testing.assert_close(solver.step(carry, 1, grid, problem.denoise, None).x, x2)


@pytest.mark.parametrize(("solver", "calls"), [("ddim", 9), ("heun", 17), ("dpmpp-2m", 9), ("ipndm-4", 9)])
def test_network_calls(solver: str, calls: int) -> None:
    seen: list[tuple[int, Prediction]] = []
    problem = example("edm")
    sample(
        problem.denoise,
        problem.sde,
        space(2),
        solver=DETERMINISTIC[solver],
        grid=karras_grid(EDM(), 9),
        noise=noise(2),
        on_step=lambda i, prediction: seen.append((i, prediction)),
    )
    assert len(seen) == calls
    assert {i for i, _ in seen} == set(range(9))


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
