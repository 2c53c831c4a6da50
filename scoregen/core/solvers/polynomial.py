r"""Weights of rules that integrate an interpolating polynomial.

A multistep rule knows a function at nodes ``s_j`` and needs ``∫_0^1 w(s) p(s) ds`` of the polynomial through
them, in the scaled variable of the step (present 0, end 1). With the moments ``m_k = ∫_0^1 w(s) s^k ds``
and the coefficients of the Lagrange polynomials ``ℓ_j(s) = Σ_k c_{jk} s^k`` the weight of node j is
``Σ_k c_{jk} m_k``. Adams–Bashforth has w = 1, exponential integrators ``w = h e^{−h(1−s)}`` on x_0 and
``w = h e^{−hs}`` on ε.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def lagrange(nodes: Sequence[float]) -> list[list[float]]:
    """Coefficients, lowest power first, of the Lagrange polynomials of ``nodes`` (which must differ)."""
    basis = []
    for j, own in enumerate(nodes):
        coefficients = [1.0]
        for other in (*nodes[:j], *nodes[j + 1 :]):
            # Multiply by (s − other)/(own − other).
            raised = zip([0.0, *coefficients], [*coefficients, 0.0], strict=True)
            coefficients = [(up - other * same) / (own - other) for up, same in raised]
        basis.append(coefficients)
    return basis


def quadrature(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Weight of each node, exact for polynomials of degree below the number of nodes.

    Args:
        nodes: where the function is known, all different.
        moments: ``∫ w(s) s^k ds`` for k = 0, 1, …, as many as there are nodes.
    """
    return [sum(c * m for c, m in zip(row, moments, strict=True)) for row in lagrange(nodes)]


def adams_weights(nodes: Sequence[float], end: float) -> list[float]:
    """Weights of ``∫ f du`` from ``nodes[0]`` to ``end``, f being known at ``nodes`` (newest first).

    The Adams–Bashforth rule for steps of any sizes (Hairer, Nørsett & Wanner, *Solving ODEs I*, III.5).
    """
    h = end - nodes[0]
    moments = [h / (k + 1) for k in range(len(nodes))]
    return quadrature([(node - nodes[0]) / h for node in nodes], moments)


def exponential_moments(h: float, count: int) -> list[float]:
    r"""``m_k = h ∫_0^1 e^{−h(1−s)} s^k ds`` for k < ``count``: ``k! h φ_{k+1}(−h)`` in the usual notation.

    For large h by the recursion ``m_k = 1 − k m_{k−1}/h``; for small h, where that cancels, by the series
    ``m_k = h Σ_n (−h)^n k!/(n + k + 1)!``.

    Args:
        h: length of the step in λ, positive and finite.
        count: how many moments.
    """
    if h < 1:
        return [
            sum(h * (-h) ** n * math.factorial(k) / math.factorial(n + k + 1) for n in range(20))
            for k in range(count)
        ]
    moments = [-math.expm1(-h)]
    for k in range(1, count):
        moments.append(1 - k * moments[-1] / h)
    return moments


def decaying_moments(h: float, count: int) -> list[float]:
    r"""``m_k = h ∫_0^1 e^{−hs} s^k ds`` for k < ``count``: the weight falls along the step.

    For large h by parts, ``m_k = k m_{k−1}/h − e^{−h}``; for small h, where that cancels, by the series
    ``m_k = h Σ_n (−h)^n/(n! (n + k + 1))``.

    Args:
        h: length of the step in λ, positive and finite.
        count: how many moments.
    """
    if h < 1:
        return [
            sum(h * (-h) ** n / (math.factorial(n) * (n + k + 1)) for n in range(20)) for k in range(count)
        ]
    moments = [-math.expm1(-h)]
    for k in range(1, count):
        moments.append(k * moments[-1] / h - math.exp(-h))
    return moments
