"""Euler–Maruyama for the reverse-time SDE."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..grid import Levels
from .analytic import OneStep
from .form import NOISE, Form, epsilon, estimate, state

VARIANCES = ("published", "analytic")


@dataclass(frozen=True)
class EulerMaruyama(OneStep):
    r"""``x_s = x − [f x − g² s](t − s) + g √(t − s) n`` (Song et al. 2021, eq. 6; Anderson 1982).

    Strong order ½, weak order 1. The last step adds no noise and, on a grid that ends at σ = 0, lands on
    the denoised estimate. The rule is explicit: where a grid makes ``g²Δt`` large against σ² (an EDM grid
    with few steps) it is unstable, as for any implementation of it.

    By itself (``published``) it misses a Gaussian's variance by 2 to 8 % in 64 steps from σ/α = 80 to 0.002,
    by its own noise and by what x̂_0 lacks. ``analytic`` (default) integrates the linear drift exactly and
    leaves Euler's rule for the score, ``x_s = α_s (x/α_t + 2 (σ_s/α_s − σ_t/α_t) ε̂) + c n``, with the noise
    that keeps the total variance; see :mod:`~scoregen.core.solvers.analytic`.

    Args:
        variance: ``"analytic"`` or ``"published"``.
        sigma_data: for ``analytic``, the width of Gaussian data in units of the shaped noise; estimated from
            each sample when omitted.

    Raises:
        ValueError: an unknown variance; or the grid starts where α = 0, where the coefficients are infinite.
    """

    variance: str = "analytic"
    sigma_data: float | None = None

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise ValueError(f"variance must be one of {', '.join(VARIANCES)}, got '{self.variance}'")

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step with its published noise, that of the SDE over the step.

        Raises:
            ValueError: the step starts where α = 0.
        """
        if at.sigma[i + 1] == 0:
            return at.alpha[i + 1] * estimate()
        if at.alpha[i] == 0:
            raise ValueError(
                "Euler–Maruyama cannot start where the signal is zero; start the grid below t_max"
            )
        if self.variance == "analytic":
            slope = 2 * (at.ratio[i + 1] - at.ratio[i]) * epsilon(at, i)
            return at.alpha[i + 1] * (state() / at.alpha[i] + slope)
        drift = at.alpha_rate[i] / at.alpha[i]
        diffusion = 2 * at.sigma[i] * (at.sigma_rate[i] - drift * at.sigma[i])
        dt = at.t[i] - at.t[i + 1]
        score = -1 / at.sigma[i] * epsilon(at, i)
        mean = state() - dt * (drift * state() - diffusion * score)
        return mean if i + 1 == at.steps else mean + math.sqrt(diffusion * dt) * NOISE
