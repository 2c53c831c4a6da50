"""DPM-Solver++ (2M)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..denoiser import Denoise
from ..sde import Grid
from .base import Draw, State


@dataclass(frozen=True)
class History(State):
    """The state and the denoised estimate of the step before."""

    previous: Tensor | None = None


@dataclass(frozen=True)
class DPMpp2M:
    r"""Second-order multistep exponential integrator on x_0 (Lu et al., *DPM-Solver++*, 2022, algorithm 2).

    With ``λ = log(α/σ)``, ``h = λ_s − λ_t`` and ``r = h_{prev}/h``:

    ``D̄ = (1 + 1/2r) D_t − (1/2r) D_{prev}``, ``x_s = (σ_s/σ_t) x − α_s (e^{−h} − 1) D̄``.

    One network call a step; order 2. The first step is of first order, and so is a last step to σ = 0,
    where h is infinite.
    """

    def init(self, x: Tensor) -> History:
        return History(x)

    def step(self, carry: History, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> History:
        x0 = denoise(carry.x, grid.times[i]).x0
        sigma, sigma_next, alpha_next = (
            float(grid.sigma[i]),
            float(grid.sigma[i + 1]),
            float(grid.alpha[i + 1]),
        )
        average = x0
        if carry.previous is not None and sigma_next > 0:
            half = grid.half_log_snr
            h, h_previous = float(half[i + 1] - half[i]), float(half[i] - half[i - 1])
            if math.isfinite(h_previous):
                average = x0 + h / (2 * h_previous) * (x0 - carry.previous)
        # α_s e^{−h} = α_t σ_s/σ_t, finite also where α_t = 0 or σ_s = 0.
        shrink = float(grid.alpha[i]) * sigma_next / sigma
        return History(sigma_next / sigma * carry.x + (alpha_next - shrink) * average, x0)
