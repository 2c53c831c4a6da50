r"""Linear inverse problems: samples of ``p(x_0 | y)`` for ``y = A x_0 + σ_y ε`` from the unconditional model.

The conditional score adds ``∇_x log p(y|x_t)``, and all three methods here approximate

.. math::  p(y | x_t) ≈ N\bigl(y;\ A D(x_t),\ V\bigr), \qquad
           D(x|y) = D(x) + Cov[x_0|x]\, A^⊤ V^{−1} (y − A D(x)),

with the Tweedie covariance ``Cov[x_0|x] = (σ²/α) Σ (∂D/∂x)ᵀ`` (:mod:`scoregen.core.guidance.local`) in front.
They differ in V: σ_y² (:class:`DPS`), ``σ_y² + r² A Σ Aᵀ`` (:class:`PiGDM`) or ``σ_y² + A Cov[x_0|x] Aᵀ``
(:class:`MomentMatching`, exact for Gaussian data).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..denoiser import Denoise, Prediction
from ..space import DenseSpace, Space
from .local import Local, Weight, check_weight, covariance, prior_variance, spread, wanted

FLOOR = 0.01
"""Smallest curvature that :func:`conjugate_gradients` trusts, as a share of the prior's."""


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor],
    b: Tensor,
    space: Space,
    iterations: int,
    prior: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Solve ``K u = b`` for every sample at once (Hestenes & Stiefel 1952), without coupling them.

    A fixed number of iterations keeps the host out of it. A sample stops by itself once its residual is at
    rounding level. The Jacobian of a trained network is no exact covariance: it is not quite symmetric, and
    not positive where its error outgrows it. Two safeguards, both idle for a true covariance of fair
    condition, keep the solution bounded there: a sample stops where the curvature ``pᵀKp`` falls below
    ``FLOOR`` of the prior's, and of all iterates the one with the smallest residual is returned. What is
    returned is a differentiable function of ``b`` and of whatever K is made of.

    Args:
        matrix: ``v -> K v``, symmetric and positive semi-definite on each sample.
        b: right-hand side, a state of ``space``.
        space: says which elements belong to which sample.
        iterations: number of products with K; 0 returns zero.
        prior: ``v -> K_0 v``, a positive matrix of the size that K should have; any positive curvature will
            do when omitted.

    Returns:
        u, shaped as ``b``.
    """
    best = torch.zeros_like(b)
    u, r, p = best, b, b
    rr = least = space.sum(r * r)
    floor = rr * torch.finfo(b.dtype).eps ** 2
    going = rr > 0
    for _ in range(iterations):
        product = matrix(p)
        curvature = space.sum(p * product)
        with torch.no_grad():  # A threshold only, nothing to differentiate.
            enough = 0.0 if prior is None else FLOOR * space.sum(p * prior(p))
        going = going & (curvature > enough) & (curvature > 0) & (rr > floor)
        step = space.expand(torch.where(going, rr / torch.where(going, curvature, 1.0), 0.0), b)
        u, r = u + step * p, r - step * product
        after = space.sum(r * r)
        p = r + space.expand(torch.where(going, after / torch.where(going, rr, 1.0), 0.0), b) * p
        rr = after
        better = rr < least
        best, least = torch.where(space.expand(better, b), u, best), torch.where(better, rr, least)
    return best


@dataclass(frozen=True)
class Measurement(ABC):
    """What the three methods share: the measurement and the conditional estimate.

    Args:
        operator: A, linear and differentiable: ``operator(x0) -> y``; each sample's measurement must depend
            on that sample alone. Its adjoint comes from autograd.
        y: the measured values, ``(B, ...)``, or a state of ``measurements``.
        space: the batch.
        sigma_y: standard deviation of the measurement noise: a number, ``(B,)``, or broadcastable to ``y``.
        strength: factor on the correction, 1 for the posterior; a number, ``(B,)``, or a function of time.
        measurements: the space ``y`` lives in, for ragged measurements; a :class:`DenseSpace` when omitted.

    Raises:
        ValueError: ``sigma_y`` negative, values not finite, a strength of the wrong shape; when called: a
            measurement of another shape than ``y``, or a denoiser without gradient.
    """

    operator: Callable[[Tensor], Tensor]
    y: Tensor
    space: Space
    sigma_y: float | Tensor = 0.0
    strength: Weight = 1.0
    measurements: Space | None = None
    _where: Space = field(init=False, repr=False)
    _variance: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        where = self.measurements
        if where is None:
            where = DenseSpace(tuple(self.y.shape), dtype=self.y.dtype, device=self.y.device)
        if where.size != self.space.size:
            raise ValueError(f"measurements of {where.size} samples for {self.space.size} samples")
        if not bool(torch.isfinite(self.y).all()):
            raise ValueError("a measured value is not finite")
        sigma = torch.as_tensor(self.sigma_y, dtype=self.y.dtype, device=self.y.device)
        if not bool((sigma >= 0).all()):
            raise ValueError("sigma_y must not be negative")
        if sigma.shape == (where.size,):
            sigma = where.expand(sigma, self.y)
        check_weight("strength", self.strength, self.space)
        object.__setattr__(self, "_where", where)
        object.__setattr__(self, "_variance", sigma**2)

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap a denoiser."""

        def guided(x: Tensor, t: Tensor) -> Prediction:
            local = Local.at(denoise, x, t, self.space)
            residual = self.y - self._measure(local.x0)
            pull = self._adjoint(local.x0)
            shift = local.covariance(pull(self.weighted(residual, pull, local)))
            return local.moved(spread(self.strength, t, self.space, x) * shift)

        return guided

    @abstractmethod
    def weighted(self, residual: Tensor, adjoint: Callable[[Tensor], Tensor], local: Local) -> Tensor:
        """``V^{−1} (y − A D(x))``, shaped as ``y``; what a method is made of.

        Args:
            residual: ``y − A D(x)``.
            adjoint: ``v -> Aᵀ v``.
            local: the estimate and its derivatives.
        """

    def prior(
        self, adjoint: Callable[[Tensor], Tensor], local: Local, sigma_data: float
    ) -> Callable[[Tensor], Tensor]:
        """``v -> (σ_y² + r² A Σ Aᵀ) v``: what V would be for data ``N(·, σ_d² Σ)``."""
        gain = prior_variance(local.prediction, sigma_data)

        def matrix(v: Tensor) -> Tensor:
            return self._variance * v + self.operator(gain * covariance(self.space, adjoint(v)))

        return matrix

    def _measure(self, x0: Tensor) -> Tensor:
        measured = self.operator(x0)
        if measured.shape != self.y.shape:
            raise ValueError(f"the operator gives shape {tuple(measured.shape)}, y has {tuple(self.y.shape)}")
        return measured

    def _adjoint(self, x0: Tensor) -> Callable[[Tensor], Tensor]:
        graph = wanted(x0)
        with torch.enable_grad():
            leaf = x0 if graph else x0.detach().requires_grad_()
            measured = self.operator(leaf)

        def pull(v: Tensor) -> Tensor:
            create = graph and torch.is_grad_enabled()
            return torch.autograd.grad(measured, leaf, v, retain_graph=True, create_graph=create)[0]

        return pull


