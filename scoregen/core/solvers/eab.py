"""Exponential Adams–Bashforth: the linear part exactly, the network's part as a polynomial in λ."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..grid import Levels
from .ddim import euler
from .dpmpp import exponential_multistep
from .form import Form, epsilon, state, weighted
from .linear import OrderedMultistep, steady, with_signal
from .polynomial import decaying_moments, quadrature

QUANTITIES = ("eps", "x0")


@dataclass(frozen=True)
class EAB(OrderedMultistep):
    r"""``x_s/α_s = x/α − ∫ e^{−λ} ε̂ dλ``, or ``x_s/σ_s = x/σ + ∫ e^λ x̂_0 dλ``, with a polynomial in ``λ``.

    Both are exact forms of the probability-flow ODE (Lu et al., *DPM-Solver*, 2022, eq. 3.4; *DPM-Solver++*,
    2022, eq. 8). The estimates are replaced by the polynomial through the last ``order`` of them and the
    integral is exact: the exponential multistep rules of Hochbruck & Ostermann (*Exponential integrators*,
    2010, sec. 2.5). Order 1 is DDIM for either. On ``x0`` order 3 is :class:`.dpmpp.DPMpp3M`,
    the same rule; order 2 differs from :class:`.dpmpp.DPMpp2M`, which integrates its line by the midpoint.

    Order ``order`` on any smooth grid with ``start="rk"``, 2 at most with ``start="euler"``. One network
    call a step. The last step is of a lower order where it is long against those before it
    (:func:`.linear.steady`). Where λ is infinite (σ = 0 at the end, α = 0 at the start) the step is Euler's.

    Args:
        order: 1 to 4; the first steps use the orders below.
        start: ``"euler"`` or ``"rk"``; see :class:`.linear.LinearMultistep`.
        on: ``"eps"`` or ``"x0"``, what the polynomial stands for.

    Raises:
        ValueError: ``order`` outside 1..4, an unknown start, or an unknown quantity.
    """

    order: int = 3
    on: str = "eps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on not in QUANTITIES:
            raise ValueError(f"on must be one of {', '.join(QUANTITIES)}, got '{self.on}'")

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        return steady(exponential_multistep if self.on == "x0" else _on_eps, at, i, past)


def _on_eps(at: Levels, i: int, past: int) -> Form:
    h = at.lam[i + 1] - at.lam[i]
    if not math.isfinite(h):
        return euler(at, i)
    slots = with_signal(at, i, past)
    weights = quadrature([(at.lam[i - j] - at.lam[i]) / h for j in slots], decaying_moments(h, len(slots)))
    integral = weighted(weights, [epsilon(at, i - j, j) for j in slots])
    return at.alpha[i + 1] * (state() / at.alpha[i] - at.ratio[i] * integral)
