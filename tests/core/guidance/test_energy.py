"""Energy guidance against tilted Gaussians."""

import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, VP, Noise, Prediction, RectifiedFlow, karras_grid, sample, uniform_grid
from scoregen.core.guidance import ClassifierFree, EnergyGuidance, covariance
from scoregen.core.guidance.local import Local
from scoregen.core.likelihood import gaussian_log_density, log_prob
from scoregen.core.solvers import DDIM, Heun
from scoregen.core.space import DenseSpace

from ..test_space import matrix, random_state
from .problems import ALL, F64, Correlated, correlated, time

SPACES = pytest.mark.parametrize("name", sorted(ALL))


def linear(space, slope: Tensor):
    return lambda x0: space.sum(slope * x0)


@SPACES
def test_noise_covariance_is_that_of_the_noise(name: str) -> None:
    _, space = ALL[name]
    color = matrix(space, space.color)
    torch.testing.assert_close(matrix(space, lambda v: covariance(space, v)), color @ color.T)


@SPACES
def test_tweedie_covariance_is_the_posterior_covariance(name: str) -> None:
    """``(σ²/α) Σ Jᵀ = Cov[x_0|x]`` for every layout, shaped noise, and one schedule a field."""
    sde, space = ALL[name]
    problem, t = correlated(sde, space), time(sde)
    local = Local.at(problem.denoise, random_state(space), t, space)
    torch.testing.assert_close(matrix(space, local.covariance), problem.posterior(t), atol=1e-9, rtol=1e-8)


@SPACES
@pytest.mark.parametrize("strength", [1.0, 0.5, "samples"])
def test_linear_energy_tilts_a_gaussian_exactly(name: str, strength) -> None:
    """The whole chain (Tweedie, metric, Jacobian): the guided estimate is the tilted Gaussian's own."""
    sde, space = ALL[name]
    problem, x, t = correlated(sde, space), space.project(random_state(space, 1)), time(sde)
    slope = random_state(space, 2)
    weight = torch.linspace(0.5, 2.0, space.size, dtype=F64) if strength == "samples" else strength
    wide = space.expand(weight, x) if isinstance(weight, Tensor) else weight
    expected = problem.tilted(wide * slope).denoise(x, t).x0
    guide = EnergyGuidance(linear(space, slope), space, weight)
    with torch.no_grad():
        got = guide(problem.denoise)(x, t)
    assert not got.x0.requires_grad
    torch.testing.assert_close(got.x0, expected, atol=1e-9, rtol=1e-8)


@SPACES
def test_energy_of_the_state(name: str) -> None:
    """``E_t = −log E[e^{−g·x_0}|x] = g·D(x) + const`` handed over as a function of the noisy state."""
    sde, space = ALL[name]
    problem, x, t = correlated(sde, space), space.project(random_state(space, 1)), time(sde)
    slope = random_state(space, 2)

    def noisy(x: Tensor, t: Tensor) -> Tensor:
        return space.sum(slope * problem.denoise(x, t).x0)

    got = EnergyGuidance(noisy, space, lambda t: 0.7, gradient="state")(problem.denoise)(x, t).x0
    torch.testing.assert_close(got, problem.tilted(0.7 * slope).denoise(x, t).x0, atol=1e-9, rtol=1e-8)


@SPACES
def test_stopped_gradient_is_exact_for_data_shaped_as_the_noise(name: str) -> None:
    sde, space = ALL[name]
    base, x, t = correlated(sde, space), space.project(random_state(space, 1)), time(sde)
    problem = Correlated(sde, space, base.mean, 0.49 * base.noise_cov, base.noise_cov)
    slope, calls = random_state(space, 2), []

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        calls.append(torch.is_grad_enabled())
        return problem.denoise(x, t)

    guide = EnergyGuidance(linear(space, slope), space, gradient="stopped", sigma_data=0.7)
    with torch.no_grad():
        got = guide(denoise)(x, t).x0
    torch.testing.assert_close(got, problem.tilted(slope).denoise(x, t).x0, atol=1e-9, rtol=1e-8)
    assert calls == [False]


