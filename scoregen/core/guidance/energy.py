"""Guidance by the gradient of an energy: properties, potentials, classifiers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoise, Prediction
from ..space import Space
from .local import Local, Weight, check_weight, covariance, prior_variance, spread, tweedie_gain, wanted

GRADIENTS = ("reconstruction", "stopped", "state")


@dataclass(frozen=True)
class EnergyGuidance:
    r"""Samples of ``p(x_0) e^{−w E(x_0)}``, to the approximation named below.

    The noised tilted density is ``p_t(x) E[e^{−wE(x_0)} | x]``; its score adds ``−∇_x E_t(x)`` with
    ``E_t = −log E[e^{−wE(x_0)} | x]`` to the model's, and by Tweedie's formula (see
    :mod:`scoregen.core.guidance.local`) the estimate becomes

    .. math::  D(x) − \frac{σ²}{α}\, Σ\, ∇_x E_t(x).

    ``gradient`` says what stands for E_t:

    * ``"reconstruction"``: ``E_t ≈ w E(D(x))``, differentiated through the network (Chung et al. 2023; Bansal
      et al. 2023). The shift is ``−w Cov[x_0|x] ∇E(D)``: exact for Gaussian data and a linear energy.
    * ``"stopped"``: the same without the network's Jacobian, ``Cov[x_0|x] ≈ r² Σ`` with
      ``r² = σ²σ_d²/(σ² + α²σ_d²)``: no backward pass, exact where the data is ``N(·, σ_d² Σ)``.
    * ``"state"``: the user's ``energy(x, t)`` is E_t itself, made for noisy states (classifier guidance with
      ``E = −log p(c|x, t)``; Dhariwal & Nichol 2021). Exact if that energy is. Where α = 0 the state
      carries no signal and this and the first are switched off.

    Each sample's energy must depend on that sample alone. Works on every space; the shift lies in the
    projected subspace because Σ does. The guided denoiser is differentiable in the state, for likelihoods and
    for guides around this one; that takes second derivatives of the energy, and for ``"reconstruction"`` of
    the network.

    Args:
        energy: ``energy(x0) -> (B,)``, or ``energy(x, t) -> (B,)`` for ``"state"``; differentiable, in the
            units of a log-probability (nats).
        space: the batch.
        strength: w; a number, ``(B,)``, or a function of time. For ``"state"`` it scales E_t.
        gradient: ``"reconstruction"``, ``"stopped"`` or ``"state"``.
        sigma_data: σ_d of ``"stopped"``: standard deviation of the data in units of the shaped noise.

    Raises:
        ValueError: unknown ``gradient``, ``sigma_data <= 0``, a strength of the wrong shape; when called:
            energies that are not ``(B,)`` or not connected to their argument, or a denoiser without gradient.
    """

    energy: Callable[..., Tensor]
    space: Space
    strength: Weight = 1.0
    gradient: str = "reconstruction"
    sigma_data: float = 1.0

    def __post_init__(self) -> None:
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient '{self.gradient}' is not one of {', '.join(GRADIENTS)}")
        if not self.sigma_data > 0:
            raise ValueError(f"sigma_data must be positive, got {self.sigma_data}")
        check_weight("strength", self.strength, self.space)

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap a denoiser."""

        def through(x: Tensor, t: Tensor) -> Prediction:
            local = Local.at(denoise, x, t, self.space)
            force = self._force(local.x0)
            return local.moved(-spread(self.strength, t, self.space, x) * local.covariance(force))

        def beside(x: Tensor, t: Tensor) -> Prediction:
            p = denoise(x, t)
            state = self.gradient == "state"
            force = self._force(x, t) if state else self._force(p.x0)
            gain = tweedie_gain(p) if state else prior_variance(p, self.sigma_data)
            shift = spread(self.strength, t, self.space, x) * gain * covariance(self.space, force)
            return Prediction(p.x0 - shift, p.x, p.alpha, p.sigma)

        return through if self.gradient == "reconstruction" else beside

    def _force(self, at: Tensor, *time: Tensor) -> Tensor:
        """``∇E`` at a state, each sample for itself; differentiable where the state is."""
        graph = wanted(at)
        with torch.enable_grad():
            leaf = at if graph else at.detach().requires_grad_()
            energies = self.energy(leaf, *time)
            if tuple(energies.shape) != (self.space.size,):
                raise ValueError(
                    f"an energy must give one value for each of the {self.space.size} samples, "
                    f"got shape {tuple(energies.shape)}"
                )
            if not energies.requires_grad:
                raise ValueError("the energy carries no gradient; it must be differentiable in its argument")
            (force,) = torch.autograd.grad(energies.sum(), leaf, create_graph=graph)
        return force
