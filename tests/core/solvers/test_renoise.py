"""Renoising: the rule itself, its kinship with ER-SDE, and what it keeps of categories."""

import pytest
import torch

from scoregen.core import EDM, VP, DenseSpace, Noise, Prediction, karras_grid, sample
from scoregen.core.solvers import ERSDE, Renoise


def two_points(x: torch.Tensor, t: torch.Tensor) -> Prediction:
    """Exact denoiser of ±1 with equal chances under EDM: tanh(x/σ²)."""
    sigma = t.to(x.dtype).reshape(-1, 1) if t.ndim else t.to(x.dtype)
    return Prediction(torch.tanh(x / sigma.clamp(min=1e-3) ** 2), x, torch.ones_like(sigma), sigma)


@pytest.mark.parametrize("sde", [EDM(0.1, 10.0), VP()])
def test_every_step_is_the_estimate_and_fresh_noise(sde) -> None:
    space, noise = DenseSpace((5, 3), dtype=torch.float64), Noise(0, torch.arange(5))
    grid = karras_grid(sde, 4)
    seen = []

    def denoise(x, t):
        alpha, sigma = (v.to(x.dtype) for v in sde.marginal(torch.as_tensor(t, dtype=torch.float64)))
        seen.append((x, 0.5 * x))
        return Prediction(0.5 * x, x, alpha, sigma)

    sample(denoise, sde, space, solver=Renoise(), grid=grid, noise=noise)
    for i in range(1, 4):
        n = (seen[i][0] - grid.alpha[i] * seen[i - 1][1]) / grid.sigma[i]
        torch.testing.assert_close(n, noise.normal(space, i - 1).double(), atol=1e-9, rtol=0)


def test_it_is_the_limit_of_forgetting_scales() -> None:
    sde = EDM(0.1, 10.0)
    space, noise = DenseSpace((200, 1), dtype=torch.float64), Noise(0, torch.arange(200))
    grid = karras_grid(sde, 12)

    def run(solver) -> torch.Tensor:
        return sample(two_points, sde, space, solver=solver, grid=grid, noise=noise)

    limit = ERSDE(1, scale=lambda log_r: 2000 * log_r, variance="published")
    torch.testing.assert_close(run(Renoise()), run(limit), atol=1e-9, rtol=0)


def test_two_categories_come_out_whole_and_evenly() -> None:
    sde = EDM(0.1, 10.0)
    space, noise = DenseSpace((4000, 1), dtype=torch.float64), Noise(0, torch.arange(4000))
    x = sample(two_points, sde, space, solver=Renoise(), grid=karras_grid(sde, 30), noise=noise)
    assert float((x.abs() > 0.999).double().mean()) > 0.999
    assert float((x > 0).double().mean()) == pytest.approx(0.5, abs=0.03)
