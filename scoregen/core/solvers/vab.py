"""Adams–Bashforth on the velocity of the straight path."""

from __future__ import annotations

from dataclasses import dataclass

from ..grid import Levels
from .form import Form, epsilon, estimate, state, weighted
from .linear import OrderedMultistep, steady
from .polynomial import adams_weights


@dataclass(frozen=True)
class VAB(OrderedMultistep):
    r"""Adams–Bashforth on ``ε̂ − x̂_0/c`` in the variable ``u = σ/(cα + σ)``.

    Any process is a rectified flow in other coordinates: divide the state by ``cα + σ``, and
    ``y = (1 − u) x_0/c + u n`` moves with velocity ``dy/du = ε̂ − x̂_0/c`` (Liu et al. 2023; Kingma & Gao,
    *Understanding Diffusion Objectives*, 2023, on the equivalence of schedules). u runs from 1 at α = 0 to 0
    at σ = 0 and the velocity is finite at either end, so neither needs a special step and the order holds
    from pure noise to clean data. Where ε̂ is the smooth quantity at high noise and x̂_0 at low noise, the
    velocity is smooth throughout.

    Order ``order`` on any smooth grid with ``start="rk"``, 2 at most with ``start="euler"``. One network
    call a step. The last step is of a lower order where it is long against those before it
    (:func:`.linear.steady`). As c → ∞ the rule becomes :class:`.deis.DEIS`.

    Args:
        order: 1 to 4; the first steps use the orders below.
        start: ``"euler"`` or ``"rk"``; see :class:`.linear.LinearMultistep`.
        sigma_data: c, the scale of the data in units of the noise.

    Raises:
        ValueError: ``order`` outside 1..4, an unknown start, or ``sigma_data`` not positive.
    """

    order: int = 3
    sigma_data: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sigma_data > 0:
            raise ValueError(f"sigma_data must be positive, got {self.sigma_data}")

    def form(self, at: Levels, i: int, past: int) -> Form:
        """The step from grid point ``i`` to ``i + 1``; see :meth:`LinearMultistep.form`."""
        return steady(self._step, at, i, past)

    def _step(self, at: Levels, i: int, past: int) -> Form:
        c = self.sigma_data
        scale = [c * at.alpha[k] + at.sigma[k] for k in range(i - past, i + 2)]  # oldest first
        u = [at.sigma[k] / norm for k, norm in enumerate(scale, i - past)]
        weights = adams_weights(u[-2::-1], u[-1])
        velocities = [epsilon(at, i - j, j) - estimate(j) / c for j in range(past + 1)]
        return scale[-1] * (state() / scale[-2] + weighted(weights, velocities))
