"""Butcher tableaux: the numbers of explicit Runge–Kutta rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge–Kutta rule (Butcher 1964).

    Args:
        c: times of the stages, as fractions of the step; the first is 0.
        a: weights of the earlier slopes in each later stage.
        b: weights of the slopes in the result.
        error: weights of the slopes in the error estimate; empty for a rule without one.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] = ()
