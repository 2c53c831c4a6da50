"""ER-SDE and SDE-DPM-Solver++: their papers' formulas, integrals by quadrature, order from an exact past."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from scoregen.core import EDM, VP
from scoregen.core.solvers import ERSDE, Ancestral, DPMpp2M, SDEDPMpp2M
from scoregen.core.solvers.er_sde import er_scale, heavy_scale, ode_scale, sde_scale
from scoregen.core.solvers.linear import Past

from ..affine import moments
from ..gaussian import PROCESSES, example, noise, ratio_grid, slope, space


def phi(r: float) -> float:
    """The recommended noise scale as the paper writes it."""
    return r * (math.exp(r**0.3) + 10)


@pytest.mark.parametrize("r", [1e-3, 0.1, 1.0, 80.0])
def test_noise_scales(r: float) -> None:
    log_r = np.array([math.log(r)])
    assert math.exp(er_scale(log_r)[0]) == pytest.approx(phi(r))
    assert math.exp(sde_scale(log_r)[0]) == pytest.approx(r**2)
    assert math.exp(heavy_scale(log_r)[0]) == pytest.approx(r**3)
    assert math.exp(ode_scale(log_r)[0]) == pytest.approx(r)


@pytest.mark.parametrize("process", ["edm", "vp"])
@pytest.mark.parametrize("parabola", [True, False])
def test_follows_algorithm_three(process: str, parabola: bool) -> None:
    """Third step of order 3 in the paper's variables, its integrals by adaptive quadrature."""
    problem, grid = example(process), ratio_grid(PROCESSES[process], 4, power=0.5)
    solver = ERSDE(3, parabola=parabola)
    states = [noise(5).normal(space(5), -k) for k in (1, 2, 3)]
    points = [(x, problem.denoise(x, grid.times[i]).x0) for i, x in enumerate(states)]
    n = noise(5).normal(space(5), 2)
    result = solver.step(
        Past(states[2], (points[1], points[0])), 2, grid, problem.denoise, lambda i, stage=0: n
    ).x
    r = list(grid.levels[0].ratio)
    d2, d1, d0 = (x0 for _, x0 in points)
    first, before = (d0 - d1) / (r[2] - r[1]), (d1 - d2) / (r[1] - r[0])
    second = (first - before) / ((r[2] - r[0]) / 2)
    if parabola:
        first = first + (r[2] - r[1]) / 2 * second
    rho = phi(r[3]) / phi(r[2])
    a1 = r[3] - r[2] + phi(r[3]) * quad(lambda u: 1 / phi(u), r[3], r[2])[0]
    a2 = (r[3] - r[2]) ** 2 / 2 + phi(r[3]) * quad(lambda u: (u - r[2]) / phi(u), r[3], r[2])[0]
    y = rho * states[2] / grid.alpha[2] + (1 - rho) * d0 + a1 * first + a2 * second
    expected = grid.alpha[3] * (y + math.sqrt(r[3] ** 2 - (rho * r[2]) ** 2) * n)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    ("order", "parabola", "expected"), [(1, True, 1), (2, True, 2), (3, True, 3), (3, False, 2)]
)
def test_order_of_the_rule_from_an_exact_history(order: int, parabola: bool, expected: int) -> None:
    """φ = r, the ODE: the published derivative costs order 3 its order."""
    problem, steps, errors = example("vp"), [32, 64, 128], []
    solver = ERSDE(order, ode_scale, parabola, variance="published")
    for count in steps:
        grid = ratio_grid(problem.sde, count, high=3.0, low=0.3)
        start = noise(5).normal(space(5), -1)
        exact = [problem.flow(start, grid.times[0], t) for t in grid.times]
        begin = order - 1
        history = tuple(
            (exact[i], problem.denoise(exact[i], grid.times[i]).x0) for i in reversed(range(begin))
        )
        carry = Past(exact[begin], history)
        for i in range(begin, count):
            carry = solver.step(carry, i, grid, problem.denoise, lambda i, stage=0: torch.zeros(5, 3))
        errors.append(float((carry.x - exact[-1]).square().mean().sqrt()))
    assert slope(steps, errors) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("name", ["edm", "vp", "ve"])
