r"""Which noise levels a network is trained on, and how much each one counts.

A loss over noise levels is ``E_{t∼p}[w(t) ‖x̂_0 − x_0‖²]``: a *time sampler* is p, a *weight* is w. Only
their product decides what is learned; how it is split decides the variance of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from .sde import SDE, end_log_snr


class TimeSampler(Protocol):
    """Maps uniforms in (0, 1] to training times."""

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        """``(B,)`` uniforms to ``(B,)`` float64 times."""


class DensitySampler(TimeSampler, Protocol):
    """A time sampler whose density is known, so that a weight can divide by it."""

    def density(self, t: Tensor, sde: SDE) -> Tensor:
        """Probability density of the time ``t``, shaped as ``t``, float64."""


@dataclass(frozen=True)
class LogNormalTimes:
    """``log(σ/α) ∼ N(mean, std²)`` clipped to the process's range (Karras et al. 2022, table 1)."""

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        """``(B,)`` uniforms to ``(B,)`` float64 times."""
        inside = uniform.clamp(1e-12, 1 - 1e-12)
        log_ratio = self.mean + self.std * torch.special.ndtri(inside)
        return sde.time(-2 * log_ratio).clamp(sde.t_min, sde.t_max)


@dataclass(frozen=True)
class UniformTimes:
    """Times uniform over ``[t_min, t_max]`` (Song et al. 2021)."""

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        """``(B,)`` uniforms to ``(B,)`` float64 times."""
        return sde.t_min + uniform * (sde.t_max - sde.t_min)

    def density(self, t: Tensor, sde: SDE) -> Tensor:
        """``1/(t_max − t_min)``, shaped as ``t``."""
        return torch.full_like(t, 1 / (sde.t_max - sde.t_min))


@dataclass(frozen=True)
class LogSNRTimes:
    r"""Times uniform in log-SNR: the importance sampler of the likelihood bound.

    The bound integrates ``g²/σ²``, which is ``−dℓ/dt`` for every process of this package; drawing t with that
    density leaves a constant weight on ε (Song et al., *Maximum Likelihood Training*, 2021, sec. 5.1;
    Kingma et al., *Variational Diffusion Models*, 2021, eq. 18).

    Raises:
        ValueError: when called for a process with an end of zero or infinite SNR.
    """

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        """``(B,)`` uniforms to ``(B,)`` float64 times."""
        high, low = _span(sde)
        return sde.time(high + uniform * (low - high)).clamp(sde.t_min, sde.t_max)

    def density(self, t: Tensor, sde: SDE) -> Tensor:
        """``g²(t)/σ²(t)`` over the range of log-SNR, shaped as ``t``."""
        high, low = _span(sde)
        return _first(_snr_rate(sde, t)) / (high - low)


def _span(sde: SDE) -> tuple[float, float]:
    """Log-SNR at ``t_min`` and at ``t_max``."""
    low, high = end_log_snr(sde).tolist()
    if not math.isfinite(high - low):
        raise ValueError(
            "log-SNR is infinite at an end of this process; set t_min and t_max inside its range"
        )
    return high, low


def _first(values: Tensor) -> Tensor:
    """Values ``(B,)``; of several fields, ``(B, F)``, those of the first, which leads the clock."""
    return values if values.ndim == 1 else values[:, 0]


def _snr_rate(sde: SDE, t: Tensor) -> Tensor:
    """``−dℓ/dt = g²/σ² = 2(σ'/σ − α'/α)``, shaped as ``t``; ``(B, F)`` for F fields."""
    (alpha, sigma), (alpha_rate, sigma_rate) = sde.marginal(t), sde.rates(t)
    return 2 * (sigma_rate / sigma - alpha_rate / alpha)


@dataclass(frozen=True)
class Stratified:
    """One uniform from each of B equal strata instead of B free ones: the same law, less variance.

    Sample ``i`` of a batch draws from stratum ``i``, so batches must come in random order.
    """

    times: TimeSampler

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        """``(B,)`` uniforms to ``(B,)`` float64 times."""
        ranks = torch.arange(len(uniform), dtype=uniform.dtype, device=uniform.device)
        return self.times((ranks + uniform) / len(uniform), sde)


