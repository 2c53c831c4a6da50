r"""A correlated Gaussian on any space, with everything in closed form.

Data ``x_0 ∼ N(μ, C)``, C block-diagonal over the samples of the batch and inside the projected subspace;
noise of the space's own covariance Σ. With per-element schedules ``a = α`` and ``s = σ`` (diagonal matrices),

    D(x) = μ + C a (a C a + s Σ s)⁺ (x − a μ),    Cov[x_0|x] = C − C a (a C a + s Σ s)⁺ a C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scoregen.core import EDM, SDE, VP, Prediction, ProductSDE, ProductSpace, RaggedSpace, Space

from ..test_space import SPACES, factor_space, matrix, owners, random_state

F64 = torch.float64


@dataclass(frozen=True)
class Correlated:
    """The Gaussian ``N(mean, cov)`` over the flattened state of a whole batch."""

    sde: SDE
    space: Space
    mean: Tensor
    cov: Tensor
    noise_cov: Tensor

    def schedules(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ of every scalar of the flattened state."""
        like = self.space.zeros()
        values = []
        for value in self.sde.marginal(torch.as_tensor(t, dtype=F64)):
            at = value[None] if isinstance(self.sde, ProductSDE) and value.ndim == 1 else value
            values.append(self.space.expand(at, like).expand(like.shape))
        return values[0], values[1]

    def gain(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, s = (value.flatten() for value in self.schedules(t))
        total = a[:, None] * self.cov * a + s[:, None] * self.noise_cov * s
        return self.cov * a @ torch.linalg.pinv(total, rtol=1e-12, hermitian=True), a, s

    def denoise(self, x: Tensor, t: Tensor) -> Prediction:
        gain, a, _ = self.gain(t)
        x0 = self.mean + gain @ (x.flatten() - a * self.mean)
        return Prediction(x0.reshape(x.shape), x, *self.schedules(t))

    def posterior(self, t: Tensor) -> Tensor:
        """``Cov[x_0|x]`` over the flattened state."""
        gain, a, _ = self.gain(t)
        return self.cov - gain * a @ self.cov

    def noised(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the state at a time."""
        a, s = (value.flatten() for value in self.schedules(t))
        return a * self.mean, a[:, None] * self.cov * a + s[:, None] * self.noise_cov * s

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """Log-density of each sample at times ``(B,)``, on the projected space."""
        mean, cov = self.noised(t)
        owner, nats = owners(self.space), []
        for b, dof in enumerate(self.space.dof().long().tolist()):
            mine = owner == b
            values, vectors = torch.linalg.eigh(cov[mine][:, mine])
            values, vectors = values[len(values) - dof :], vectors[:, len(values) - dof :]
            white = vectors.T @ (x.flatten() - mean)[mine] / values.sqrt()
            nats.append(-0.5 * (white.square() + (2 * math.pi * values).log()).sum())
        return torch.stack(nats)

    def draw(self, t: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """A state at times ``(B,)`` and its log-densities."""
        mean, cov = self.noised(t)
        values, vectors = torch.linalg.eigh(cov)
        white = random_state(self.space, seed).flatten()
        x = (mean + vectors @ (values.clamp(min=0).sqrt() * white)).reshape(self.space.zeros().shape)
        return x, self.log_prob(x, t)

    def tilted(self, slope: Tensor) -> Correlated:
        """The Gaussian times ``e^{−slope·x_0}``: its mean moves by −C slope."""
        return Correlated(
            self.sde, self.space, self.mean - self.cov @ slope.flatten(), self.cov, self.noise_cov
        )

    def given(self, operator: Tensor, y: Tensor, noise_var: float = 0.0) -> Correlated:
        """The Gaussian conditioned on ``y = operator x_0 + noise``."""
        cross = self.cov @ operator.T
        total = operator @ cross + noise_var * torch.eye(len(y), dtype=F64)
        gain = cross @ torch.linalg.pinv(total, rtol=1e-12, hermitian=True)
        return Correlated(
            self.sde,
            self.space,
            self.mean + gain @ (y - operator @ self.mean),
            self.cov - gain @ cross.T,
            self.noise_cov,
        )


def correlated(sde: SDE, space: Space, seed: int = 0) -> Correlated:
    """Random mean and covariance, well-conditioned, inside the subspace of the space."""
    random = torch.Generator().manual_seed(seed)
    count = space.zeros().numel()
    projector, color = matrix(space, space.project), matrix(space, space.color)
    owner = owners(space)
    factor = torch.randn(count, count, dtype=F64, generator=random) / 2 * (owner[:, None] == owner)
    cov = projector @ (factor @ factor.T + 0.2 * torch.eye(count, dtype=F64)) @ projector
    mean = projector @ torch.randn(count, dtype=F64, generator=random)
    return Correlated(sde, space, mean, (cov + cov.T) / 2, color @ color.T)


def product() -> ProductSpace:
    return ProductSpace(
        {
            "position": factor_space([4, 2]),
            "type": RaggedSpace(torch.tensor([0, 0, 0, 0, 1, 1]), 2, features=2, dtype=F64),
        }
    )


ALL: dict[str, tuple[SDE, Space]] = {
    **{name: (VP() if "dense" in name else EDM(), space) for name, space in SPACES.items()},
    "product": (ProductSDE({"position": EDM(), "type": VP()}, {"position": 7.0}), product()),
}
"""Every layout, with a process on it."""


def time(sde: SDE) -> Tensor:
    """A time with a fair share of noise."""
    return torch.tensor(1.3 if isinstance(sde, EDM) else 0.45, dtype=F64)
