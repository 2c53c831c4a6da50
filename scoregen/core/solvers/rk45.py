"""Adaptive Runge–Kutta between the grid's times, each sample with its own steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid
from .base import Draw, State


@dataclass(frozen=True)
class RK45:
    """Dormand–Prince 5(4) along the probability flow, to a tolerance; see :mod:`~scoregen.core.flow`.

    The grid only says where to stop; one step, ``[t_max, t_min]``, is enough. A last step to σ = 0 integrates
    to ``t_min`` and then lands on the denoised estimate. The number of network calls depends on the data.

    Args:
        rtol, atol, max_steps: see :func:`~scoregen.core.ode.integrate`.
    """

    rtol: float = 1e-4
    atol: float = 1e-4
    max_steps: int = 1000

    def init(self, x: Tensor) -> State:
        """The start; there is no history."""
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> State:
        """From ``grid.times[i]`` to ``grid.times[i + 1]`` in as many steps as each sample needs.

        Raises:
            ValueError: the grid is not bound to a batch.
            IntegrationError: a sample did not arrive.
        """
        # The flow needs what is in this package's parent, which imports this package.
        from ..flow import transport

        if grid.space is None:
            raise ValueError("adaptive steps need the batch: grid.on(space)")
        t, s = float(grid.times[i]), float(grid.times[i + 1])
        noiseless = not bool((grid.sigma[i + 1] > 0).all())
        stop = min(max(s, grid.sde.t_min), t) if noiseless else s
        x = transport(
            denoise,
            grid.sde,
            carry.x,
            grid.space,
            t,
            stop,
            rtol=self.rtol,
            atol=self.atol,
            max_steps=self.max_steps,
        ).x
        if not noiseless:
            return State(x)
        # x_s = α_s x̂_0 + σ_s ε̂: the estimate itself in the fields that end at σ = 0.
        at = torch.tensor(stop, dtype=torch.float64)
        alpha, sigma = grid.sde.marginal(at)
        fraction = grid.sigma[i + 1] / sigma
        x0 = denoise(x, at).x0
        return State(grid.wide(fraction) * x + grid.wide(grid.alpha[i + 1] - fraction * alpha) * x0)