@dataclass(frozen=True)
class DPS(Measurement):
    r"""Diffusion posterior sampling (Chung et al. 2023, theorem 1): ``V = σ_y²``, as if D(x) were x_0.

    Taken literally (``normalise=False``) it overshoots wherever ``A Cov[x_0|x] Aᵀ`` exceeds σ_y², that is at
    all but the lowest noise levels, and diverges on short grids. Chung et al. divide by the norm of the
    residual instead (their algorithm 1). Here the variance is each sample's mean squared residual,
    never below σ_y²: ``V = max(σ_y², ‖y − A D‖²/m)``. It is scale-free and needs no tuned step, but it is no
    posterior: use :class:`MomentMatching` where the spread of the samples matters. Any differentiable
    operator will do, linear or not.

    Args:
        normalise: use the residual's own scale as described.
    """

    normalise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.normalise and not bool((self._variance > 0).all()):
            raise ValueError("DPS without normalise divides by sigma_y, which must be positive")

    def weighted(self, residual: Tensor, adjoint: Callable[[Tensor], Tensor], local: Local) -> Tensor:
        """The residual over σ_y², or over its own scale; shaped as ``y``."""
        if not self.normalise:
            return residual / self._variance
        square = self._where.sum(residual**2) / self._where.sum(torch.ones_like(residual))
        variance = torch.maximum(self._variance, self._where.expand(square, residual))
        return torch.where(variance > 0, residual / torch.where(variance > 0, variance, 1.0), 0.0)


