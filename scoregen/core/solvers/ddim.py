"""DDIM, which is Euler in the variable σ/α."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..grid import Levels
from .form import NOISE, Form, epsilon, estimate
from .linear import LinearMultistep


@dataclass(frozen=True)
class DDIM(LinearMultistep):
    r"""``x_s = α_s x̂_0 + √(σ_s² − c²) ε̂ + c n`` (Song, Meng & Ermon 2021, eq. 12).

    ``c = η σ_s/σ_t √(σ_t² − σ_s² α_t²/α_s²)`` for any schedule (their eq. 16 for VP). With η = 0 it is
    Euler's rule for ``x/α`` against ``σ/α``, order 1; with η = 1 the ancestral sampler of DDPM.

    Args:
        eta: share of the ancestral noise, 0 ≤ η ≤ 1.

    Raises:
        ValueError: η outside [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        fresh = self.eta * ancestral_noise(at, i)
        kept = math.sqrt(max(at.sigma[i + 1] ** 2 - fresh**2, 0.0))
        return at.alpha[i + 1] * estimate() + kept * epsilon(at, i) + fresh * NOISE


def euler(at: Levels, i: int) -> Form:
    """``α_s x̂_0 + σ_s ε̂``, finite at α = 0 and σ_s = 0: what other rules do while they have no history."""
    return at.alpha[i + 1] * estimate() + at.sigma[i + 1] * epsilon(at, i)


def ancestral_noise(at: Levels, i: int) -> float:
    r"""Standard deviation of ``p(x_s | x_t, x_0)``, ``σ_s/σ_t √(σ_t² − σ_s² α_t²/α_s²)`` (Ho et al. 2020)."""
    alpha, sigma, alpha_next, sigma_next = at.alpha[i], at.sigma[i], at.alpha[i + 1], at.sigma[i + 1]
    return sigma_next / sigma * math.sqrt(max(sigma**2 - (sigma_next * alpha / alpha_next) ** 2, 0.0))
