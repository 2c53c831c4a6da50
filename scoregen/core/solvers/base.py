"""What a solver is: a pure step function whose history travels in the carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from ..denoiser import Denoise
from ..grid import Grid


@dataclass(frozen=True)
class State:
    """The carry of a one-step solver: the present state."""

    x: Tensor


class Draw(Protocol):
    """``draw(step, stage=0)``: shaped noise for this step."""

    def __call__(self, step: int, stage: int = 0) -> Tensor:
        """Noise ``n ∼ N(0, Σ)``, shaped as a state; keyed by the step and the use within it."""


Carry = TypeVar("Carry", bound=State)


class Solver(Protocol[Carry]):
    """An integration rule. Solvers are frozen and hold no state, so one may serve many threads."""

    def init(self, x: Tensor) -> Carry:
        """The carry at the start of the grid."""

    def step(self, carry: Carry, i: int, grid: Grid, denoise: Denoise, draw: Draw) -> Carry:
        """Advance from ``grid.times[i]`` to ``grid.times[i + 1]``."""
