"""A mixture of Gaussians, whose denoiser is known in closed form, and a two-sample test by classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scoregen.core import SDE, Prediction


@dataclass(frozen=True)
class Mixture:
    """``Σ_k w_k N(μ_k, s_k² I)`` in d dimensions and its exact denoiser for a process.

    Args:
        sde: the process.
        means: μ, ``(K, d)``.
        stds: s, ``(K,)``.
        weights: w, ``(K,)``, summing to 1.
    """

    sde: SDE
    means: Tensor
    stds: Tensor
    weights: Tensor

    def denoise(self, x: Tensor, t: Tensor) -> Prediction:
        """``E[x_0 | x]``: the components' posterior means weighted by their responsibilities."""
        alpha, sigma = (value.reshape(-1, 1) for value in self.sde.marginal(t))
        variance = alpha**2 * self.stds**2 + sigma**2  # (B or 1, K)
        gap = x[:, None] - alpha[..., None] * self.means
        log = self.weights.log() - gap.square().sum(-1) / (2 * variance) - x.shape[1] / 2 * variance.log()
        share = log.softmax(1)
        gain = alpha * self.stds**2 / variance
        x0 = share @ self.means + ((share * gain)[..., None] * gap).sum(1)
        return Prediction(x0, x, alpha, sigma)

    def sample(self, size: int, seed: int) -> Tensor:
        """Independent draws, ``(size, d)``."""
        generator = torch.Generator().manual_seed(seed)
        which = torch.multinomial(self.weights, size, replacement=True, generator=generator)
        z = torch.randn(size, self.means.shape[1], dtype=torch.float64, generator=generator)
        return self.means[which] + self.stds[which, None] * z


def five_components(sde: SDE, width: int) -> Mixture:
    """Five components, apart by several of their own widths, of unequal weight and width."""
    generator = torch.Generator().manual_seed(width)
    means = torch.randn(5, width, dtype=torch.float64, generator=generator)
    return Mixture(
        sde,
        2.0 * means / means.norm(dim=1, keepdim=True),
        torch.tensor([0.15, 0.2, 0.25, 0.3, 0.4], dtype=torch.float64),
        torch.tensor([0.3, 0.25, 0.2, 0.15, 0.1], dtype=torch.float64),
    )


def c2st(left: Tensor, right: Tensor, mixture: Mixture, seed: int = 0) -> float:
    """Accuracy of a classifier that tells ``left`` from ``right``, out of sample; 0.5 is indistinguishable.

    Logistic regression by Newton's method in two folds (Lopez-Paz & Oquab, *Revisiting classifier two-sample
    tests*, 2017), on features that know the mixture: the responsibility of each component, and within it the
    place, the squared distance and its square. It sees a lost mode, a shift, a wrong width and a wrong shape.

    Args:
        left, right: ``(N, d)`` each.
        mixture: gives the features.
    """
    x = torch.cat([left, right])
    y = torch.cat([torch.zeros(len(left)), torch.ones(len(right))]).to(x.dtype)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = x[order], y[order]
    gap = (x[:, None] - mixture.means) / mixture.stds[:, None]
    square = gap.square().sum(-1)
    width = x.shape[1]
    log = mixture.weights.log() - square / 2 - width * mixture.stds.log()
    share = log.softmax(1)
    far = ((square - width) / (2 * width) ** 0.5).clamp(-6, 6)
    parts = [share[..., None] * gap.clamp(-6, 6), (share * far)[..., None], (share * far**2)[..., None]]
    features = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), share, *(p.flatten(1) for p in parts)], 1)
    half, right_guesses = len(x) // 2, 0
    for train, test in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        weight = _logistic(features[train], y[train])
        right_guesses += int(((features[test] @ weight > 0) == (y[test] > 0.5)).sum())
    return right_guesses / len(x)


def _logistic(features: Tensor, y: Tensor, ridge: float = 1.0, rounds: int = 8) -> Tensor:
    weight = torch.zeros(features.shape[1], dtype=features.dtype)
    eye = ridge * torch.eye(features.shape[1], dtype=features.dtype)
    for _ in range(rounds):
        p = torch.sigmoid(features @ weight)
        gradient = features.T @ (p - y) + ridge * weight
        hessian = (features * (p * (1 - p))[:, None]).T @ features + eye
        weight = weight - torch.linalg.solve(hessian, gradient)
    return weight
