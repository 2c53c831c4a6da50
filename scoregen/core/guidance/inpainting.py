"""Inpainting: part of the sample is given and stays exactly as given."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..denoiser import Denoise, Prediction
from ..space import Space
from .inverse import check_iterations, check_sigma_data, conjugate_gradients
from .local import Local, covariance, prior_variance


@dataclass(frozen=True)
class Inpainting:
    r"""Samples of ``p(x_0 | x_0 = y on the mask)``; the known part of the result equals ``y`` bit for bit.

    The known part of the estimate is the data itself. The known part of the *state* then needs no hand: with
    an estimate of y any solver carries it along ``α y + σ n``, where n is the noise that the solver itself
    drew for it, keyed as always and with the correlation to the unknown part that shaped noise asks for. On a
    grid that ends at σ = 0 the last step lands on y.

    Two methods for the unknown part:

    * ``iterations=0``: replacement (Song et al. 2021, sec. 5). The network sees the noised data
      beside the unknown part, and nothing else tells the two about each other: cheap and biased (Trippe et
      al. 2023). With :class:`~scoregen.core.solvers.Resampled` around the solver it is RePaint (Lugmayr et
      al. 2022), whose repeats reduce the bias slowly.
    * ``iterations ≥ 1`` (default): moment matching (Rozet et al. 2024) with the mask M as operator,
      ``D(x|y) = D + Cov[x_0|x] Mᵀ (M Cov[x_0|x] Mᵀ)^{−1} (y − M D)`` with the Tweedie covariance
      ``(σ²/α) Σ (∂D/∂x)ᵀ``, inverted by conjugate gradients on each sample, one backward pass of the network
      an iteration (and one more). Exact for Gaussian data, with any solver and no repeats, given as many
      iterations as the known part has distinct eigenvalues. With a trained network prefer a stochastic
      solver: it forgives the errors of the Jacobian, which an ODE keeps. How many iterations pay depends on
      that Jacobian, since each inverts more of its errors too: one network (errors of mean and covariance)
      had .12 and .07 with one and .19 and .21 with five; another, well trained on 16 correlated numbers,
      .09 and .19 with one, .02 and .08 with two, .02 and .04 with five. The default of two lies between.

    In a centred space the values must be given in the centred frame; the unknown part then takes up the rest,
    so that the estimate stays centred. When sampling starts from data (``sample(start=...)``) that data
    should hold the known values too. Put this guide last: whatever comes after may move the fixed part.

    Args:
        mask: bool, broadcastable to a state; True marks the known elements. Padding stays 0, marked or not.
        values: their values, shaped as a state; ignored (and free to be NaN) elsewhere.
        space: the batch.
        iterations: conjugate-gradient iterations, see above; 0 for plain replacement.
        sigma_data: σ_d, standard deviation of the data in units of the shaped noise; it guards the inversion
            (:func:`~scoregen.core.guidance.conjugate_gradients`) and shapes nothing.

    Raises:
        ValueError: mask not bool or not broadcastable, values of another shape or not finite where known,
            negative iterations, ``sigma_data <= 0``; when called with ``iterations ≥ 1``: a denoiser without
            gradient.
    """

    mask: Tensor
    values: Tensor
    space: Space
    iterations: int = 2
    sigma_data: float = 1.0
    _known: Tensor = field(init=False, repr=False)
    _values: Tensor = field(init=False, repr=False)
    _slack: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_iterations(self.iterations, least=0)
        check_sigma_data(self.sigma_data)
        like = self.space.zeros()
        if self.mask.dtype != torch.bool:
            raise ValueError(f"the mask must be bool, got {self.mask.dtype}")
        try:
            known = self.mask.to(like.device).broadcast_to(like.shape)
        except RuntimeError:
            shapes = f"{tuple(self.mask.shape)} does not fit a state of shape {tuple(like.shape)}"
            raise ValueError(f"a mask of shape {shapes}") from None
        if self.values.shape != like.shape:
            got = tuple(self.values.shape)
            raise ValueError(f"the values must be a state of shape {tuple(like.shape)}, got {got}")
        # An element that the projection sets to 0 whatever the state (padding, a lone centred atom) is no
        # data. Any state in general position shows which; the sine has no two elements alike.
        general = torch.arange(1, like.numel() + 1, dtype=torch.float64, device=like.device).sin()
        known = known & (self.space.project(general.reshape(like.shape)) != 0)
        values = torch.where(known, self.values.to(like), 0.0)
        if not bool(torch.isfinite(values).all()):
            raise ValueError("a known value is not finite")
        # What the projection removes must be taken up by the unknown elements alone. Removing a mean spreads
        # evenly, so the share that falls on them is what the projection removes from their indicator.
        free = (~known).to(like.dtype)
        share = free - self.space.project(free)
        slack = torch.where(share > 0, free / torch.where(share > 0, share, 1.0), 0.0)
        for name, value in {"_known": known, "_values": values, "_slack": slack}.items():
            object.__setattr__(self, name, value)

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap a denoiser."""
        return self._matched(denoise) if self.iterations else self._replaced(denoise)

    def _replaced(self, denoise: Denoise) -> Denoise:
        def guided(x: Tensor, t: Tensor) -> Prediction:
            p = denoise(x, t)
            return Prediction(self._fixed(p.x0), p.x, p.alpha, p.sigma)

        return guided

    def _matched(self, denoise: Denoise) -> Denoise:
        def guided(x: Tensor, t: Tensor) -> Prediction:
            local = Local.at(denoise, x, t, self.space)

            def matrix(v: Tensor) -> Tensor:
                return torch.where(self._known, local.covariance(v), 0.0)

            variance = prior_variance(local.prediction, self.sigma_data)

            def prior(v: Tensor) -> Tensor:
                return variance * covariance(self.space, v)

            residual = torch.where(self._known, self._values - local.x0, 0.0)
            weighted = conjugate_gradients(matrix, residual, self.space, self.iterations, prior)
            p = local.moved(local.covariance(weighted))
            return Prediction(self._fixed(p.x0), p.x, p.alpha, p.sigma)

        return guided

    def _fixed(self, x0: Tensor) -> Tensor:
        """The estimate with the data in its known part, still in the projected subspace."""
        x0 = torch.where(self._known, self._values, x0)
        return x0 - self._slack * (x0 - self.space.project(x0))
