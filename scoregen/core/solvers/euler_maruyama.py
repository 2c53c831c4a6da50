"""Euler–Maruyama for the reverse-time SDE."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..grid import Levels
from .linear import NOISE, Form, LinearMultistep, epsilon, estimate, state


@dataclass(frozen=True)
class EulerMaruyama(LinearMultistep):
    r"""``x_s = x − [f x − g² s](t − s) + g √(t − s) n`` (Song et al. 2021, eq. 6; Anderson 1982).

    Strong order ½, weak order 1. The last step adds no noise and, on a grid that ends at σ = 0, lands on
    the denoised estimate. The rule is explicit: where a grid makes ``g²Δt`` large against σ² (an EDM grid
    with few steps) it is unstable, as for any implementation of it.

    Raises:
        ValueError: the grid starts where α = 0, where the coefficients are infinite.
    """

    def form(self, at: Levels, i: int, past: int) -> Form:
        if at.sigma[i + 1] == 0:
            return at.alpha[i + 1] * estimate()
        if at.alpha[i] == 0:
            raise ValueError(
                "Euler–Maruyama cannot start where the signal is zero; start the grid below t_max"
            )
        drift = at.alpha_rate[i] / at.alpha[i]
        diffusion = 2 * at.sigma[i] * (at.sigma_rate[i] - drift * at.sigma[i])
        dt = at.t[i] - at.t[i + 1]
        score = -1 / at.sigma[i] * epsilon(at, i)
        mean = state() - dt * (drift * state() - diffusion * score)
        return mean if i + 1 == at.steps else mean + math.sqrt(diffusion * dt) * NOISE
