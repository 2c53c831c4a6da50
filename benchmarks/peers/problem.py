"""The problem every sampler solves: the exact score of a Gaussian mixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

SIGMA_MAX, SIGMA_MIN, RHO = 80.0, 0.002, 7.0

# Denoised estimate E[x_0 | x_0 + σ n = x] of a state (N, d) at one noise level.
Estimate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians: ``weights (C,)``, ``means (C, d)``, ``stds (C,)``, float64."""

    weights: Tensor
    means: Tensor
    stds: Tensor

    @classmethod
    def draw(cls, seed: int, components: int = 5, width: int = 8, scale: float = 4.0, std: float = 0.5):
        """Equal weights, means ``∼ N(0, scale²)``, one standard deviation."""
        means = np.random.default_rng(seed).standard_normal((components, width)) * scale
        equal = torch.full((components,), 1.0, dtype=torch.float64)
        return cls(equal / components, torch.from_numpy(means), equal * std)

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data, root mean square over the coordinates."""
        center = self.weights @ self.means
        apart = self.weights @ (self.means - center) ** 2
        return float((apart.mean() + self.weights @ self.stds**2).sqrt())

    def estimate(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``E[x_0 | x]``, ``(N, d)``: the posterior mean of each component, weighted by its share."""
        variance = self.stds**2 + sigma**2
        apart = (x * x).sum(1, keepdim=True) - 2 * x @ self.means.T + (self.means**2).sum(1)
        log = self.weights.log() - 0.5 * apart / variance - 0.5 * x.shape[1] * variance.log()
        share, gain = torch.softmax(log, dim=1), self.stds**2 / variance
        return (share @ gain)[:, None] * x + (share * (1 - gain)) @ self.means

    def nearest(self, x: Tensor) -> Tensor:
        """Index of the mean nearest to each state, ``(N,)``."""
        return torch.cdist(x, self.means).argmin(1)

    def flow(self, start: Tensor, sigma: float = SIGMA_MIN) -> Tensor:
        """The probability-flow end point at ``sigma`` from ``SIGMA_MAX``: DOP853, tolerance 1e-10.

        Integrated against ``log σ``, where ``dx/d log σ = x − E[x_0|x]``.
        """

        def slope(log_sigma: float, flat: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(flat).reshape(start.shape)
            level = torch.tensor(log_sigma, dtype=torch.float64).exp()
            return (x - self.estimate(x, level)).reshape(-1).numpy()

        ends = (np.log(SIGMA_MAX), np.log(sigma))
        solution = solve_ivp(slope, ends, start.reshape(-1).numpy(), "DOP853", rtol=1e-10, atol=1e-12)
        if not solution.success:
            raise RuntimeError(f"the reference solution failed: {solution.message}")
        return torch.from_numpy(solution.y[:, -1].copy()).reshape(start.shape)


class Counted:
    """An estimate that counts its calls."""

    def __init__(self, estimate: Estimate):
        self.estimate, self.calls = estimate, 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return self.estimate(x, sigma)


def rmse(x: Tensor, reference: Tensor) -> float:
    """Root mean squared difference over all elements."""
    return float((x - reference).square().mean().sqrt())


def karras(steps: int, *, to_zero: bool = False) -> Tensor:
    """``steps + 1`` decreasing noise levels, float64; ``to_zero``: the last is 0, the one before 0.002."""
    ramp = torch.linspace(0, 1, steps if to_zero else steps + 1, dtype=torch.float64)
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    sigmas = (high + ramp * (low - high)) ** RHO
    sigmas[0] = SIGMA_MAX
    if not to_zero:
        sigmas[-1] = SIGMA_MIN
        return sigmas
    return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])