def test_analytic_noise_does_not_hang_on_rounding(name: str) -> None:
    """With φ = r the published noise is 0 up to rounding; what the samples lack is added in every step."""
    problem, grid, drawn = example(name), ratio_grid(PROCESSES[name], 9, power=0.3), []

    def draw(step: int, stage: int = 0) -> torch.Tensor:
        drawn.append(step)
        return noise(5).normal(space(5), step, stage)

    for solver in (ERSDE(1, ode_scale), ERSDE(1, ode_scale, sigma_data=0.5)):
        carry = solver.init(4 * noise(5).normal(space(5), -1))
        drawn.clear()
        for i in range(9):
            carry = solver.step(carry, i, grid.on(space(5)), problem.denoise, draw)
        assert drawn == list(range(9))


def test_noise_scales_that_have_other_names() -> None:
    """φ = r² of order 1 is DDPM's small variance; of order 2 SDE-DPM-Solver++ on a line in σ/α."""
    problem, grid = example("vp"), ratio_grid(VP(), 9, power=0.3)
    pairs = [
        (ERSDE(1, sde_scale, variance="published"), Ancestral("small")),
        (ERSDE(1, sde_scale, sigma_data=0.4), Ancestral(sigma_data=0.4)),
        (ERSDE(2, sde_scale), SDEDPMpp2M()),
        (ERSDE(2, ode_scale), SDEDPMpp2M(0.0)),
    ]
    for left, right in pairs:
        for one, two in zip(moments(problem, left, grid), moments(problem, right, grid), strict=True):
            torch.testing.assert_close(one, two)


def test_sde_dpmpp_follows_the_papers() -> None:
    """Lu et al. 2022, eq. 18 at η = 1, and k-diffusion's two solver types at any η, in their variables."""
    problem, grid = example("vp"), ratio_grid(VP(), 3, power=0.5)
    x, y, n = (noise(5).normal(space(5), k) for k in (-1, -2, 1))
    past, now = problem.denoise(y, grid.times[0]).x0, problem.denoise(x, grid.times[1]).x0
    lam, a, s = grid.half_log_snr, grid.alpha, grid.sigma
    h, r = lam[2] - lam[1], (lam[1] - lam[0]) / (lam[2] - lam[1])

    def step(solver: SDEDPMpp2M) -> torch.Tensor:
        carry = Past(x, ((y, past),))
        return solver.step(carry, 1, grid, problem.denoise, lambda i, stage=0: n).x

    gain = 1 - (-2 * h).exp()
    expected = s[2] / s[1] * (-h).exp() * x + a[2] * gain * now + a[2] * gain / 2 * (now - past) / r
    torch.testing.assert_close(step(SDEDPMpp2M(rule="midpoint")), expected + s[2] * gain.sqrt() * n)
    eta = 0.6
    z = (1 + eta) * h
    heun = (1 - (-z).exp()) / -z + 1
    expected = (
        s[2] / s[1] * (-eta * h).exp() * x + a[2] * (1 - (-z).exp()) * now + a[2] * heun / r * (now - past)
    )
    expected = expected + s[2] * (1 - (-2 * eta * h).exp()).sqrt() * n
    torch.testing.assert_close(step(SDEDPMpp2M(eta, "heun")), expected)


def test_sde_dpmpp_without_noise_is_the_ode_solver() -> None:
    problem, grid = example("edm"), ratio_grid(EDM(), 9, power=0.3)
    one, two = moments(problem, SDEDPMpp2M(0.0, "midpoint"), grid), moments(problem, DPMpp2M(), grid)
    torch.testing.assert_close(one[0], two[0])
    torch.testing.assert_close(one[1], two[1])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="orders 1 to 3, got 4"):
        ERSDE(4)
    with pytest.raises(ValueError, match="variance must be 'analytic' or 'published', got 'x'"):
        ERSDE(variance="x")
    with pytest.raises(ValueError, match="negative variance"):
        moments(example("vp"), ERSDE(2, np.zeros_like), ratio_grid(VP(), 4))
    with pytest.raises(ValueError, match="eta must not be negative, got -1"):
        SDEDPMpp2M(-1)
    with pytest.raises(ValueError, match="rule must be one of ratio, midpoint, heun, got 'x'"):
        SDEDPMpp2M(rule="x")
