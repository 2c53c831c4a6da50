"""Each rule beside its paper, written out again with numbers and in the paper's variables."""

import numpy as np
import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, Grid, Prediction, RectifiedFlow, sample
from scoregen.core.solvers import DDIM, DEIS, EAB, IPNDM, VAB, DPMpp2M, DPMpp2S, DPMpp3M, Heun, Solver, UniPC
from scoregen.core.solvers.polynomial import adams_weights, decaying_moments, exponential_moments, quadrature
from scoregen.core.solvers.runge_kutta import KUTTA, runge_kutta

from ..gaussian import Gaussian, example, noise, ratio_grid, space
from .convergence import SIZE

KARRAS = 1 / 7


def recorded(problem: Gaussian, solver: Solver, grid: Grid) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """States that were denoised, their estimates, and the result."""
    seen: list[Prediction] = []
    result = sample(
        problem.denoise,
        problem.sde,
        space(SIZE),
        solver=solver,
        grid=grid,
        noise=noise(SIZE),
        on_step=lambda _, prediction: seen.append(prediction),
    )
    return [p.x for p in seen], [p.x0 for p in seen], result


def integral(nodes: list[float], values: list[Tensor], low: float, high: float, weight: object) -> Tensor:
    """``∫ w(u) p(u) du`` of the polynomial through the values, by Gauss–Legendre quadrature."""
    points, masses = np.polynomial.legendre.leggauss(40)
    total = torch.zeros_like(values[0])
    for point, mass in zip(points, masses, strict=True):
        u = low + (high - low) * (point + 1) / 2
        for j, value in enumerate(values):
            others = [n for k, n in enumerate(nodes) if k != j]
            basis = np.prod([(u - n) / (nodes[j] - n) for n in others])
            total = total + mass * (high - low) / 2 * weight(u) * basis * value
    return total


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


def test_kutta_is_simpson_with_numbers() -> None:
    """Kutta's rule for ``dx/dt = (x − D)/t`` of EDM."""
    problem = example("edm")
    x, grid = noise(SIZE).normal(space(SIZE), 0), Grid(EDM(), torch.tensor([3.0, 2.0]))

    def slope(x: Tensor, t: float) -> Tensor:
        return (x - problem.denoise(x, torch.tensor(t, dtype=torch.float64)).x0) / t

    k1 = slope(x, 3.0)
    k2 = slope(x - k1 / 2, 2.5)
    k3 = slope(x + k1 - 2 * k2, 2.0)
    first = (x, problem.denoise(x, grid.times[0]).x0)
    result = runge_kutta(KUTTA, first, 0, grid, problem.denoise)
    torch.testing.assert_close(result, x - (k1 + 4 * k2 + k3) / 6)


def test_dpmpp_two_s_follows_algorithm_one() -> None:
    """Lu et al. 2022, algorithm 1, with r = ½."""
    problem, x = example("vp"), noise(SIZE).normal(space(SIZE), 0)
    grid = ratio_grid(problem.sde, 1, high=2.0, low=0.5)
    lam, a, s = grid.half_log_snr, grid.alpha, grid.sigma
    h = lam[1] - lam[0]
    middle = problem.sde.time(2 * (lam[0] + h / 2))
    a_u, s_u = problem.sde.marginal(middle)
    d = problem.denoise(x, grid.times[0]).x0
    u = s_u / s[0] * x - a_u * torch.expm1(-h / 2) * d
    mean = 0 * d + problem.denoise(u, middle).x0  # (1 − 1/2r) d + 1/2r d_u
    expected = s[1] / s[0] * x - a[1] * torch.expm1(-h) * mean
    torch.testing.assert_close(DPMpp2S().step(DPMpp2S().init(x), 0, grid, problem.denoise, None).x, expected)


def test_dpmpp_two_m_follows_algorithm_two() -> None:
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


def test_dpmpp_three_m_follows_the_update_of_the_paper_with_the_whole_second_derivative() -> None:
    """Lu et al. 2022: divided differences and φ-functions, ``D_2`` being the second derivative times h²."""
    problem, grid = example("vp"), ratio_grid(example("vp").sde, 3, high=2.0, low=0.5, power=KARRAS)
    states, d, result = recorded(problem, DPMpp3M(), grid)
    lam, a, s = grid.half_log_snr, grid.alpha, grid.sigma
    h = lam[3] - lam[2]
    r0, r1 = (lam[2] - lam[1]) / h, (lam[1] - lam[0]) / h
    d10, d11 = (d[2] - d[1]) / r0, (d[1] - d[0]) / r1
    first = d10 + r0 / (r0 + r1) * (d10 - d11)
    second = 2 * (d10 - d11) / (r0 + r1)
    phi1 = torch.expm1(-h)
    phi2 = phi1 / h + 1
    phi3 = phi2 / h - 0.5
    expected = s[3] / s[2] * states[2] - a[3] * phi1 * d[2] + a[3] * phi2 * first - a[3] * phi3 * second
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-12)