@dataclass(frozen=True)
class PiGDM(Measurement):
    r"""Pseudo-inverse guidance ΠGDM (Song et al. 2023, sec. 3.2): ``V = σ_y² + r² A Σ Aᵀ``.

    ``r² = σ²σ_d²/(σ² + α²σ_d²)`` is the posterior variance if the data were ``N(·, σ_d² Σ)``, for which the
    method is exact. V is inverted by conjugate gradients, which call the operator, not the network.

    Args:
        sigma_data: σ_d, standard deviation of the data in units of the shaped noise.
        iterations: conjugate-gradient iterations.

    Raises:
        ValueError: ``sigma_data <= 0`` or ``iterations < 1``.
    """

    sigma_data: float = 1.0
    iterations: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigma_data(self.sigma_data)
        check_iterations(self.iterations)

    def weighted(self, residual: Tensor, adjoint: Callable[[Tensor], Tensor], local: Local) -> Tensor:
        """``(σ_y² + r² A Σ Aᵀ)^{−1}`` times the residual, shaped as ``y``."""
        matrix = self.prior(adjoint, local, self.sigma_data)
        return conjugate_gradients(matrix, residual, self._where, self.iterations)


@dataclass(frozen=True)
class MomentMatching(Measurement):
    r"""Moment-matching posterior sampling (Rozet et al. 2024, MMPS): ``V = σ_y² + A Cov[x_0|x] Aᵀ``.

    The covariance is Tweedie's, one vector–Jacobian product an application; V is inverted by conjugate
    gradients on each sample. Exact for Gaussian data with as many iterations as there are measurements (or
    distinct eigenvalues); a few are enough in practice, and fewer mean a more cautious correction. With a
    trained network a stochastic solver forgives the errors of its Jacobian; an ODE keeps them.

    Args:
        iterations: conjugate-gradient iterations, one backward pass of the network each.
        sigma_data: σ_d, the scale by which :func:`conjugate_gradients` tells a trustworthy curvature: the
            standard deviation of the data in units of the shaped noise.

    Raises:
        ValueError: ``sigma_data <= 0`` or ``iterations < 1``.
    """

    iterations: int = 5
    sigma_data: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigma_data(self.sigma_data)
        check_iterations(self.iterations)

    def weighted(self, residual: Tensor, adjoint: Callable[[Tensor], Tensor], local: Local) -> Tensor:
        """``(σ_y² + A Cov[x_0|x] Aᵀ)^{−1}`` times the residual, shaped as ``y``."""

        def matrix(v: Tensor) -> Tensor:
            return self._variance * v + self.operator(local.covariance(adjoint(v)))

        prior = self.prior(adjoint, local, self.sigma_data)
        return conjugate_gradients(matrix, residual, self._where, self.iterations, prior)


def check_sigma_data(sigma_data: float) -> None:
    """Refuse a data scale that is not positive with a ValueError."""
    if not sigma_data > 0:
        raise ValueError(f"sigma_data must be positive, got {sigma_data}")


def check_iterations(iterations: int, least: int = 1) -> None:
    """Refuse a number of iterations below ``least`` with a ValueError."""
    if iterations < least:
        raise ValueError(f"iterations must be at least {least}, got {iterations}")