Weight = Callable[[Tensor, Tensor], Tensor]
"""``weight(alpha, sigma)``: float64 ``(B,)`` each to ``(B,)``; ``(B, F)`` for a product of F fields."""


@dataclass(frozen=True)
class EDMWeight:
    """``1/c_out²``: levels contribute about equally at the start (Karras et al. 2022, app. B.6).

    Args:
        sigma_data: as the denoiser's; one value a field for a product.
    """

    sigma_data: float | Sequence[float] = 1.0

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The weight of each level, shaped as ``sigma``."""
        spread: float | Tensor
        if isinstance(self.sigma_data, int | float):
            spread = self.sigma_data
        else:
            spread = torch.tensor(self.sigma_data, dtype=sigma.dtype, device=sigma.device)
        return (sigma**2 + (alpha * spread) ** 2) / (sigma * spread) ** 2


@dataclass(frozen=True)
class SNRWeight:
    """``α²/σ²``: the plain loss on ε (Ho et al. 2020) written for x_0."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The weight of each level, shaped as ``sigma``."""
        return (alpha / sigma) ** 2


@dataclass(frozen=True)
class MinSNRWeight:
    """``min(α²/σ², γ)``: the loss on ε without its excess of easy levels (Hang et al. 2023, eq. 9).

    Args:
        gamma: ceiling of the weight; 5 in the paper.

    Raises:
        ValueError: γ is not positive.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not self.gamma > 0:
            raise ValueError(f"gamma must be positive, got {self.gamma}")

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The weight of each level, shaped as ``sigma``."""
        return ((alpha / sigma) ** 2).clamp_max(self.gamma)


@dataclass(frozen=True)
class UniformWeight:
    """1: the plain loss on x_0."""

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The weight of each level, shaped as ``sigma``."""
        return torch.ones_like(sigma)


@dataclass(frozen=True)
class LikelihoodWeight:
    r"""``½ g²/σ² · α²/σ² / p(t)``: the loss is then the diffusion term of the negative log-likelihood bound.

    With ``λ(t) = g²(t)`` the score-matching loss bounds the likelihood (Song et al., *Maximum Likelihood
    Training*, 2021, theorem 1). Per degree of freedom, in nats; :class:`LogSNRTimes` has the least variance.

    Args:
        sde: the process.
        times: the sampler the loss is used with.
    """

    sde: SDE
    times: DensitySampler = LogSNRTimes()

    def __call__(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The weight of each level, shaped as ``sigma``."""
        t = self.sde.time(2 * (_first(alpha).log() - _first(sigma).log()))
        density = self.times.density(t, self.sde).reshape(-1, *[1] * (alpha.ndim - 1))
        return 0.5 * (alpha / sigma) ** 2 * _snr_rate(self.sde, t) / density


class UncertaintyWeight(nn.Module):
    r"""Learned log-variance of the loss at each noise level: ``L e^{−u} + u``.

    At its minimum ``e^u`` is the mean loss of the level, so every level pulls on the network with the same
    force (Kendall & Gal 2018; Karras et al., *Analyzing and Improving the Training Dynamics of Diffusion
    Models*, 2024). ``u`` is linear in random Fourier features of ``¼ log(σ/α)`` and starts at 0. Train it
    with the network and throw it away afterwards.

    Args:
        features: number of Fourier features.
        seed: of the fixed frequencies and phases.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, features: int = 128, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(features, generator=generator))
        self.register_buffer("phases", 2 * math.pi * torch.rand(features, generator=generator))
        self.linear = nn.Linear(features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def log_variance(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """``u`` at each level, ``(B,)``.

        Args:
            alpha, sigma: schedules, ``(B,)``; of several fields the first counts.
        """
        level = ((_first(sigma) / _first(alpha)).log().clamp(-40.0, 40.0) / 4).to(self.linear.weight.dtype)
        wave = torch.cos(level[:, None] * self.frequencies + self.phases) * math.sqrt(2.0)
        u: Tensor = self.linear(wave)[:, 0]
        return u

    def forward(self, loss: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The balanced loss of each sample.

        Args:
            loss: ``(B,)``, e.g. of :func:`scoregen.core.dsm`.
            alpha, sigma: schedules at the levels of the losses, ``(B,)``.
        """
        u = self.log_variance(alpha, sigma).to(loss.dtype)
        return loss * torch.exp(-u) + u