def test_dpmpp_three_m_integrates_its_parabola() -> None:
    """``x_s = (σ_s/σ_t) x + σ_s ∫ e^λ D(λ) dλ``, by quadrature."""
    problem, grid = example("vp"), ratio_grid(example("vp").sde, 3, high=2.0, low=0.5, power=KARRAS)
    states, d, result = recorded(problem, DPMpp3M(), grid)
    lam, s = grid.half_log_snr.tolist(), grid.sigma.tolist()
    parabola = integral(lam[:3], d, lam[2], lam[3], np.exp)
    torch.testing.assert_close(result, s[3] / s[2] * states[2] + s[3] * parabola, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_deis_integrates_its_polynomial_in_rho(order: int) -> None:
    """Zhang & Chen 2023: ``x_s/α_s = x/α + ∫ ε̂(ρ) dρ``, ρ = σ/α."""
    problem, grid = example("vp"), ratio_grid(example("vp").sde, order, high=2.0, low=0.5, power=KARRAS)
    states, d, result = recorded(problem, DEIS(order), grid)
    a, s = grid.alpha.tolist(), grid.sigma.tolist()
    rho = [y / x for x, y in zip(a, s, strict=True)]
    eps = [(x - a[i] * x0) / s[i] for i, (x, x0) in enumerate(zip(states, d, strict=True))]
    area = integral(rho[:order], eps, rho[order - 1], rho[order], lambda _: 1.0)
    torch.testing.assert_close(result, a[order] * (states[-1] / a[order - 1] + area))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_exponential_rules_integrate_their_polynomials_in_lambda(order: int) -> None:
    """``x_s/α_s = x/α − ∫ e^{−λ} ε̂ dλ`` and ``x_s/σ_s = x/σ + ∫ e^λ x̂_0 dλ``, by quadrature."""
    problem, grid = example("vp"), ratio_grid(example("vp").sde, order, high=2.0, low=0.5, power=KARRAS)
    lam, a, s = grid.half_log_snr.tolist(), grid.alpha.tolist(), grid.sigma.tolist()
    here, there = lam[order - 1], lam[order]
    states, d, result = recorded(problem, EAB(order), grid)
    eps = [(x - a[i] * x0) / s[i] for i, (x, x0) in enumerate(zip(states, d, strict=True))]
    area = integral(lam[:order], eps, here, there, lambda value: np.exp(-value))
    torch.testing.assert_close(result, a[order] * (states[-1] / a[order - 1] - area), rtol=1e-10, atol=1e-12)
    states, d, result = recorded(problem, EAB(order, on="x0"), grid)
    area = integral(lam[:order], d, here, there, np.exp)
    torch.testing.assert_close(result, s[order] * (states[-1] / s[order - 1] + area), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_velocity_rule_integrates_the_velocity_of_rectified_flow(order: int) -> None:
    """On a rectified flow u = t, and the rule is Adams–Bashforth for ``dx/dt = ε̂ − x̂_0``."""
    problem = example("rectified_flow")
    t = torch.linspace(1.0, 0.2, order + 1, dtype=torch.float64) ** 1.5
    states, d, result = recorded(problem, VAB(order), Grid(problem.sde, t))
    v = [(x - x0) / t[i] for i, (x, x0) in enumerate(zip(states, d, strict=True))]
    area = integral(t[:order].tolist(), v, float(t[order - 1]), float(t[order]), lambda _: 1.0)
    torch.testing.assert_close(result, states[-1] + area)


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_velocity_rule_sees_one_straight_path_behind_every_process(scale: float) -> None:
    """EDM is the rectified flow of x_0/c with state ``x/(c + σ)``: the same samples, to rounding."""
    edm = example("edm")
    flow = Gaussian(RectifiedFlow(), edm.mean / scale, edm.std / scale)
    sigma = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.2, 0.0], dtype=torch.float64)
    first = noise(SIZE).normal(space(SIZE), 0)
    solver, plain = VAB(3, sigma_data=scale), VAB(3)
    one, two = solver.init(first), plain.init(first / (scale + sigma[0]))
    one_grid, two_grid = Grid(edm.sde, sigma), Grid(flow.sde, sigma / (scale + sigma))
    for i in range(5):
        one = solver.step(one, i, one_grid, edm.denoise, None)
        two = plain.step(two, i, two_grid, flow.denoise, None)
    torch.testing.assert_close(one.x, scale * two.x, rtol=1e-11, atol=1e-12)


