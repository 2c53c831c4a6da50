"""DDPM chains as processes: their levels, their inverse, and samples both ways."""

import pytest
import torch
from torch import Tensor

from scoregen.core import (
    DDPM,
    EDM,
    SDE,
    VP,
    karras_grid,
    log_snr,
    sample,
    sde_from_config,
    sde_to_config,
)
from scoregen.core.ddpm import betas_of, from_ddpm, linear_betas, to_ddpm, zero_terminal_snr
from scoregen.core.solvers import DDIM, DPMpp2M, Heun, Solver, solver_by_name

from .gaussian import Gaussian, noise, space

CHAIN = DDPM(linear_betas(1000))


def data(sde: SDE) -> Gaussian:
    mean = torch.tensor([1.0, -0.5, 0.2], dtype=torch.float64)
    return Gaussian(sde, mean, torch.tensor([0.3, 1.0, 0.6], dtype=torch.float64))


def is_the_data(result: Tensor, problem: Gaussian) -> None:
    torch.testing.assert_close(result.mean(0), problem.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(result.std(0), problem.std, atol=0.02, rtol=0.05)


def test_whole_times_are_the_levels_of_the_chain() -> None:
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha, sigma = CHAIN.marginal(torch.arange(0, 1001))
    torch.testing.assert_close(alpha[1:] ** 2, torch.cumprod(1 - beta, 0), rtol=1e-10, atol=0)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(1001, dtype=torch.float64))
    assert (float(alpha[0]), float(sigma[0])) == (1.0, 0.0)


def test_time_inverts_and_rates_are_derivatives() -> None:
    t = torch.arange(0, 1000, dtype=torch.float64) + torch.linspace(0.1, 0.9, 1000, dtype=torch.float64)
    torch.testing.assert_close(CHAIN.time(log_snr(CHAIN, t)), t, rtol=1e-9, atol=1e-9)
    h = 1e-6
    for rate, late, early in zip(CHAIN.rates(t), CHAIN.marginal(t + h), CHAIN.marginal(t - h), strict=True):
        torch.testing.assert_close(rate, (late - early) / (2 * h), rtol=1e-4, atol=1e-8)


def test_a_vp_process_and_its_chain_agree() -> None:
    """β of Song's VP at N steps, and back: the chain has the process's own α at whole times."""
    vp = VP()
    chain = DDPM(betas_of(vp, 200))
    t = torch.arange(0, 201, dtype=torch.float64)
    torch.testing.assert_close(chain.marginal(t)[0], vp.marginal(t / 200)[0], rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="variance-preserving"):
        betas_of(EDM(), 10)


@pytest.mark.parametrize(
    ("solver", "steps"), [(DDIM(), 50), (Heun(), 50), (DPMpp2M(), 50), (DDIM(eta=1.0), 500)], ids=str
)
def test_any_solver_samples_a_network_of_the_chain(solver: Solver, steps: int) -> None:
    """The network knows only whole steps and ε, as DDPM code defines them."""
    problem, size = data(CHAIN), 4000
    seen = []

    def network(x: Tensor, k: Tensor) -> Tensor:
        seen.append(float(k[0]))
        return problem.denoise(x, k.double() + 1).eps

    denoise = from_ddpm(network, CHAIN, space(size))
    result = sample(denoise, CHAIN, space(size), solver=solver, grid=CHAIN.grid(steps), noise=noise(size))
    assert seen[0] == 999.0
    assert all(value == round(value) for value in seen)
    is_the_data(result, problem)


def test_ddpm_code_samples_a_denoiser_of_ours() -> None:
    """Ancestral sampling as Ho et al. (2020) write it, algorithm 2, on the chain of a continuous process."""
    vp, steps, size = VP(), 400, 4000
    problem = data(vp)
    network = to_ddpm(problem.denoise, vp, steps)
    beta = torch.tensor(betas_of(vp, steps), dtype=torch.float64)
    kept = torch.cumprod(1 - beta, 0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 3, dtype=torch.float64, generator=generator)
    for k in reversed(range(steps)):
        mean = (x - beta[k] / (1 - kept[k]).sqrt() * network(x, k)) / (1 - beta[k]).sqrt()
        fresh = torch.randn(size, 3, dtype=torch.float64, generator=generator) if k else 0.0
        x = mean + beta[k].sqrt() * fresh
    is_the_data(x, problem)


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m", "ipndm-4", "heun"])
def test_a_chain_that_ends_in_noise_is_sampled(name: str) -> None:
    """Zero terminal SNR: β_N = 1; v still says where the data is, ε does not and is refused."""
    chain = DDPM(zero_terminal_snr(linear_betas(1000)))
    alpha, _ = chain.marginal(torch.tensor([1.0, 1000.0]))
    assert float(alpha[1]) == 0.0
    assert float(alpha[0]) == pytest.approx(float(CHAIN.marginal(torch.tensor(1.0))[0]))
    problem, size = data(chain), 3000

    def network(x: Tensor, k: Tensor) -> Tensor:
        return problem.denoise(x, k.double() + 1).v

    denoise = from_ddpm(network, chain, space(size), predicts="v")
    grid = chain.grid(100)
    result = sample(denoise, chain, space(size), solver=solver_by_name(name), grid=grid, noise=noise(size))
    is_the_data(result, problem)
    with pytest.raises(ValueError, match="says nothing about the data"):
        from_ddpm(network, chain, space(size))


def test_grids_of_the_chain() -> None:
    assert DDPM(linear_betas(4)).grid().times.tolist() == [4, 3, 2, 1, 0]
    assert CHAIN.grid(4).times.tolist() == [1000, 750, 500, 250, 0]
    assert float(karras_grid(CHAIN, 10).times[0]) == pytest.approx(1000.0)
    for steps in (0, 1001):
        with pytest.raises(ValueError, match="this chain has 1000 steps"):
            CHAIN.grid(steps)


@pytest.mark.parametrize("betas", [(), (0.1, 0.0), (1.0, 0.1), (0.1, 1.2), (0.1, -0.1)])
def test_impossible_chains_are_refused(betas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="beta"):
        DDPM(betas)


def test_a_chain_survives_a_round_trip_through_configuration() -> None:
    chain = DDPM(linear_betas(5))
    assert sde_from_config(sde_to_config(chain)) == chain
    assert sde_from_config({"name": "ddpm", "betas": list(chain.betas)}) == chain
