"""RePaint: step down, travel back up by adding noise, and repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid
from .base import Draw, Solver, State

TRAVEL_STAGE = 254
"""Stage of the noise that travels back, beyond those that solvers use."""


@dataclass(frozen=True)
class Travelled(State):
    """The present state and the carry of the solver inside."""

    inner: State


@dataclass(frozen=True)
class Resampled:
    r"""Time travel around any solver (Lugmayr et al., *RePaint*, 2022, algorithm 1 and app. B).

    After every ``jump`` steps, from t down to s, noise takes the state back up,

    .. math::  x_t = \frac{α_t}{α_s}\, x_s + \sqrt{σ_t² − (α_t/α_s)² σ_s²}\; n,

    and the steps are done again, ``times`` in all. Each pass harmonises the two parts of an inpainted sample.
    Without a guide and with an exact solver it leaves the distribution alone. It costs ``times`` as many
    network calls. The history of a multistep solver starts anew after each travel, and every pass draws its
    own keyed noise (step ``i + pass · K``).

    Args:
        solver: the integration rule inside. The paper's is ``DDIM(eta=1)``; many passes settle where the
            rule itself is biased, so that a rule of second order and ``jump ≥ 2`` do better.
        times: passes U over each block of steps, at least 1.
        jump: steps a block, at least 1; a last, shorter block is repeated too.

    Raises:
        ValueError: ``times`` or ``jump`` below 1.
    """

    solver: Solver[Any]
    times: int = 10
    jump: int = 1

    def __post_init__(self) -> None:
        if self.times < 1 or self.jump < 1:
            raise ValueError(f"times and jump must be at least 1, got {self.times} and {self.jump}")

    def init(self, x: Tensor) -> Travelled:
        """The carry at the start of the grid, for a state ``x``."""
        return Travelled(x, self.solver.init(x))

    def step(self, carry: Travelled, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> Travelled:
        """Advance from ``grid.times[i]`` to ``grid.times[i + 1]``, repeating the block that ends there."""
        # A corrector around this one changes the state, and the state alone.
        inner = self.solver.step(replace(carry.inner, x=carry.x), i, grid, denoise, draw)
        end = i + 1
        if end % self.jump and end != grid.steps:
            return Travelled(inner.x, inner)
        begin = end - (i % self.jump + 1)
        for again in range(1, self.times):
            inner = self.solver.init(travel(inner.x, begin, end, grid, draw, again))
            for j in range(begin, end):
                inner = self.solver.step(inner, j, grid, denoise, _later(draw, again * grid.steps))
        return Travelled(inner.x, inner)


def travel(x: Tensor, begin: int, end: int, grid: Grid, draw: Draw, again: int) -> Tensor:
    """Take a state from grid point ``end`` back up to ``begin`` by the forward process.

    Args:
        x: state at ``grid.times[end]``.
        begin, end: grid points, ``begin < end``.
        grid: the grid.
        draw: keyed noise.
        again: number of the pass, which keys the noise.
    """

    def coefficients() -> tuple[Tensor, Tensor]:
        ratio = grid.alpha[begin] / grid.alpha[end]
        return ratio, (grid.sigma[begin] ** 2 - (ratio * grid.sigma[end]) ** 2).clamp(min=0.0).sqrt()

    ratio, fresh = grid.plan((Resampled, begin, end), coefficients)
    noise = draw(begin + again * grid.steps, TRAVEL_STAGE)
    moved: Tensor = grid.wide(ratio) * x + grid.wide(fresh) * noise
    return moved


def _later(draw: Draw, offset: int) -> Draw:
    """Noise of steps of a later pass."""

    def drawn(step: int, stage: int = 0) -> Tensor:
        return draw(step + offset, stage)

    return drawn
