"""Sampling: run a solver over a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoise, Prediction
from .grid import Grid
from .noise import Noise
from .sde import SDE
from .solvers.base import Solver
from .space import Space

Guide = Callable[[Denoise], Denoise]
"""A wrapper of the denoiser (classifier-free guidance, inpainting, …); guides compose from left to right."""


class NonFiniteSample(FloatingPointError):
    """A solver produced NaN or infinity; the message names the step, its time and the samples."""


def _projected(denoise: Denoise, space: Space) -> Denoise:
    """The denoiser with its estimates on the directions that count.

    Before the guides, which keep to those directions: after them it would round what inpainting fixes.
    """

    def projected(x: Tensor, t: Tensor) -> Prediction:
        prediction = denoise(x, t)
        return replace(prediction, x0=space.project(prediction.x0))

    return projected


@torch.no_grad()
def sample(
    denoise: Denoise,
    sde: SDE,
    space: Space,
    *,
    solver: Solver[Any],
    grid: Grid,
    noise: Noise,
    start: Tensor | None = None,
    guides: Sequence[Guide] = (),
    on_step: Callable[[int, Prediction], None] | None = None,
) -> Tensor:
    """Draw one sample for each id of ``noise`` by integrating the reverse process.

    Args:
        denoise: ``denoise(x, t) -> Prediction``.
        sde: the process; must be the grid's.
        space: the batch.
        solver: integration rule.
        grid: times from noise to data.
        noise: keyed noise; step −1 is the starting state.
        start: data to start from, a state of ``space``: it is noised to the first time of the grid
            (partial noising) instead of starting from pure noise.
        guides: wrappers applied to ``denoise`` in order.
        on_step: called after each network call with the step number and the prediction.

    Returns:
        The samples, a state of ``space``.

    Raises:
        ValueError: the grid belongs to another process, or ``start`` is not a state of ``space``.
        NonFiniteSample: the result is not finite.
    """
    if grid.sde != sde:
        raise ValueError("the grid was made for another process")
    like = space.zeros()
    if start is not None and start.shape != like.shape:
        raise ValueError(f"start must be a state of shape {tuple(like.shape)}, got {tuple(start.shape)}")
    denoise = _projected(denoise, space)
    for guide in guides:
        denoise = guide(denoise)
    at = 0

    def watched(x: Tensor, t: Tensor) -> Prediction:
        prediction = denoise(x, t)
        if on_step is not None:
            on_step(at, prediction)
        return prediction

    noise = noise.on(like.device)

    def draw(step: int, stage: int = 0) -> Tensor:
        return noise.normal(space, step, stage)

    grid = grid.on(space)
    x = grid.wide(grid.sigma[0]) * draw(-1)
    if start is not None:
        x = x + grid.wide(grid.alpha[0]) * space.project(start)
    carry = solver.init(x)
    for at in range(grid.steps):
        carry = solver.step(carry, at, grid, watched, draw)
    result: Tensor = carry.x
    # One check at the end: NaN and infinity never heal, and a check in the loop would stall a GPU.
    finite = space.sum((~torch.isfinite(result)).to(torch.float32)) == 0
    if not bool(finite.all()):
        bad = (~finite).nonzero().flatten().tolist()
        raise NonFiniteSample(
            f"{type(solver).__name__} over {grid.steps} steps gave non-finite values in samples {bad[:8]}"
        )
    return result