def unipc(problem: Gaussian, x: Tensor, grid: Grid, p: int, variant: str) -> list[Tensor]:
    """UniPC-p of Zhao et al. 2023 (their order) in their notation: the matrix R_p, φ_p(h) and B(h).

    Returns the states handed to the network and, last, the result.
    """
    lam, a, s = grid.half_log_snr.tolist(), grid.alpha.tolist(), grid.sigma.tolist()
    models = [problem.denoise(x, grid.times[0]).x0]
    predicted = [x]
    for i in range(1, grid.steps + 1):
        order = min(p, i)
        h = lam[i] - lam[i - 1]
        hh = -h
        b_h = hh if variant == "bh1" else np.expm1(hh)
        r = [(lam[i - 1 - m] - lam[i - 1]) / h for m in range(1, order)] + [1.0]
        differences = [(models[i - 1 - m] - models[i - 1]) / r[m - 1] for m in range(1, order)]
        phi, factorial, b = np.expm1(hh) / hh - 1, 1, []
        for k in range(1, order + 1):
            b.append(phi * factorial / b_h)
            factorial *= k + 1
            phi = phi / hh - 1 / factorial
        rows = np.array([[node**k for node in r] for k in range(order)])
        base = s[i] / s[i - 1] * x - a[i] * np.expm1(hh) * models[i - 1]
        rho_p = [0.5] if order == 2 else np.linalg.solve(rows[:-1, :-1], b[:-1]).tolist()
        guess = base
        for rho, difference in zip(rho_p, differences, strict=True):
            guess = guess - a[i] * b_h * rho * difference
        predicted.append(guess)
        if i == grid.steps:
            break
        models.append(problem.denoise(guess, grid.times[i]).x0)
        rho_c = [0.5] if order == 1 else np.linalg.solve(rows, b).tolist()
        x = base
        for rho, difference in zip(rho_c, [*differences, models[i] - models[i - 1]], strict=True):
            x = x - a[i] * b_h * rho * difference
    return predicted


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("name", ["vp", "edm"])
def test_unipc_follows_its_paper(name: str, order: int, variant: str) -> None:
    problem = example(name)
    grid = ratio_grid(problem.sde, 7, power=KARRAS)
    states, _, result = recorded(problem, UniPC(order, variant=variant), grid)
    expected = unipc(problem, states[0], grid, order - 1, variant)
    for mine, theirs in zip([*states, result], expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


def test_rules_that_are_one_another() -> None:
    problem = example("vp")
    equal, other = ratio_grid(problem.sde, 9, high=3.0, low=1.0), ratio_grid(problem.sde, 9, power=0.5)

    def same(one: Solver, two: Solver, grid: Grid, atol: float = 1e-12) -> None:
        results = (recorded(problem, solver, grid)[2] for solver in (one, two))
        torch.testing.assert_close(*results, rtol=0, atol=atol)

    same(DEIS(1), DDIM(), other)
    same(VAB(1), DDIM(), other)
    same(IPNDM(1), DDIM(), other)
    for start in ("euler", "rk"):
        same(EAB(3, start, on="x0"), DPMpp3M(start), other)
    for order in (2, 3, 4):
        same(IPNDM(order), DEIS(order), equal)
        same(VAB(order, sigma_data=1e9), DEIS(order), other, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_adams_weights_integrate_polynomials(count: int) -> None:
    nodes, end = [0.7, 1.1, 1.9, 2.0][:count], 0.2
    weights = adams_weights(nodes, end)
    for degree in range(count):
        area = (end ** (degree + 1) - nodes[0] ** (degree + 1)) / (degree + 1)
        assert sum(w * n**degree for w, n in zip(weights, nodes, strict=True)) == pytest.approx(
            area, rel=1e-12
        )


@pytest.mark.parametrize("h", [1e-6, 1e-3, 0.1, 0.999, 1.0, 3.0, 30.0])
def test_exponential_moments_are_integrals(h: float) -> None:
    points, masses = np.polynomial.legendre.leggauss(60)
    s = (points + 1) / 2
    for k, moment in enumerate(exponential_moments(h, 4)):
        assert moment == pytest.approx(float((masses / 2 * h * np.exp(-h * (1 - s)) * s**k).sum()), rel=1e-12)


def test_quadrature_of_one_node_is_the_first_moment() -> None:
    assert quadrature([0.3], [2.0]) == [2.0]


@pytest.mark.parametrize("h", [1e-3, 0.4, 0.999, 1.0, 3.0, 12.0])
def test_moments_of_a_falling_weight(h: float) -> None:
    points, masses = np.polynomial.legendre.leggauss(60)
    s = (points + 1) / 2
    exact = [float((masses / 2 * h * np.exp(-h * s) * s**k).sum()) for k in range(4)]
    np.testing.assert_allclose(decaying_moments(h, 4), exact, rtol=1e-10)
