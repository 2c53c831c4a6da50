r"""Solver steps as linear forms, computed once per grid.

Every fixed-grid rule advances the state by a weighted sum of what is already known,

.. math::  x_{i+1} = \sum_j a_{ij}\, x_{i−j} + \sum_j b_{ij}\, \hat x_{0,i−j} + c_i\, n_i ,

whatever it was derived for: ``ε̂ = (x − α x̂_0)/σ`` and ``dx/dt = α' x̂_0 + σ' ε̂`` are themselves such sums.
A :class:`Form` holds the weights and can be added and scaled, so that the code of a solver is the formula
of its paper, evaluated on symbols, once, in double precision. The numbers then meet tensors in
:func:`combine` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from ..grid import Grid, Levels

Point = tuple[Tensor, Tensor]
"""A state and the denoised estimate made there."""


@dataclass(frozen=True)
class Form:
    """A linear form in past states, past denoised estimates (both newest first) and one fresh noise.

    Args:
        x: weight of each state.
        x0: weight of each denoised estimate.
        noise: weight of the noise.
    """

    x: tuple[float, ...] = ()
    x0: tuple[float, ...] = ()
    noise: float = 0.0

    def __add__(self, other: Form) -> Form:
        return Form(
            tuple(a + b for a, b in zip_longest(self.x, other.x, fillvalue=0.0)),
            tuple(a + b for a, b in zip_longest(self.x0, other.x0, fillvalue=0.0)),
            self.noise + other.noise,
        )

    def __mul__(self, factor: float) -> Form:
        return Form(
            tuple(factor * w for w in self.x), tuple(factor * w for w in self.x0), factor * self.noise
        )

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Form:
        return self * (1.0 / divisor)

    def __sub__(self, other: Form) -> Form:
        return self + -1.0 * other


NOISE = Form(noise=1.0)
"""The fresh noise of the step."""


def state(j: int = 0) -> Form:
    """The state ``j`` evaluations ago."""
    return Form(x=(0.0,) * j + (1.0,))


def estimate(j: int = 0) -> Form:
    """The denoised estimate ``x̂_0`` of ``j`` evaluations ago."""
    return Form(x0=(0.0,) * j + (1.0,))


def epsilon(at: Levels, i: int, j: int = 0) -> Form:
    """The noise estimate ``ε̂ = (x − α x̂_0)/σ`` made at grid point ``i``, ``j`` evaluations ago."""
    blank, sigma = (0.0,) * j, at.sigma[i]
    return Form((*blank, 1 / sigma), (*blank, -at.alpha[i] / sigma))


def velocity(at: Levels, i: int, j: int = 0) -> Form:
    """The probability-flow velocity ``α' x̂_0 + σ' ε̂`` at grid point ``i``, ``j`` evaluations ago."""
    return weighted((at.alpha_rate[i], at.sigma_rate[i]), (estimate(j), epsilon(at, i, j)))


def weighted(weights: Sequence[float], forms: Sequence[Form]) -> Form:
    """The sum of ``forms`` (at least one), each times its weight."""
    x = [0.0] * max(len(form.x) for form in forms)
    x0 = [0.0] * max(len(form.x0) for form in forms)
    noise = 0.0
    for weight, form in zip(weights, forms, strict=True):
        for j, value in enumerate(form.x):
            x[j] += weight * value
        for j, value in enumerate(form.x0):
            x0[j] += weight * value
        noise += weight * form.noise
    return Form(tuple(x), tuple(x0), noise)


def combine(
    forms: Sequence[Form], points: Sequence[Point], grid: Grid, noise: Tensor | None = None
) -> Tensor:
    """Evaluate a form on tensors.

    Args:
        forms: the form of each field of the state (one for an ordinary process).
        points: states and estimates, newest first, at least as many as the form has weights.
        grid: spreads weights that differ between fields.
        noise: fresh noise, shaped as the state; needed when the form has noise.

    Returns:
        The combination, shaped as the state. Terms of weight zero are left out, so a step that lands on
        the estimate gives exactly that estimate.
    """
    terms: list[tuple[Any, Tensor]] = []
    for j, (x, x0) in enumerate(points):
        terms.append((_weight([f.x[j] if j < len(f.x) else 0.0 for f in forms], grid), x))
        terms.append((_weight([f.x0[j] if j < len(f.x0) else 0.0 for f in forms], grid), x0))
    if noise is not None:
        terms.append((_weight([f.noise for f in forms], grid), noise))
    total: Tensor | None = None
    for weight, term in terms:
        if weight is None:
            continue
        if total is None:
            total = weight * term
        elif isinstance(weight, float):
            total = torch.add(total, term, alpha=weight)
        else:
            total = torch.addcmul(total, weight, term)
    return torch.zeros_like(points[0][0]) if total is None else total


def _weight(values: list[float], grid: Grid) -> Any:
    """A factor for the state, or None where every field's weight is zero."""
    if not any(values):
        return None
    return values[0] if len(values) == 1 else grid.wide(torch.tensor(values, dtype=torch.float64))
