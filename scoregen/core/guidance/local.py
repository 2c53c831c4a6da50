r"""What guides share: weights that differ between samples, the noise covariance, the denoiser's Jacobian.

Every guide here moves the denoised estimate. With ``x = α x_0 + σ n`` and ``n ∼ N(0, Σ)`` Tweedie's formula
(Robbins 1956; Efron 2011) reads

.. math::  D(x) = E[x_0 | x] = \frac{x + σ² Σ ∇ \log p_t(x)}{α},

so adding ``∇ log h_t(x)`` to the score moves the estimate by ``(σ²/α) Σ ∇ log h_t(x)``. Differentiating once
more, with ``∇² log p_t = −Σ^{−1}/σ² + (α²/σ⁴) Σ^{−1} Cov[x_0|x] Σ^{−1}``, gives the posterior covariance

.. math::  Cov[x_0 | x] = \frac{σ²}{α} \frac{∂D}{∂x} Σ = \frac{σ²}{α} Σ \left(\frac{∂D}{∂x}\right)^{\!⊤},

the second form because a covariance is symmetric. It needs one vector–Jacobian product a vector. For a
product of fields α and σ differ between fields; Σ is block-diagonal over fields, commutes with them, and
both lines hold element by element.

Whoever differentiates a guided denoiser (a likelihood, or another guide around it) needs the derivative of
the shift too. So where the state carries a graph, everything here is built with one, and the shift is as
differentiable as the estimate; a plain sampling run pays nothing for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoise, Prediction
from ..space import Space

Weight = float | Tensor | Callable[[Tensor], "float | Tensor"]
"""A number, one number a sample ``(B,)``, or a function of time ``t`` that returns either."""


def check_weight(name: str, weight: Weight, space: Space) -> None:
    """Refuse a tensor that is neither a scalar nor one value a sample (and field).

    Raises:
        ValueError: its shape fits neither; the message names the weight.
    """
    if isinstance(weight, Tensor) and weight.ndim > 0 and len(weight) not in {1, space.size}:
        raise ValueError(
            f"{name} must be a number or one number for each of the {space.size} samples, "
            f"got shape {tuple(weight.shape)}"
        )


def spread(weight: Weight, t: Tensor, space: Space, like: Tensor) -> Any:
    """A weight as a factor for states: a float, or a tensor broadcastable to ``like``.

    Args:
        weight: see :data:`Weight`.
        t: the time it is read at.
        space: the batch.
        like: a state, for its dtype and device.
    """
    value = weight(t) if callable(weight) else weight
    if not isinstance(value, Tensor):
        return float(value)
    value = value.to(dtype=like.dtype, device=like.device)
    return space.expand(value.expand(space.size) if value.shape == (1,) else value, like)


def covariance(space: Space, v: Tensor) -> Tensor:
    """``Σ v``, with ``Σ = A Aᵀ`` and A = ``space.color``; the transpose comes from autograd.

    Args:
        space: the batch.
        v: shaped as a state; the result is differentiable in it.
    """
    graph = wanted(v)
    with torch.enable_grad():
        white = space.zeros().to(v).requires_grad_()
        (transposed,) = torch.autograd.grad(space.color(white), white, v, create_graph=graph)
    return space.color(transposed)


def wanted(x: Tensor) -> bool:
    """Whether somebody means to differentiate what is made of ``x``."""
    return torch.is_grad_enabled() and x.requires_grad


def tweedie_gain(prediction: Prediction) -> Tensor:
    """``σ²/α``, and 0 where α = 0: without a signal the state says nothing and no gradient helps."""
    alpha, sigma = prediction.alpha, prediction.sigma
    return torch.where(alpha > 0, sigma**2 / torch.where(alpha > 0, alpha, 1.0), 0.0)


def prior_variance(prediction: Prediction, sigma_data: float) -> Tensor:
    """``r² = σ²σ_d²/(σ² + α²σ_d²)``: the posterior variance, in units of Σ, of data ``N(·, σ_d² Σ)``.

    Song et al., *Pseudoinverse-guided diffusion models*, 2023, sec. 3.2 (with σ_d = 1, α = 1).
    """
    alpha, sigma = prediction.alpha, prediction.sigma
    return (sigma * sigma_data) ** 2 / (sigma**2 + (alpha * sigma_data) ** 2)


@dataclass(frozen=True)
class Local:
    """A denoised estimate with its derivatives at one state, for one call of a guide.

    Args:
        prediction: what the denoiser said.
        x: the state it was asked at, which its estimate is connected to.
        space: the batch.
        outer: somebody differentiates through this guide: a likelihood, or another guide around it.
    """

    prediction: Prediction
    x: Tensor
    space: Space
    outer: bool

    @classmethod
    def at(cls, denoise: Denoise, x: Tensor, t: Tensor, space: Space) -> Local:
        """Call the denoiser with gradients on.

        Args:
            denoise: ``denoise(x, t) -> Prediction``.
            x: a state of ``space``; where it carries a graph, so does all that follows.
            t: time, scalar or ``(B,)``.
            space: the batch.

        Raises:
            ValueError: the estimate carries no gradient (the denoiser switched it off).
        """
        # The state's own graph must not be cut.
        outer = wanted(x)
        with torch.enable_grad():
            leaf = x if outer else x.detach().requires_grad_()
            prediction = denoise(leaf, t)
        if not prediction.x0.requires_grad:
            raise ValueError(
                "this guide differentiates the denoiser, but its estimate carries no gradient; "
                "remove no_grad or detach from the denoiser, or use a guide without gradients"
            )
        return cls(prediction, leaf, space, outer)

    @property
    def x0(self) -> Tensor:
        """The estimate; without its graph unless somebody differentiates through this guide."""
        return self.prediction.x0 if self.outer else self.prediction.x0.detach()

    def covariance(self, v: Tensor) -> Tensor:
        """``Cov[x_0 | x] v = (σ²/α) Σ (∂D/∂x)ᵀ v``: one vector–Jacobian product.

        Args:
            v: shaped as a state.
        """
        graph = self.outer and torch.is_grad_enabled()
        (pulled,) = torch.autograd.grad(self.prediction.x0, self.x, v, retain_graph=True, create_graph=graph)
        return tweedie_gain(self.prediction) * covariance(self.space, pulled)

    def moved(self, shift: Tensor) -> Prediction:
        """The prediction with its estimate moved.

        Args:
            shift: shaped as a state.
        """
        p = self.prediction
        return Prediction(self.x0 + shift, p.x if self.outer else p.x.detach(), p.alpha, p.sigma)
