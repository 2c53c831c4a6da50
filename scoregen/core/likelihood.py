r"""Log-density through the probability-flow ODE.

Along the flow the log-density changes by the divergence of the velocity (Chen et al., *Neural ODEs*, 2018,
eq. 8; Song et al. 2021, eq. 39). In the unit state ``y`` and angle φ of :mod:`~scoregen.core.flow`,

.. math::  \log p(x) = \log p_{\max}(y_{\max}) + ∫_{φ}^{φ_{\max}} ∇·\frac{dy}{dφ}\,dφ − \mathrm{dof}·\log r,
           \qquad  ∇·\frac{dy}{dφ} = \frac{\mathrm{dof}·\cos φ − r\, \mathrm{tr}(P\,∂\hat x_0/∂x\,P)}{\sin φ}.

The linear part is known; only the trace of the network's Jacobian is computed, exactly (one backward pass
per element of the longest sample) or by Hutchinson's estimator (*A stochastic estimator of the trace*, 1990;
Grathwohl et al., *FFJORD*, 2019) with probes fixed along the trajectory. Probes live in the whitened
metric, where the Jacobian of an exact denoiser is symmetric and the estimator's variance is least.

Everything is per sample: the step control too, and the projection P, so that a density is always with
respect to Lebesgue measure on the projected space, of dimension ``space.dof()``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .denoiser import Denoise
from .fields import ProductSpace
from .flow import ProbabilityFlow, flow_between
from .grid import Grid
from .noise import Noise
from .ode import integrate, integrate_fixed
from .sde import SDE
from .space import Space

PROBES = ("rademacher", "gaussian")
Prior = Callable[[Tensor], Tensor]
STAGE = 254  # of the keyed noise, kept for probes; the step is the number of the probe


@dataclass(frozen=True)
class Likelihood:
    """A log-density and how well it is known.

    Args:
        log_prob: nats, float64 ``(B,)``; the mean over the probes.
        error: standard error of that mean over the probes, ``(B,)``: 0 with the exact divergence, NaN with a
            single probe.
        latent: the state at ``t_max`` that the sample flows to.
        calls: network calls (each with its backward passes) each sample needed, ``(B,)``.
    """

    log_prob: Tensor
    error: Tensor
    latent: Tensor
    calls: Tensor


def log_prob(
    denoise: Denoise,
    sde: SDE,
    x: Tensor,
    space: Space,
    *,
    probes: int = 1,
    exact: bool = False,
    probe: str = "rademacher",
    noise: Noise | None = None,
    grid: Grid | None = None,
    sigma_data: float = 0.0,
    prior: Prior | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
) -> Tensor:
    """Log-density of the model at ``x``, in nats, float64 ``(B,)``.

    Arguments and errors as in :func:`log_likelihood`, which also says how sure the estimate is.
    """
    return log_likelihood(
        denoise,
        sde,
        x,
        space,
        probes=probes,
        exact=exact,
        probe=probe,
        noise=noise,
        grid=grid,
        sigma_data=sigma_data,
        prior=prior,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
    ).log_prob


@torch.no_grad()
def log_likelihood(
    denoise: Denoise,
    sde: SDE,
    x: Tensor,
    space: Space,
    *,
    probes: int = 1,
    exact: bool = False,
    probe: str = "rademacher",
    noise: Noise | None = None,
    grid: Grid | None = None,
    sigma_data: float = 0.0,
    prior: Prior | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
) -> Likelihood:
    r"""Log-density at ``x`` of the process at ``t_min`` (or where the grid ends), through its ODE.

    A guided denoiser gives the density of what the guided flow samples. All guides of
    :mod:`scoregen.core.guidance` are differentiable in the state, whole correction included; those that
    differentiate the network themselves (energies, inpainting, inverse problems) then take second derivatives
    of it, which PyTorch refuses with an error where an operation has none. In a guide of one's own the
    correction must not be cut off (``detach``, ``no_grad``): its divergence would be missing, unseen.

    Args:
        denoise: ``denoise(x, t) -> Prediction``; a function of its arguments alone (no self-conditioning on
            earlier calls) whose ``x0`` is differentiable in x. Times are ``(B,)``.
        sde: the process.
        x: a state of ``space``, read as one at ``t_min``: data with the last of the noise.
        space: the batch.
        probes: how many probes of Hutchinson's estimator; one backward pass each.
        exact: the exact trace instead: as many backward passes as the longest sample has elements.
        probe: law of the probes, ``"rademacher"`` (smaller variance) or ``"gaussian"``.
        noise: keys of the probes. The default keys them by place in the batch; give ids for a result that
            does not depend on the batch.
        grid: fixed steps of the classical Runge–Kutta rule (four calls each) between the grid's times
            instead of adaptive ones; it must end before σ = 0.
        sigma_data: standard deviation of the whitened data. The prior is ``N(0, (σ² + α²·sigma_data²) Σ)``
            at ``t_max``: with the default 0 what is left of the data there is ignored, which costs about
            ``½·dof·(α·sigma_data/σ)²`` nats, and a data mean μ about ``α|μ|/σ``; exact where α = 0.
        prior: log-density of the states at ``t_max`` where it is known better: a state to nats ``(B,)``.
        rtol, atol, max_steps: of the adaptive steps; they bound the error in the log-density too.

    Returns:
        The :class:`Likelihood`.

    Raises:
        ValueError: a state of the wrong shape, no probes, an unknown law, a negative ``sigma_data``, a
            grid of another process or one that ends at σ = 0, tolerances out of range, or a denoiser whose
            estimate carries no gradient (decorated with ``no_grad``?).
        IntegrationError: a sample did not arrive.
    """
    if x.shape != space.zeros().shape:
        raise ValueError(
            f"a state of this space has shape {tuple(space.zeros().shape)}, got {tuple(x.shape)}"
        )
    if not exact and probes < 1:
        raise ValueError(f"probes must be at least 1, got {probes}")
    if probe not in PROBES:
        raise ValueError(f"probe '{probe}' is not one of {', '.join(PROBES)}")
    if sigma_data < 0:
        raise ValueError(f"sigma_data must not be negative, got {sigma_data}")
    if grid is not None and grid.sde != sde:
        raise ValueError("the grid was made for another process")
    low, high = (sde.t_min, sde.t_max) if grid is None else (float(grid.times[-1]), float(grid.times[0]))
    flow = flow_between(denoise, sde, space, low, high)
    pairs: Exact | Hutchinson
    if exact:
        pairs = Exact(space)
    else:
        keys = Noise(0, torch.arange(space.size)) if noise is None else noise
        pairs = Hutchinson(space, keys, probes, gaussian=probe == "gaussian")
    diverging = Diverging(flow, pairs)
    first, last = flow.at(flow.start), flow.at(flow.end)
    y = space.project(x) / space.expand(first.radius.to(x), x)
    begin = torch.zeros(space.size, pairs.scalars, dtype=torch.float64, device=x.device)
    if grid is None:
        angles = flow.angle(flow.start), flow.angle(flow.end)
        done = integrate(
            diverging, y, *angles, space, rtol=rtol, atol=atol, max_steps=max_steps, scalars=begin
        )
    else:
        times = [flow.angle(torch.full_like(flow.start, float(t))) for t in grid.times.flip(0)]
        done = integrate_fixed(diverging, y, times, space, scalars=begin)
    latent = space.expand(last.radius.to(x), x) * done.x
    if prior is None:
        width = last.radius * (last.sin**2 + (last.cos * sigma_data) ** 2).sqrt()
        top = gaussian_log_density(space, latent, width)
    else:
        top = prior(latent).to(torch.float64)
    # The density of x = r y is that of y over r^dof, at both ends.
    values = (top + degrees(space, (last.radius / first.radius).log()))[:, None] + done.scalars
    error = torch.zeros_like(top)
    if not exact:
        error = values.std(1) / math.sqrt(probes) if probes > 1 else torch.full_like(top, torch.nan)
    return Likelihood(values.mean(1), error, latent, done.calls)


def gaussian_log_density(space: Space, x: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    r"""Log-density of ``N(0, scale² Σ)`` on the projected space, nats, float64 ``(B,)``.

    Args:
        space: the batch; Σ is its noise covariance.
        x: a state.
        scale: positive, scalar, ``(B,)``, or ``(B, F)`` for a product of F fields.
    """
    scale = torch.as_tensor(scale, dtype=torch.float64, device=x.device)
    scale = scale.expand(space.size) if scale.ndim == 0 else scale
    white = space.whiten(x) / space.expand(scale.to(x.dtype), x)
    square = space.sum(white.square()).to(torch.float64)
    log_volume = space.dof() * math.log(2 * math.pi) + space.logdet() + 2 * degrees(space, scale.log())
    return -0.5 * (square + log_volume)


def bits_per_dim(log_prob: Tensor, dof: Tensor, bin_width: float = 1.0) -> Tensor:
    """Bits per degree of freedom, ``(B,)``: ``−(log p/dof + log bin_width)/log 2``.

    Args:
        log_prob: nats, ``(B,)``.
        dof: degrees of freedom, ``(B,)``, as from ``space.dof()``.
        bin_width: distance of neighbouring values of data that was quantised and dequantised uniformly (Theis
            et al. 2016), in the units of the state: 2/256 for bytes scaled to [−1, 1]. At 1 the result is a
            differential entropy in bits and may be negative.

    Raises:
        ValueError: a sample without degrees of freedom, or a width that is not positive.
    """
    if not bin_width > 0:
        raise ValueError(f"bin_width must be positive, got {bin_width}")
    if bool((dof <= 0).any()):
        raise ValueError("bits per dimension are undefined for a sample without degrees of freedom")
    return -(log_prob / dof + math.log(bin_width)) / math.log(2)


def degrees(space: Space, value: Tensor) -> Tensor:
    """Sum of a value over the degrees of freedom of each sample, float64 ``(B,)``.

    Args:
        space: the batch.
        value: ``(B,)``, or ``(B, F)`` for a product of F fields.

    Raises:
        ValueError: one value a field for a space without fields.
    """
    if value.ndim == 1:
        return space.dof() * value
    if not isinstance(space, ProductSpace):
        raise ValueError("a process of several fields needs a ProductSpace")
    dof = torch.stack([part.dof() for part in space.fields.values()], -1)
    return (dof * value).sum(-1)


def probe_of(space: Space, normal: Tensor, *, gaussian: bool) -> Tensor:
    """A probe with ``E[z zᵀ] = P`` and ``|z|² = dof`` in each sample (and field of a product); a state.

    Args:
        space: the batch.
        normal: standard normals shaped as a state; their signs make the Rademacher probe.
        gaussian: keep the normals instead of their signs.
    """
    if isinstance(space, ProductSpace):
        parts = space.unpack(normal)
        each = {name: probe_of(part, parts[name], gaussian=gaussian) for name, part in space.fields.items()}
        return space.pack(each)
    z = space.project(normal)
    if not gaussian:
        signs = space.project(torch.where(normal >= 0, 1.0, -1.0).to(normal.dtype))
        # Equal signs everywhere are nothing but a mean: where that is projected out the normals step in.
        lost = space.sum(signs.square()) < 1e-6
        z = torch.where(space.expand(lost, z), z, signs)
    # A sample without degrees of freedom has z = 0 and keeps it.
    square = space.sum(z.square()).clamp(min=torch.finfo(z.dtype).tiny)
    return z * space.expand((space.dof().to(z.dtype) / square).sqrt(), z)


class Exact:
    """Cotangents and tangents that pick out the trace on the projected space, one basis vector at a time."""

    scalars = 1

    def __init__(self, space: Space):
        like = space.zeros()
        sample, index = space.positions()
        width = like.numel() // max(len(sample), 1)
        inner = torch.arange(width, device=like.device)
        self.place = (index[:, None] * width + inner).reshape(like.shape)
        self.count, self.space = space.longest * width, space

    def pair(self, k: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Basis vector ``k`` of every sample, projected, as cotangent and tangent; states."""
        basis = self.space.project((self.place == k).to(like.dtype))
        return basis, basis

    def gather(self, terms: list[Tensor]) -> Tensor:
        """The trace ``(B, 1)`` from the products ``(B,)`` of all pairs: their sum."""
        return torch.stack(terms).sum(0)[:, None]


