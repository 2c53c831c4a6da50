"""Ancestral sampling: the DDPM chain for any schedule, with its choices of variance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..grid import Levels
from .analytic import OneStep
from .ddim import ancestral_noise
from .form import NOISE, Form, epsilon, estimate

VARIANCES = ("small", "large", "analytic")


@dataclass(frozen=True)
class Ancestral(OneStep):
    r"""``x_s = α_s x̂_0 + √(σ_s² − β̃) ε̂ + c n`` (Ho, Jain & Abbeel 2020, eq. 7 and algorithm 2).

    The mean is that of ``p(x_s | x_t, x_0 = x̂_0)``, and it is right for any data: along the reverse SDE x̂_0
    is a martingale. What is left to choose is the variance c² of the step, with
    ``β = σ_t² − (α_t/α_s)² σ_s²``:

    ``small``
        ``β̃ = β σ_s²/σ_t²``, right when x̂_0 is x_0, that is for data at one point, and narrower than the data
        otherwise. It is DDIM with η = 1.
    ``large``
        ``β``: right for VP and Gaussian data of unit variance.
    ``analytic`` (default)
        right for the total variance of any data; see :mod:`~scoregen.core.solvers.analytic`.

    One network call a step. The published variances have weak order 1. As published, a last step to σ = 0
    adds no noise. A start at α = 0 is finite: the first step is then ``α_s x̂_0 + σ_s n``.

    Args:
        variance: ``"small"``, ``"large"`` or ``"analytic"``.
        sigma_data: for ``analytic``, the width of Gaussian data in units of the shaped noise; estimated from
            each sample when omitted.

    Raises:
        ValueError: an unknown variance.
    """

    variance: str = "analytic"
    sigma_data: float | None = None

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise ValueError(f"variance must be one of {', '.join(VARIANCES)}, got '{self.variance}'")

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step with the published variance (``small`` where it is to be replaced)."""
        small = ancestral_noise(at, i)
        kept = math.sqrt(max(at.sigma[i + 1] ** 2 - small**2, 0.0))
        mean = at.alpha[i + 1] * estimate() + kept * epsilon(at, i)
        if at.sigma[i + 1] == 0:
            return mean
        if self.variance == "large":
            small = math.sqrt(at.sigma[i] ** 2 - (at.alpha[i] / at.alpha[i + 1] * at.sigma[i + 1]) ** 2)
        return mean + small * NOISE
