"""ER-SDE: multistep solvers for the reverse SDE with a chosen amount of noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..grid import Levels
from .analytic import OneStep
from .form import NOISE, Form, estimate, state
from .linear import outpaced

Array = NDArray[np.float64]

# Gauss–Legendre in log r: exact to rounding for the noise scales below over any step of a sampler.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(48)


def ode_scale(log_r: Array) -> Array:
    """``log φ`` of ``φ(r) = r``: no noise, the probability-flow ODE."""
    return log_r


def sde_scale(log_r: Array) -> Array:
    """``log φ`` of ``φ(r) = r²``: the reverse-time SDE of Anderson (1982)."""
    return 2 * log_r


def heavy_scale(log_r: Array) -> Array:
    """``log φ`` of ``φ(r) = r³``: more noise than the reverse SDE, so that errors are forgotten sooner."""
    return 3 * log_r


def er_scale(log_r: Array) -> Array:
    """``log φ`` of ``φ(r) = r (e^{r^0.3} + 10)``, recommended by Cui et al. 2023 (table 2, "ER SDE 5").

    Little noise near the data, much far away.
    """
    return log_r + np.logaddexp(np.exp(0.3 * log_r), math.log(10.0))


@dataclass(frozen=True)
class ERSDE(OneStep):
    r"""Extended reverse-time SDE solvers (Cui et al., *Elucidating the solution space of extended
    reverse-time SDE*, 2023, prop. 3–5 and algorithms 1–3).

    In ``y = x/α`` against ``r = σ/α`` the extended reverse SDE is ``dy = (φ'/φ)(y − x̂_0) dr + noise`` for any
    noise scale φ; VE and VP are one case here. With ``ρ = φ(r_s)/φ(r_t)``,

    ``y_s = ρ y + (1 − ρ) x̂_0 + A_1 x̂_0' + A_2 x̂_0''/2 + √(r_s² − ρ² r_t²) n``,

    ``A_k = (r_s − r_t)^k + k φ(r_s) ∫_{r_s}^{r_t} (r − r_t)^{k−1}/φ(r) dr``.

    The derivatives of x̂_0 against r come from the last points; order k uses k of them. As published the
    first derivative of order 3 stays the backward difference through two points, and with it the rule is of
    order 2; the default takes the slope of the parabola through all three, which makes the rule itself of
    order 3. From its own lower-order start a run has order 2, in the variance too. 64 steps keep a Gaussian's
    variance to 2 % on the usual grids; order 3 widens it by 4 % on EDM's times even in their square root.

    One network call a step. Order 2 is of first order in a step more than twice as long in λ as the one
    before (:func:`.linear.outpaced`). Order 1 with the published φ and noise loses a tenth of a Gaussian's
    variance in 64 steps from σ = 80 to 0.002, as does DDIM. Its default noise is the analytic one (see
    :mod:`~scoregen.core.solvers.analytic`), and its default φ is r³: what that noise spreads wrongly between
    directions is forgotten under much noise, and stays under little. A step to σ = 0 is of first order; a
    start at α = 0 is finite.

    Args:
        order: 1, 2 or 3; the first steps use the orders below.
        scale: ``log φ`` as a function of ``log r``, arrays of float64; φ must not grow slower than r, else a
            variance is negative (their eq. 10). When omitted :func:`er_scale`, and :func:`heavy_scale` for
            order 1.
        parabola: False for the published derivative of order 3.
        variance: noise of order 1, ``"analytic"`` or ``"published"``; orders 2 and 3 use the published.
        sigma_data: for the analytic variance, the width of Gaussian data; estimated from each sample when
            omitted.

    Raises:
        ValueError: an order outside 1..3, an unknown variance, or a scale that asks for a negative variance.
    """

    order: int = 3
    scale: Callable[[Array], Array] | None = None
    parabola: bool = True
    variance: str = "analytic"
    sigma_data: float | None = None

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"ER-SDE has orders 1 to 3, got {self.order}")
        if self.variance not in ("analytic", "published"):
            raise ValueError(f"variance must be 'analytic' or 'published', got '{self.variance}'")

    @property
    def memory(self) -> int:
        """How many points, the present one included, a step uses."""
        return self.order

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1`` with its published noise; ``past`` points are known.

        Raises:
            ValueError: the noise scale asks for a negative variance.
        """
        alpha, sigma, r, end = at.alpha[i + 1], at.sigma[i + 1], at.ratio[i], at.ratio[i + 1]
        if sigma == 0:
            return alpha * estimate()
        # φ and r may both be infinite; only φ(r_s) r_t/φ(r_t), what is left of the noise, is asked for.
        log_r = math.log(r) if math.isfinite(r) else 600.0
        left = math.exp(self._log_phi(math.log(end)) + log_r - self._log_phi(log_r))
        if left > end * (1 + 1e-9):
            raise ValueError(
                "this noise scale asks for a negative variance: φ(r)/r must not shrink as r grows"
            )
        noise = alpha * math.sqrt(max(end**2 - left**2, 0.0)) * NOISE
        kept = alpha * left / at.sigma[i] * state()
        if math.isinf(r):
            return kept + alpha * estimate() + noise
        if self.order == 2 and past and at.alpha[i - 1] > 0 and outpaced(at, i):
            past = 0
        first, second = self._derivatives([at.ratio[i - j] for j in range(past + 1)])
        target = (1 - left / r) * estimate() + self._moment(r, end, 1) * first
        return kept + alpha * (target + self._moment(r, end, 2) / 2 * second) + noise

    def _derivatives(self, r: list[float]) -> tuple[Form, Form]:
        """First and second derivative of x̂_0 against r at the newest point, from points newest first."""
        known = sum(math.isfinite(value) for value in r)  # the estimate at α = 0 lies infinitely far
        if known < 2:
            return Form(), Form()
        first = (estimate(0) - estimate(1)) / (r[0] - r[1])
        if known < 3:
            return first, Form()
        before = (estimate(1) - estimate(2)) / (r[1] - r[2])
        second = 2 * (first - before) / (r[0] - r[2])
        return (first + (r[0] - r[1]) / 2 * second if self.parabola else first), second

    def _log_phi(self, log_r: float) -> float:
        return float(self._scale(np.array([log_r]))[0])

    def _scale(self, log_r: Array) -> Array:
        chosen = self.scale or (heavy_scale if self.order == 1 else er_scale)
        return chosen(log_r)

    def _moment(self, r: float, end: float, k: int) -> float:
        """``A_k``: what a derivative that grows like ``(r' − r)^k`` adds over the step."""
        middle, half = math.log(r * end) / 2, math.log(r / end) / 2
        log_r = middle + half * NODES
        points = np.exp(log_r)
        integrand = (
            points * (points - r) ** (k - 1) * np.exp(self._log_phi(math.log(end)) - self._scale(log_r))
        )
        return float((end - r) ** k + k * half * (WEIGHTS @ integrand))