class Hutchinson:
    """Random probes ``z`` in the whitened metric: cotangent ``Σ^{−½} z``, tangent ``Σ^{½} z``.

    Each probe is projected and scaled to ``|z|² = dof`` (in each field of a product), so the trace of a
    multiple of the identity is exact; what is left to chance is only how the Jacobian differs from one. The
    estimate stays unbiased: a scaled Gaussian is uniform on the sphere of the projected space, and a scaled
    Rademacher probe keeps ``E[z zᵀ] = P`` wherever P treats elements alike, as masks and centring do. For a
    space of one's own with another projection take Gaussian probes.
    """

    def __init__(self, space: Space, noise: Noise, probes: int, *, gaussian: bool):
        self.count = self.scalars = probes
        self.pairs = []
        for k in range(probes):
            z = probe_of(space, noise.white(space, k, STAGE), gaussian=gaussian)
            self.pairs.append((space.whiten(z), space.color(z)))

    def pair(self, k: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cotangent and tangent of probe ``k``, typed as ``like``; states."""
        left, right = self.pairs[k]
        return left.to(like.dtype), right.to(like.dtype)

    def gather(self, terms: list[Tensor]) -> Tensor:
        """One estimate of the trace a probe, ``(B, probes)``, from the products ``(B,)``."""
        return torch.stack(terms, dim=1)


@dataclass(frozen=True)
class Diverging:
    """The velocity of the flow together with its divergence, ``(B, 1)`` or one column a probe."""

    flow: ProbabilityFlow
    pairs: Exact | Hutchinson

    def __call__(self, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """``dy/dφ`` (a state) and its divergence at unit states and angles ``(B,)``.

        Raises:
            ValueError: the denoised estimate carries no gradient.
        """
        flow, space = self.flow, self.flow.space
        at = flow.place(angle)
        radius = space.expand(at.radius.to(y), y)
        with torch.enable_grad():
            x = (radius * y).requires_grad_()
            x0 = flow.denoise(x, at.t).x0
        if not x0.requires_grad:
            raise ValueError("the denoised estimate carries no gradient in x; the likelihood needs one")
        weight = at.rate / at.sin
        factor, terms = space.expand(weight.to(y), y), []
        for k in range(self.pairs.count):
            left, right = self.pairs.pair(k, y)
            keep = k + 1 < self.pairs.count
            (pulled,) = torch.autograd.grad(
                x0, x, factor * left, retain_graph=keep, allow_unused=True, materialize_grads=True
            )
            terms.append(space.sum(pulled * (radius * right)).to(torch.float64))
        linear = degrees(space, weight * at.cos)[:, None]
        return flow.slope(y, x0.detach(), at), linear - self.pairs.gather(terms)
