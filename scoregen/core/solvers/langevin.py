"""Predictor–corrector: Langevin steps at the level a solver has just reached."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid, Levels
from .analytic import bound, eps_square, mean_square, per_field
from .ancestral import Ancestral
from .base import Draw, Solver, State
from .form import NOISE, Form, combine, epsilon, estimate, state

RULES = ("expected", "norm")
STAGE = 32
"""Draws of the corrector are stages 32, 33, …: below them is room for those of the predictor."""


@dataclass(frozen=True)
class PredictorCorrector:
    r"""Any solver, each of its steps followed by Langevin steps (Song et al. 2021, algorithms 2–5).

    A Langevin step of size τ in the metric of the shaped noise is ``x + τ s + √(2τ) n`` with ``s = −ε̂/σ``.
    Its size follows the signal-to-noise rule ``τ = 2 (snr ‖n‖/‖s‖)²``. Song et al. take both norms as means
    over the batch, which makes every sample depend on its neighbours. Here no sample sees another:

    ``expected`` (default)
        ``‖s‖ = ‖n‖/σ``, the score of pure noise: ``τ = 2 (snr σ)²``, a number known before the run. The step
        does not depend on the state, so it keeps its stationary law.
    ``norm``
        the whitened norm of each sample's own score, ``τ_b = 2 snr² d_b/‖s_b‖²`` with d_b degrees of freedom
        (the mean of ``‖n‖²``), at most ``σ²/2``. A step that depends on the state shifts the stationary law,
        by a part in d_b: for states of many dimensions, and of no use for a handful. Each field of a
        product has its own τ.

    The plain step widens a Gaussian of variance v by ``τ/2v`` of it, and with a good predictor that is most
    of the error. The default noise ``√(2τ − τ²‖s‖²/d)`` keeps the total variance of any data; see
    :mod:`~scoregen.core.solvers.analytic`, of whose formula this is the case ``s = t``.

    One-step predictors fit best: a multistep one (its history keeps the states where its estimates were
    made) takes the corrector's noise for a slope, and widens a Gaussian by 3 % in 64 steps
    (DPM-Solver++ 2M).

    One network call for each corrector step, beside those of the predictor. The corrector is left out where
    σ = 0.

    Args:
        predictor: any solver whose carry holds the state as ``x``.
        snr: the rule's ratio, positive; with ``expected`` at most ``√½``.
        corrections: Langevin steps after each step, 0 to 128.
        rule: ``"expected"`` or ``"norm"``.
        variance: noise of the corrector, ``"analytic"`` or ``"published"`` (``√(2τ)``).
        sigma_data: for ``analytic``, the width of Gaussian data in units of the shaped noise; estimated from
            each sample when omitted.

    Raises:
        ValueError: an argument out of its range.
    """

    predictor: Solver[Any] = field(default_factory=Ancestral)
    snr: float = 0.16
    corrections: int = 1
    rule: str = "expected"
    variance: str = "analytic"
    sigma_data: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.snr <= math.sqrt(0.5):
            raise ValueError(f"snr must lie in (0, 0.707], got {self.snr}")
        if not 0 <= self.corrections <= 128:
            raise ValueError(f"corrections must lie in 0..128, got {self.corrections}")
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got '{self.rule}'")
        if self.variance not in ("analytic", "published"):
            raise ValueError(f"variance must be 'analytic' or 'published', got '{self.variance}'")

    def init(self, x: Tensor) -> Any:
        """The predictor's carry at the start ``x``."""
        return self.predictor.init(x)

    def step(self, carry: Any, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> Any:
        """Advance from ``grid.times[i]`` to ``grid.times[i + 1]``, then correct there.

        Raises:
            ValueError: the ``norm`` rule on a grid that is not bound to its batch (``grid.on(space)``).
        """
        carry = self.predictor.step(carry, i, grid, denoise, draw)
        if not bool((grid.sigma[i + 1] > 0).any()):
            return carry
        for m in range(self.corrections):
            carry = self._correct(carry, i, grid, denoise, draw(i, STAGE + m))
        return carry

    def _correct(self, carry: State, i: int, grid: Grid, denoise: Denoise, noise: Tensor) -> State:
        x = carry.x
        point = (x, denoise(x, grid.times[i + 1]).x0)
        plan = grid.plan((self, i), lambda: [self._plan(at, i + 1) for at in grid.levels])
        fixed, clean, eps = map(list, zip(*plan, strict=True))
        if self.rule == "expected" and (self.variance == "published" or self.sigma_data is not None):
            return replace(carry, x=combine(fixed, [point], grid, noise))
        space, unit = bound(grid), combine(eps, [point], grid)
        square = mean_square(unit, space)
        share = torch.full_like(square, 2 * self.snr**2)
        if self.rule == "norm":
            share = (share / square.clamp(min=torch.finfo(square.dtype).tiny)).clamp(max=0.5)
        fresh = 2 * share
        if self.variance == "analytic":
            mean = square if self.sigma_data is None else self._expected(square, grid, i + 1)
            fresh = (fresh - share**2 * mean).clamp(min=0)
        moved = space.expand(1 - share, x) * unit + space.expand(fresh.sqrt(), x) * noise
        return replace(carry, x=combine(clean, [point], grid) + grid.wide(grid.sigma[i + 1]) * moved)

    def _expected(self, like: Tensor, grid: Grid, i: int) -> float | Tensor:
        """``E‖ε̂‖²/d`` of the given width, by field."""
        return per_field([eps_square(at, i, self.sigma_data or 0.0) for at in grid.levels], like)

    def _plan(self, at: Levels, i: int) -> tuple[Form, Form, Form]:
        """The whole step where it is linear, and its parts ``α x̂_0`` and ``ε̂``; σ = 0 keeps the state."""
        if at.sigma[i] == 0:
            return state(), state(), Form()
        clean, eps, share = at.alpha[i] * estimate(), epsilon(at, i), 2 * self.snr**2
        fresh = 2 * share
        if self.variance == "analytic" and self.sigma_data is not None:
            fresh -= share**2 * eps_square(at, i, self.sigma_data)
        return clean + at.sigma[i] * ((1 - share) * eps + math.sqrt(fresh) * NOISE), clean, eps
