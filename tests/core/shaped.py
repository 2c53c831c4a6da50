"""Gaussian mixtures on projected, shaped spaces: exact denoiser and density, for the likelihood tests.

Component k has mean ``μ_k`` and covariance ``C_k = R_k Λ_k R_kᵀ`` where ``Σ = R_k R_kᵀ`` is the covariance
of the noise: any covariance can be written so (diagonalise it in the whitened space). Then
``x = α x_0 + σ n`` has covariance ``R_k (α²Λ_k + σ²) R_kᵀ``, and with ``U_kᵀ R_k = 1`` the posterior mean of
the component is ``μ_k + R_k αΛ_k/(α²Λ_k + σ²) U_kᵀ(x − αμ_k)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scoregen.core import SDE, FactorSpace, Prediction


@dataclass(frozen=True)
class ShapedMixture:
    """K components over flattened samples of length d, of which r directions count.

    Args:
        sde: the process.
        logits: log weights ``(K,)``.
        means: ``(K, d)``, in the projected space.
        variances: Λ, ``(K, r)``, in the whitened space.
        roots, inverses: R and U, ``(K, d, r)``.
        log_volume: log pseudo-determinant of Σ.
    """

    sde: SDE
    logits: Tensor
    means: Tensor
    variances: Tensor
    roots: Tensor
    inverses: Tensor
    log_volume: float

    def _parts(self, rows: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Joint log densities ``(B, K)``, whitened deviations ``(B, K, r)``, variances ``(B, K, r)``."""
        alpha, sigma = (v.expand(len(rows))[:, None, None] for v in self.sde.marginal(t))
        white = torch.einsum("kdr,bkd->bkr", self.inverses, rows[:, None] - alpha * self.means)
        variance = alpha**2 * self.variances + sigma**2
        volume = variance.log().sum(-1) + self.log_volume + white.shape[-1] * math.log(2 * math.pi)
        log = -0.5 * ((white**2 / variance).sum(-1) + volume)
        return log + torch.log_softmax(self.logits, 0), white, variance

    def denoise(self, x: Tensor, t: Tensor) -> Prediction:
        rows = x.reshape(-1, self.means.shape[1])
        log, white, variance = self._parts(rows, t)
        alpha, sigma = (v.expand(len(rows)) for v in self.sde.marginal(t))
        shift = alpha[:, None, None] * self.variances / variance * white
        each = self.means + torch.einsum("kdr,bkr->bkd", self.roots, shift)
        x0 = (torch.softmax(log, 1)[..., None] * each).sum(1)
        wide = (v[:, None].expand_as(rows).reshape(x.shape) for v in (alpha, sigma))
        return Prediction(x0.reshape(x.shape), x, *wide)

    def log_prob(self, x: Tensor, t: float) -> Tensor:
        """Exact log density of states at ``t``, ``(B,)``."""
        rows = x.reshape(-1, self.means.shape[1])
        return self._parts(rows, torch.tensor(t, dtype=torch.float64))[0].logsumexp(1)

    def draw(self, count: int, t: float, seed: int = 0) -> Tensor:
        """Exact samples at time ``t``, ``(count, d)``."""
        g = torch.Generator().manual_seed(seed)
        alpha, sigma = self.sde.marginal(torch.tensor(t, dtype=torch.float64))
        k = torch.multinomial(torch.softmax(self.logits, 0), count, replacement=True, generator=g)
        z = torch.randn(count, self.variances.shape[1], dtype=torch.float64, generator=g)
        width = (alpha**2 * self.variances[k] + sigma**2).sqrt()
        return alpha * self.means[k] + torch.einsum("bdr,br->bd", self.roots[k], width * z)


def from_covariances(
    sde: SDE, means: Tensor, covariances: Tensor, factor: Tensor, inverse: Tensor, rank: int
) -> ShapedMixture:
    """From covariances ``(K, d, d)`` and the symmetric factor of Σ and its pseudo-inverse ``(d, d)``."""
    # A common multiple of the identity on the range of Σ sorts its null directions before all others.
    values, vectors = torch.linalg.eigh(inverse @ covariances @ inverse + factor @ inverse)
    return ShapedMixture(
        sde,
        torch.linspace(0.3, -0.3, len(means), dtype=torch.float64),
        means,
        values[:, -rank:] - 1,
        factor @ vectors[:, :, -rank:],
        inverse @ vectors[:, :, -rank:],
        float(2 * torch.linalg.eigvalsh(factor)[-rank:].log().sum()),
    )


def plain(sde: SDE, width: int = 2) -> ShapedMixture:
    """Three components of different widths and orientations, identity noise."""
    g = torch.Generator().manual_seed(7)
    root = torch.randn(3, width, width, dtype=torch.float64, generator=g) * 0.25
    means = torch.randn(3, width, dtype=torch.float64, generator=g) * 1.5
    floor = torch.tensor([0.02, 0.1, 0.4], dtype=torch.float64)[:, None, None]
    identity = torch.eye(width, dtype=torch.float64)
    return from_covariances(sde, means, root @ root.mT + floor * identity, identity, identity, width)


def connected_graph(n: int, seed: int) -> Tensor:
    """Laplacian of a random connected graph: a random tree and n/3 more edges, ``(n, n)``."""
    g = torch.Generator().manual_seed(seed)
    edges = [(i, int(torch.randint(i, (1,), generator=g))) for i in range(1, n)]
    edges += [tuple(torch.randperm(n, generator=g)[:2].tolist()) for _ in range(n // 3)]
    adjacency = torch.zeros(n, n, dtype=torch.float64)
    for i, j in edges:
        adjacency[i, j] = adjacency[j, i] = 1.0
    return adjacency.sum(0).diag() - adjacency


def graph_space(size: int, n: int = 12, seed: int = 3) -> FactorSpace:
    """``size`` copies of a random connected graph with noise of covariance ``L⁺ ⊗ I_3``, float64."""
    values, vectors = torch.linalg.eigh(connected_graph(n, seed))
    values, vectors = values[1:], vectors[:, 1:]
    return FactorSpace(
        torch.arange(size).repeat_interleave(n),
        size,
        3,
        center=True,
        dtype=torch.float64,
        factor=((vectors / values.sqrt()) @ vectors.T).expand(size, n, n),
        inverse=((vectors * values.sqrt()) @ vectors.T).expand(size, n, n),
        log_det=-values.log().sum().expand(size),
    )


def on_graph(sde: SDE, components: int = 1, scale: float = 0.8, *, shaped: bool = False) -> ShapedMixture:
    """Data on :func:`graph_space`: covariance ``scale²Σ`` when shaped, else unlike Σ and mixing the axes."""
    batch, axes = graph_space(1), torch.eye(3, dtype=torch.float64)
    factor, inverse = (torch.kron(m[0], axes) for m in (batch.factor, batch.inverse))
    d = len(factor)
    project = factor @ inverse
    g = torch.Generator().manual_seed(11)
    root = torch.randn(components, d, d, dtype=torch.float64, generator=g) / d**0.5
    free = scale**2 * (root @ root.mT) + 0.05 * torch.eye(d, dtype=torch.float64)
    covariances = (
        scale**2 * (factor @ factor).expand(components, d, d) if shaped else project @ free @ project
    )
    means = torch.randn(components, d, dtype=torch.float64, generator=g) @ project
    return from_covariances(sde, means - means.mean(0), covariances, factor, inverse, d - 3)