def test_samples_follow_the_tilted_gaussian() -> None:
    """Shaped noise on purpose: a Euclidean gradient would move the mean elsewhere."""
    size, scale = 4000, torch.tensor([0.3, 1.0, 2.0], dtype=F64)
    space = DenseSpace((size, 3), scale=scale, dtype=F64)
    mean, std = torch.tensor([1.0, -1.0, 0.0], dtype=F64), torch.tensor([0.5, 1.0, 1.5], dtype=F64)
    sde = EDM()

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = sde.marginal(t)
        gain = std**2 / (std**2 + sigma**2 * scale**2)
        return Prediction(mean + gain * (x - mean), x, alpha, sigma)

    slope = torch.tensor([2.0, -1.0, 0.5], dtype=F64)
    result = sample(
        denoise,
        sde,
        space,
        solver=Heun(),
        grid=karras_grid(sde, 60),
        noise=Noise(0, torch.arange(size)),
        guides=[EnergyGuidance(linear(space, slope), space)],
    )
    expected = mean - std**2 * slope
    assert float(((result.mean(0) - expected) / std).abs().max()) < 0.07
    torch.testing.assert_close(result.std(0), std, rtol=0.06, atol=0)


def test_outer_guides_differentiate_through_inner_ones() -> None:
    """Energy around classifier-free guidance: the Jacobian is that of the mixed model."""
    sde, space = ALL["factor"]
    one, two = correlated(sde, space, 0), correlated(sde, space, 1)
    x, t, slope = space.project(random_state(space, 1)), time(sde), random_state(space, 2)
    free = ClassifierFree(two.denoise, space, 0.3)
    with torch.no_grad():
        got = EnergyGuidance(linear(space, slope), space)(free(one.denoise))(x, t).x0
    mixed = 0.3 * one.posterior(t) + 0.7 * two.posterior(t)
    plain = 0.3 * one.denoise(x, t).x0 + 0.7 * two.denoise(x, t).x0
    torch.testing.assert_close(got, plain - (mixed @ slope.flatten()).reshape(x.shape), atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize("inner", ["reconstruction", "stopped", "state"])
def test_linear_energies_add_up(inner: str) -> None:
    """The shift of a linear energy is the same everywhere: an outer energy sees the model's own Jacobian."""
    sde, space = ALL["ragged"]
    problem, x, t = correlated(sde, space), random_state(space, 1), time(sde)
    one, two = random_state(space, 2), random_state(space, 3)
    energy = (lambda x, t: space.sum(one * x)) if inner == "state" else linear(space, one)
    first = EnergyGuidance(energy, space, gradient=inner)
    with torch.no_grad():
        alone = first(problem.denoise)(x, t).x0
        both = EnergyGuidance(linear(space, two), space)(first(problem.denoise))(x, t).x0
    shift = (problem.posterior(t) @ two.flatten()).reshape(x.shape)
    torch.testing.assert_close(both, alone - shift, atol=1e-9, rtol=1e-8)


def test_an_outer_energy_sees_the_covariance_of_the_tilted_model() -> None:
    """Around a quadratic energy Tweedie's covariance is that of the tilted Gaussian, not of the model."""
    sde, space = ALL["dense"]
    base, x, t = correlated(sde, space), random_state(space, 1), time(sde)
    problem = Correlated(sde, space, base.mean, 0.49 * base.noise_cov, base.noise_cov)
    inner, _ = quadratic(sde, space, 0.7, "reconstruction")
    slope = random_state(space, 2)
    with torch.no_grad():
        alone = inner(problem.denoise)(x, t)
        both = EnergyGuidance(linear(space, slope), space)(inner(problem.denoise))(x, t).x0
    unit = torch.eye(len(problem.cov), dtype=F64)
    precision = torch.linalg.inv(problem.cov) + STIFF * unit
    tilted = Correlated(sde, space, base.mean, torch.linalg.inv(precision), base.noise_cov)
    shift = (tilted.posterior(t) @ slope.flatten()).reshape(x.shape)
    torch.testing.assert_close(both, alone.x0 - shift, atol=1e-9, rtol=1e-8)


STIFF = 1.7


def quadratic(sde, space, std: float, gradient: str) -> tuple[EnergyGuidance, float]:
    """``E = ½·1.7·|x_0|²`` on data ``N(·, std²)``, written so that each kind of gradient is exact.

    ``E_t(x) = ½·k·|D|²/(1 + kv) + const`` with the posterior variance v; second, the tilted variance.
    """

    def posterior(t: Tensor) -> Tensor:
        alpha, sigma = sde.marginal(t)
        return std**2 * sigma**2 / (alpha**2 * std**2 + sigma**2)

    def strength(t: Tensor) -> Tensor:
        return 1 / (1 + STIFF * posterior(t))

    def energy(x0: Tensor) -> Tensor:
        return STIFF * space.sum(x0**2) / 2

    def noisy(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (space.expand(v, x) for v in sde.marginal(t))
        estimate = alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x
        return STIFF * space.sum(estimate**2) / 2

    used = noisy if gradient == "state" else energy
    guide = EnergyGuidance(used, space, strength, gradient=gradient, sigma_data=std)
    return guide, 1 / (1 / std**2 + STIFF)


@pytest.mark.parametrize("gradient", ["reconstruction", "stopped", "state"])
@pytest.mark.parametrize("sde", [EDM(0.01, 80.0), VP()], ids=["edm", "vp"])
def test_the_likelihood_of_a_guided_gaussian_is_that_of_the_tilted_one(sde, gradient: str) -> None:
    """The divergence of the guide's own shift counts: without it the density is off by nats."""
    space = DenseSpace((4, 3), dtype=F64)
    guide, variance = quadratic(sde, space, 0.7, gradient)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (space.expand(v, x) for v in sde.marginal(t))
        return Prediction(alpha * 0.49 / (alpha**2 * 0.49 + sigma**2) * x, x, alpha, sigma)

    x = random_state(space, 3)
    alpha, sigma = sde.marginal(torch.tensor(sde.t_min, dtype=F64))
    exact = gaussian_log_density(space, x, (alpha**2 * variance + sigma**2).sqrt())
    options = {"sigma_data": variance**0.5, "rtol": 1e-6, "atol": 1e-6}
    found = log_prob(guide(denoise), sde, x, space, exact=True, **options)
    torch.testing.assert_close(found, exact, atol=1e-3, rtol=0)
    # Hutchinson's probes have the length of the exact trace, and every Jacobian here is isotropic.
    probed = log_prob(guide(denoise), sde, x, space, noise=Noise(0, torch.arange(4)), **options)
    torch.testing.assert_close(probed, exact, atol=1e-3, rtol=0)
    plain = log_prob(denoise, sde, x, space, exact=True, sigma_data=0.7)
    assert float((plain - exact).abs().max()) > 0.3


@pytest.mark.parametrize("gradient", ["reconstruction", "stopped", "state"])
def test_finite_from_no_signal_to_no_noise(gradient: str) -> None:
    sde, space = RectifiedFlow(), DenseSpace((4, 3), dtype=F64)
    problem = correlated(sde, space)
    energy = (lambda x, t: (x**2).sum(1)) if gradient == "state" else (lambda x0: (x0**2).sum(1))
    result = sample(
        problem.denoise,
        sde,
        space,
        solver=DDIM(),
        grid=uniform_grid(sde, 20),
        noise=Noise(0, torch.arange(4)),
        guides=[EnergyGuidance(energy, space, 0.1, gradient=gradient)],
    )
    assert bool(torch.isfinite(result).all())


def test_refusals() -> None:
    sde, space = ALL["dense"]
    problem, x, t = correlated(sde, space), random_state(space), time(sde)
    with pytest.raises(ValueError, match="gradient 'exact' is not one of reconstruction, stopped, state"):
        EnergyGuidance(linear(space, x), space, gradient="exact")
    with pytest.raises(ValueError, match="sigma_data must be positive, got 0"):
        EnergyGuidance(linear(space, x), space, sigma_data=0)
    with pytest.raises(ValueError, match="strength must be a number or one number for each of the 3"):
        EnergyGuidance(linear(space, x), space, torch.ones(2))
    with pytest.raises(ValueError, match=r"one value for each of the 3 samples, got shape \(\)"):
        EnergyGuidance(lambda x0: x0.sum(), space)(problem.denoise)(x, t)
    with pytest.raises(ValueError, match="the energy carries no gradient"):
        EnergyGuidance(lambda x0: torch.zeros(3), space)(problem.denoise)(x, t)
    with pytest.raises(ValueError, match="its estimate carries no gradient; remove no_grad"):
        EnergyGuidance(linear(space, x), space)(torch.no_grad()(problem.denoise))(x, t)
