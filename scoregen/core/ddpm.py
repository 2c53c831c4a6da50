r"""Discrete-time DDPM as a view of a continuous variance-preserving process.

A DDPM (Ho, Jain & Abbeel 2020) is a chain ``x_k = √(1−β_k) x_{k−1} + √β_k n``, ``k = 1 … N``, with marginals
``α_k = √ᾱ_k``, ``ᾱ_k = Π (1 − β_j)``. Its marginals at whole numbers are all that a solver asks for, so the
chain is a process like any other whose time is the step number: :class:`DDPM` lets every solver here sample
a network trained on the chain, and :func:`betas_of` gives the chain that a continuous process runs at N
steps, so that a network trained here can be sampled by DDPM code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoise, Prediction, estimate_from, per_sample
from .grid import Grid
from .sde import SDE, SDES, Schedule, as_float64
from .space import Space


@dataclass(frozen=True)
class DDPM(Schedule):
    r"""A chain of N steps as a process over ``t ∈ [0, N]``; whole times are the chain's own levels.

    Between two of them α is linear in t: any monotone path gives the same probability-flow curve.

    Args:
        betas: β_1 … β_N, each in (0, 1); a last β of exactly 1 (zero terminal SNR) is allowed.

    Raises:
        ValueError: no β, or one outside (0, 1].
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        if not self.betas:
            raise ValueError("a DDPM needs at least one beta")
        for k, beta in enumerate(self.betas, start=1):
            if not (0 < beta < 1 or (beta == 1 and k == len(self.betas))):
                raise ValueError(f"beta {k} is {beta}; betas lie in (0, 1), only the last may be 1")
        log_alpha = [0.0]
        for beta in self.betas:
            log_alpha.append(log_alpha[-1] + 0.5 * math.log1p(-beta) if beta < 1 else -math.inf)
        # 1 − α, which stays exact where α rounds to 1.
        object.__setattr__(self, "_loss", -torch.expm1(torch.tensor(log_alpha, dtype=torch.float64)))

    @property
    def t_min(self) -> float:
        """The chain's first level."""
        return 1.0

    @property
    def t_max(self) -> float:
        """The time at which sampling starts."""
        return float(len(self.betas))

    def _knots(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Position within its interval, and ``1 − α`` at both ends of it."""
        loss: Tensor = self.__dict__["_loss"].to(t.device)
        left = t.floor().clamp(0, len(self.betas) - 1)
        return t - left, loss[left.long()], loss[left.long() + 1]

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        part, low, high = self._knots(as_float64(t))
        loss = low + part * (high - low)
        return 1 - loss, (loss * (2 - loss)).sqrt()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time derivatives on the piece to the right of ``t`` (to the left at the end)."""
        t = as_float64(t)
        _, low, high = self._knots(t)
        alpha, sigma = self.marginal(t)
        return low - high, alpha * (high - low) / sigma

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        # 1 − α from the log-SNR without cancellation: α = e^{−½ softplus(−ℓ)}.
        loss = -torch.expm1(-0.5 * torch.nn.functional.softplus(-as_float64(log_snr)))
        knots: Tensor = self.__dict__["_loss"].to(loss.device)
        left = (torch.searchsorted(knots, loss.contiguous(), right=True) - 1).clamp(0, len(self.betas) - 1)
        return left + ((loss - knots[left]) / (knots[left + 1] - knots[left])).clamp(0, 1)

    def grid(self, steps: int | None = None) -> Grid:
        """The chain's own levels as a grid, ``N … 0``, or ``steps`` of them evenly spaced ("trailing").

        Args:
            steps: number of steps, at most N; all N when omitted.

        Raises:
            ValueError: ``steps`` outside 1 … N.
        """
        most = len(self.betas)
        steps = most if steps is None else steps
        if not 1 <= steps <= most:
            raise ValueError(f"this chain has {most} steps; cannot take {steps}")
        return Grid(self, torch.linspace(most, 0, steps + 1, dtype=torch.float64).round())


SDES["ddpm"] = DDPM  # so that a configuration can name it


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> tuple[float, ...]:
    """β evenly spaced (Ho et al. 2020, sec. 4).

    Args:
        steps: length N of the chain.
        first, last: β_1 and β_N.
    """
    return tuple(torch.linspace(first, last, steps, dtype=torch.float64).tolist())


def zero_terminal_snr(betas: tuple[float, ...]) -> tuple[float, ...]:
    """The chain shifted and scaled to end in pure noise (Lin et al. 2024, algorithm 1).

    Args:
        betas: β_1 … β_N.

    Returns:
        N new values; the last is exactly 1.
    """
    alpha, _ = DDPM(betas).marginal(torch.arange(1, len(betas) + 1))
    shifted = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    kept = (shifted / torch.cat([torch.ones(1, dtype=torch.float64), shifted[:-1]])) ** 2
    return tuple((1 - kept).tolist())


def betas_of(sde: SDE, steps: int) -> tuple[float, ...]:
    """The chain that a variance-preserving process runs at N evenly spaced times up to ``t_max``.

    Args:
        sde: a process with ``α² + σ² = 1``.
        steps: length N of the chain.

    Returns:
        β_1 … β_N with ``ᾱ_k = α(t_max k/N)²``.

    Raises:
        ValueError: the process does not preserve variance.
    """
    times = torch.linspace(0, sde.t_max, steps + 1, dtype=torch.float64)[1:]
    alpha, sigma = sde.marginal(times)
    if alpha.ndim != 1 or not torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha), atol=1e-9):
        raise ValueError("only a variance-preserving process (α² + σ² = 1) is a DDPM chain")
    kept = (alpha / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])) ** 2
    return tuple((1 - kept).tolist())


def from_ddpm(
    network: Callable[[Tensor, Tensor], Tensor], chain: DDPM, space: Space, predicts: str = "eps"
) -> Denoise:
    """A network trained on the chain, for any solver over ``chain``.

    Args:
        network: ``network(x, k)`` with the zero-based step ``k = t − 1``, float32 ``(B,)``, as DDPM code
            numbers its steps (fractional between two of them).
        chain: the chain it was trained on.
        space: the batch.
        predicts: ``"eps"``, ``"x0"``, ``"v"`` or ``"score"``.

    Returns:
        ``denoise(x, t)``.

    Raises:
        ValueError: ε or score with a chain that ends in pure noise (they say nothing about the data there),
            or an unknown ``predicts``.
    """
    recover = estimate_from(predicts, chain)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        times = per_sample(t, x, space)
        return recover(network(x, (times - 1).to(torch.float32)), x, times, space)

    return denoise


def to_ddpm(denoise: Callable[[Tensor, Tensor], Prediction], sde: SDE, steps: int) -> Callable[..., Any]:
    """A denoiser of a variance-preserving process, as the ε-network of the chain :func:`betas_of` gives.

    Args:
        denoise: ``denoise(x, t)``.
        sde: its process.
        steps: length N of the chain.

    Returns:
        ``network(x, k)`` giving ε for the zero-based step ``k``, a number or ``(B,)``.
    """

    def network(x: Tensor, k: Tensor | float) -> Tensor:
        return denoise(x, (as_float64(k) + 1) * (sde.t_max / steps)).eps

    return network
