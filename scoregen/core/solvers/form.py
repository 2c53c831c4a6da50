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
        grid: bound to the batch where there are several fields.
        noise: fresh noise, shaped as the state; needed when the form has noise.

    Returns:
        The combination, shaped as the state. Terms of weight zero are left out, so a step that lands on
        the estimate gives exactly that estimate.
    """
    if len(forms) == 1:
        return _sum(forms[0], points, noise)
    # Several fields: each is a slice of the packed state with numbers of its own.
    split = grid.product.split
    cut = [list(zip(split(x), split(x0), strict=True)) for x, x0 in points]
    fresh = [None] * len(forms) if noise is None else split(noise)
    return torch.cat([_sum(form, [pair[f] for pair in cut], fresh[f]) for f, form in enumerate(forms)])


def _sum(form: Form, points: Sequence[Point], noise: Tensor | None) -> Tensor:
    """A form of plain numbers on tensors."""
    states, estimates = zip(*points, strict=True)
    weighed = [*zip(form.x, states, strict=False), *zip(form.x0, estimates, strict=False)]
    if noise is not None:
        weighed.append((form.noise, noise))
    total: Tensor | None = None
    for weight, term in weighed:
        if weight:
            total = weight * term if total is None else torch.add(total, term, alpha=weight)
    return torch.zeros_like(states[0]) if total is None else total
