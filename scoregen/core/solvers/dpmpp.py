"""DPM-Solver++: exponential integrators on the denoised estimate."""

from __future__ import annotations

from dataclasses import dataclass

from ..grid import Levels
from .linear import Form, LinearMultistep, estimate, state


@dataclass(frozen=True)
class DPMpp2M(LinearMultistep):
    r"""Second-order multistep exponential integrator on x_0 (Lu et al., *DPM-Solver++*, 2022, algorithm 2).

    With ``λ = log(α/σ)``, ``h = λ_s − λ_t`` and ``r = h_{prev}/h``:

    ``D̄ = (1 + 1/2r) D_t − (1/2r) D_{prev}``, ``x_s = (σ_s/σ_t) x − α_s (e^{−h} − 1) D̄``.

    One network call a step; order 2. The first step is of first order, and so is a last step to σ = 0,
    where h is infinite.
    """

    @property
    def memory(self) -> int:
        return 2

    def form(self, at: Levels, i: int, past: int) -> Form:
        average = estimate()
        if past and at.sigma[i + 1] > 0 and at.alpha[i - 1] > 0:
            h, previous = at.lam[i + 1] - at.lam[i], at.lam[i] - at.lam[i - 1]
            average = average + h / (2 * previous) * (estimate(0) - estimate(1))
        return exponential_step(at, i, average)


def exponential_step(at: Levels, i: int, average: Form) -> Form:
    """``(σ_s/σ_t) x − α_s (e^{−h} − 1) D̄`` for a mean estimate ``D̄``; finite at α_t = 0 and at σ_s = 0."""
    shrink = at.sigma[i + 1] / at.sigma[i]
    # α_s e^{−h} = α_t σ_s/σ_t.
    return shrink * state() + (at.alpha[i + 1] - at.alpha[i] * shrink) * average
