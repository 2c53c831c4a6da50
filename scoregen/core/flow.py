r"""The probability-flow ODE as a map between data and noise.

``dx/dt = α' x̂_0 + σ' ε̂`` (Song et al. 2021, eq. 13; Karras et al. 2022, eq. 81) is written in variables in
which both its ends are regular. With the radius ``r² = α² + σ²``, the unit state ``y = x/r`` and the angle
``φ = atan2(σ, α)`` it reads

.. math::  \frac{dy}{dφ} = −\sin φ\; x̂_0 + \cos φ\; ε̂ = \frac{\cos φ\; y − x̂_0}{\sin φ},

for every process alike: EDM from 80 to 0.002 is an interval of 1.556, no signal (α = 0) is φ = π/2, and for a
Gaussian ``y`` is an analytic function of φ. Only σ = 0 stays singular and is refused.

Fields of a product state each have their own angle; the angle of the first is the clock, as for grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .denoiser import Denoise
from .noise import Noise
from .ode import Solution, integrate
from .sampling import Guide
from .sde import SDE, as_float64
from .space import Space


@dataclass(frozen=True)
class Place:
    """The schedule at one time of each sample: ``(B,)``, or ``(B, F)`` for a product of F fields, float64.

    Args:
        t: time ``(B,)``.
        radius: ``r = √(α² + σ²)``.
        cos, sin: ``α/r`` and ``σ/r``.
        rate: ``dφ_f/dφ_0``, how fast the field's angle moves with the clock; 1 for a single field.
    """

    t: Tensor
    radius: Tensor
    cos: Tensor
    sin: Tensor
    rate: Tensor


@dataclass(frozen=True)
class ProbabilityFlow:
    """The flow between two times of each sample, in unit states and angles.

    Args:
        denoise: ``denoise(x, t) -> Prediction``.
        sde: the process.
        space: the batch.
        start, end: times ``(B,)`` float64; see :func:`flow_between`.
    """

    denoise: Denoise
    sde: SDE
    space: Space
    start: Tensor
    end: Tensor

    def angle(self, t: Tensor) -> Tensor:
        """Angle ``atan2(σ, α)`` of the (first field of the) process at times ``(B,)``."""
        alpha, sigma = self.sde.marginal(t)
        return torch.atan2(sigma, alpha).reshape(len(t), -1)[:, 0]

    def place(self, angle: Tensor) -> Place:
        """The schedule at angles ``(B,)``."""
        low, high = torch.minimum(self.start, self.end), torch.maximum(self.start, self.end)
        t = self.sde.time(-2 * angle.tan().log()).clamp(low, high)
        return self.at(t)

    def at(self, t: Tensor) -> Place:
        """The schedule at times ``(B,)``."""
        alpha, sigma = self.sde.marginal(t)
        radius = (alpha**2 + sigma**2).sqrt()
        rate = torch.ones_like(radius)
        if alpha.ndim > t.ndim:
            alpha_rate, sigma_rate = self.sde.rates(t)
            rate = (alpha * sigma_rate - sigma * alpha_rate) / radius**2
            rate = rate / rate[:, :1]
        return Place(t, radius, alpha / radius, sigma / radius, rate)

    def velocity(self, y: Tensor, angle: Tensor) -> tuple[Tensor, None]:
        """``dy/dφ`` of the unit state at angles ``(B,)``, shaped as ``y``."""
        at = self.place(angle)
        x0 = self.denoise(self.space.expand(at.radius.to(y), y) * y, at.t).x0
        return self.slope(y, x0, at), None

    def slope(self, y: Tensor, x0: Tensor, at: Place) -> Tensor:
        """``dy/dφ`` from the denoised estimate."""
        straight = self.space.expand(at.cos.to(y), y) * y - x0
        return self.space.project(self.space.expand((at.rate / at.sin).to(y), y) * straight)


def flow_between(
    denoise: Denoise, sde: SDE, space: Space, start: Tensor | float, end: Tensor | float
) -> ProbabilityFlow:
    """The flow from ``start`` to ``end``.

    Args:
        denoise: ``denoise(x, t) -> Prediction``.
        sde: the process.
        space: the batch.
        start, end: times, scalar or ``(B,)``.

    Raises:
        ValueError: a time outside ``[0, t_max]`` or not finite, or one at which a field has no noise (σ = 0).
    """
    device = space.zeros().device
    ends = []
    for t in (start, end):
        times = as_float64(t).to(device).expand(space.size)
        if not bool(((times >= 0) & (times <= sde.t_max * (1 + 1e-9))).all()):
            raise ValueError(f"times of the probability flow must lie in [0, {sde.t_max}]")
        if not bool((sde.marginal(times)[1] > 0).all()):
            raise ValueError(
                "the probability flow is singular where sigma = 0; "
                f"stop at sde.t_min = {sde.t_min:.6g} and take the denoised estimate from there"
            )
        ends.append(times)
    return ProbabilityFlow(denoise, sde, space, ends[0], ends[1])


@torch.no_grad()
def transport(
    denoise: Denoise,
    sde: SDE,
    x: Tensor,
    space: Space,
    start: Tensor | float,
    end: Tensor | float,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
) -> Solution:
    """Carry states along the probability flow from one time to another, in either direction.

    Args:
        denoise: ``denoise(x, t) -> Prediction``; called with ``(B,)`` times. A function of its arguments
            alone: self-conditioning on earlier calls would make the velocity depend on rejected steps.
        sde: the process.
        x: the states at ``start``.
        space: the batch.
        start, end: times, scalar or ``(B,)``.
        rtol, atol, max_steps: see :func:`~scoregen.core.ode.integrate`; the tolerances are in units of
            the noise, relative to ``√(α² + σ²)``.

    Returns:
        The states at ``end`` and the network calls each sample needed.

    Raises:
        ValueError: times or tolerances out of range; σ = 0 at an end.
        IntegrationError: a sample did not arrive.
    """
    flow = flow_between(denoise, sde, space, start, end)
    a, b = flow.at(flow.start), flow.at(flow.end)
    y = space.project(x) / space.expand(a.radius.to(x), x)
    done = integrate(
        flow.velocity,
        y,
        flow.angle(flow.start),
        flow.angle(flow.end),
        space,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
    )
    return Solution(space.expand(b.radius.to(x), x) * done.x, done.scalars, done.calls, done.rejected)


def encode(
    denoise: Denoise,
    sde: SDE,
    x: Tensor,
    space: Space,
    *,
    t: Tensor | float | None = None,
    to: Tensor | float | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
) -> Solution:
    """Data to latent: the state at ``to`` (``t_max``) of which ``x`` at ``t`` (``t_min``) is the end point.

    Song et al. 2021, sec. 4.3 ("manipulating latent representations"). Arguments, result and errors as in
    :func:`transport`; :func:`decode` is the inverse.
    """
    start, end = sde.t_min if t is None else t, sde.t_max if to is None else to
    return transport(denoise, sde, x, space, start, end, rtol=rtol, atol=atol, max_steps=max_steps)


def decode(
    denoise: Denoise,
    sde: SDE,
    latent: Tensor,
    space: Space,
    *,
    t: Tensor | float | None = None,
    to: Tensor | float | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
) -> Solution:
    """Latent to data: from ``t`` (``t_max``) to ``to`` (``t_min``); the inverse of :func:`encode`.

    Arguments, result and errors as in :func:`transport`.
    """
    start, end = sde.t_max if t is None else t, sde.t_min if to is None else to
    return transport(denoise, sde, latent, space, start, end, rtol=rtol, atol=atol, max_steps=max_steps)


@torch.no_grad()
def sample_ode(
    denoise: Denoise,
    sde: SDE,
    space: Space,
    *,
    noise: Noise,
    start: Tensor | None = None,
    t: Tensor | float | None = None,
    guides: Sequence[Guide] = (),
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
) -> Solution:
    """Adaptive sampling: decode the keyed noise that ``sample`` starts from, to ``t_min``.

    Args:
        denoise: ``denoise(x, t) -> Prediction``; called with ``(B,)`` times.
        sde: the process.
        space: the batch.
        noise: keyed noise; step −1 is the starting state, as in :func:`~scoregen.core.sampling.sample`.
        start: data to start from, a state of ``space``: noised to ``t``, ``α·start + σ·n``, instead of pure
            noise ``σ·n``.
        t: time to start at, scalar or ``(B,)``; ``t_max`` when omitted.
        guides: wrappers applied to ``denoise`` in order.
        rtol, atol, max_steps: as in :func:`transport`.

    Returns:
        The samples, noised to ``t_min``, and the network calls each needed.

    Raises:
        ValueError, IntegrationError: as in :func:`transport`.
    """
    for guide in guides:
        denoise = guide(denoise)
    flow = flow_between(denoise, sde, space, sde.t_max if t is None else t, sde.t_min)
    normal = noise.normal(space, -1)
    alpha, sigma = (space.expand(value.to(normal), normal) for value in sde.marginal(flow.start))
    latent = sigma * normal
    if start is not None:
        latent = latent + alpha * space.project(start)
    return decode(denoise, sde, latent, space, t=flow.start, rtol=rtol, atol=atol, max_steps=max_steps)
