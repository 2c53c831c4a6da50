"""SDE-DPM-Solver++: the exponential integrator on x_0 for the reverse-time SDE."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..grid import Levels
from .form import NOISE, Form, estimate, state
from .linear import LinearMultistep, outpaced

RULES = ("ratio", "midpoint", "heun")


@dataclass(frozen=True)
class SDEDPMpp2M(LinearMultistep):
    r"""Second-order multistep rule for the reverse SDE (Lu et al., *DPM-Solver++*, 2022, eq. 18).

    With ``λ = log(α/σ)``, ``h = λ_s − λ_t``, ``k = e^{−(1+η)h}`` and ``Δ = x̂_0 − x̂_{0,prev}``,

    ``x_s = (α_s/α_t) k x + α_s (1 − k) x̂_0 + α_s w Δ + σ_s √(1 − e^{−2ηh}) n``,

    where w integrates x̂_0 along a line through its last two values:

    ``ratio`` (default)
        a straight line in σ/α: ``w = [1 − e^{−h} − (e^{−h} − k)/η]/(e^{h_prev} − 1)``.
    ``midpoint``, ``heun``
        in λ, ``w = h/h_prev · (1 − k)/2`` as published, or the exact integral
        ``h/h_prev · [1 − (1 − k)/((1+η)h)]``: the ``solver_type`` of k-diffusion's ``dpmpp_2m_sde``.

    For η = 1 Δ is a martingale difference, so it does not improve the mean of a step; it makes up, one step
    late, for the covariance of x̂_0 and the noise within a step, and with that the variance has order 2. η = 0
    is the ODE, where midpoint is DPM-Solver++ 2M.

    One network call a step. The first step and a step to σ = 0 are of first order; a start at α = 0
    is finite. With noise ``ratio`` leaves Δ out of a step more than twice as long in λ as the one before
    (:func:`.linear.outpaced`): the last step of an even VP grid to t_min would widen a Gaussian by 11 %.
    64 steps keep its variance to 2 % on the usual grids, and to 3 % on EDM's times even in their square root.

    Args:
        eta: how much of the reverse SDE's noise, η ≥ 0.
        rule: ``"ratio"``, ``"midpoint"`` or ``"heun"``.

    Raises:
        ValueError: a negative η or an unknown rule.
    """

    eta: float = 1.0
    rule: str = "ratio"

    def __post_init__(self) -> None:
        if not self.eta >= 0:
            raise ValueError(f"eta must not be negative, got {self.eta}")
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got '{self.rule}'")

    @property
    def memory(self) -> int:
        """How many points, the present one included, a step uses."""
        return 2

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1`` with its published noise; ``past`` points are known."""
        if at.sigma[i + 1] == 0:
            return at.alpha[i + 1] * estimate()
        if at.alpha[i] == 0:  # h = ∞; without noise (η = 0) the whole of ε̂ = x/σ stays.
            kept = at.sigma[i + 1] / at.sigma[i] if self.eta == 0 else 0.0
            noise = 0.0 if self.eta == 0 else at.sigma[i + 1]
            return kept * state() + at.alpha[i + 1] * estimate() + noise * NOISE
        h = at.lam[i + 1] - at.lam[i]
        span = (1 + self.eta) * h
        gain = -math.expm1(-span)
        shrink = at.alpha[i + 1] / at.alpha[i] * (1 - gain)
        step = shrink * state() + at.alpha[i + 1] * gain * estimate()
        if past and at.alpha[i - 1] > 0 and not (self._cautious and outpaced(at, i)):
            weight = self._weight(h, at.lam[i] - at.lam[i - 1])
            step = step + at.alpha[i + 1] * weight * (estimate(0) - estimate(1))
        return step + at.sigma[i + 1] * math.sqrt(-math.expm1(-2 * self.eta * h)) * NOISE

    @property
    def _cautious(self) -> bool:
        return self.rule == "ratio" and self.eta > 0

    def _weight(self, h: float, previous: float) -> float:
        """w, for a step h in λ after one of ``previous``."""
        span = (1 + self.eta) * h
        gain = -math.expm1(-span)
        if self.rule == "midpoint":
            return h / previous * gain / 2
        if self.rule == "heun":
            return h / previous * (1 - gain / span)
        # (e^{−h} − k)/η, whose limit at η = 0 is h e^{−h}.
        bend = math.exp(-h) * (-math.expm1(-self.eta * h) / self.eta if self.eta else h)
        return (-math.expm1(-h) - bend) / math.expm1(previous)
