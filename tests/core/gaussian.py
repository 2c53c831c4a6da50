"""Gaussian data, for which everything is known in closed form.

With ``x_0 ∼ N(μ, s²)`` (element by element) and ``x = α x_0 + σ n`` the state has variance
``v = α²s² + σ²``, the posterior mean is ``μ + (αs²/v)(x − αμ)`` with variance ``s²σ²/v``, and the
probability-flow ODE carries ``x_t`` to ``x_s = α_s μ + (x_t − α_t μ) √(v_s/v_t)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scoregen.core import EDM, SDE, VE, VP, Cosine, DenseSpace, Grid, Noise, Prediction, RectifiedFlow, SubVP

PROCESSES: dict[str, SDE] = {
    "vp": VP(),
    "subvp": SubVP(),
    "cosine": Cosine(),
    "ve": VE(0.05, 20.0),
    "edm": EDM(),
    "rectified_flow": RectifiedFlow(),
}


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians and their exact denoiser for a process."""

    sde: SDE
    mean: Tensor
    std: Tensor

    def variance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha**2 * self.std**2 + sigma**2

    def denoise(self, x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (value.reshape(-1, 1) for value in self.sde.marginal(t))
        gain = alpha * self.std**2 / self.variance(alpha, sigma)
        return Prediction(self.mean + gain * (x - alpha * self.mean), x, alpha, sigma)

    def flow(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The exact probability-flow map from time ``t`` to time ``s``."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.sde.marginal(t), self.sde.marginal(s)
        ratio = self.variance(alpha_s, sigma_s) / self.variance(alpha_t, sigma_t)
        return alpha_s * self.mean + (x - alpha_t * self.mean) * ratio.sqrt()


def example(name: str) -> Gaussian:
    """Three dimensions of different means and widths."""
    return Gaussian(
        PROCESSES[name],
        torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64),
        torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64),
    )


def space(size: int, width: int = 3) -> DenseSpace:
    return DenseSpace((size, width), dtype=torch.float64)


def noise(size: int, seed: int = 0) -> Noise:
    return Noise(seed, torch.arange(size))


def ratio_grid(sde: SDE, steps: int, high: float = 4.0, low: float = 0.2, power: float = 1.0) -> Grid:
    """Equal steps in ``(σ/α)^power`` between two positive levels (``power`` 0: in its logarithm)."""
    ends = torch.tensor([high, low], dtype=torch.float64)
    if power == 0:
        ratio = torch.linspace(*ends.log().tolist(), steps + 1, dtype=torch.float64).exp()
    else:
        ratio = torch.linspace(*(ends**power).tolist(), steps + 1, dtype=torch.float64) ** (1 / power)
    return Grid(sde, sde.time(-2 * ratio.log()))


def slope(steps: list[int], errors: list[float]) -> float:
    """Order of convergence: minus the least-squares slope of log error against log steps."""
    x = torch.tensor(steps, dtype=torch.float64).log()
    y = torch.tensor(errors, dtype=torch.float64).log()
    x = x - x.mean()
    return -float((x * y).sum() / (x * x).sum())
