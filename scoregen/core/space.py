r"""How a batch lives in memory, and the Gaussian noise that fits it.

A *space* is one batch: ``size`` samples spread over the elements of one tensor. It knows which element
belongs to which sample (layout), which directions count (projection), and the covariance Σ of the noise
(*shaped noise*): the forward process is ``x_t = α x_0 + σ n`` with ``n ∼ N(0, Σ)``. Three layouts:

* :class:`DenseSpace`: ``(B, ...)``, optional mask, diagonal Σ (audio; PriorGrad, Lee et al. 2022);
* :class:`RaggedSpace`: ``(E, F)`` with a sample index, identity Σ, optionally without the mean;
* :class:`FactorSpace`: ragged, Σ = A Aᵀ per sample with a symmetric factor A (harmonic priors of molecules;
  Jing et al., *EigenFold*, 2023).

All maps are linear and act on each sample alone, so results do not depend on the batch a sample is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Space(Protocol):
    """One batch: B samples over the elements of one tensor, with Gaussian noise of covariance Σ."""

    @property
    def size(self) -> int:
        """Number of samples B."""

    @property
    def longest(self) -> int:
        """Number of leading elements of the longest sample."""

    def zeros(self) -> Tensor:
        """A zero state: its shape, dtype and device are those of every state of this batch."""

    def expand(self, t: Tensor, like: Tensor) -> Tensor:
        """Per-sample values ``(B,)`` broadcast against the state ``like``; a scalar stays a scalar."""

    def project(self, x: Tensor) -> Tensor:
        """Orthogonal projection on the directions that count; idempotent."""

    def sum(self, x: Tensor) -> Tensor:
        """Sum over each sample's elements, ``(B,)``."""

    def dof(self) -> Tensor:
        """Rank of the projection, ``(B,)`` float64."""

    def positions(self) -> tuple[Tensor, Tensor]:
        """``(sample, index)`` of each leading element: which sample, and its place in that sample."""

    def color(self, z: Tensor) -> Tensor:
        """Σ^{1/2} z: white noise to shaped noise, projected."""

    def whiten(self, x: Tensor) -> Tensor:
        """Σ^{−1/2} x, the pseudo-inverse of :meth:`color`."""

    def logdet(self) -> Tensor:
        """log of the pseudo-determinant of Σ on the projected space, ``(B,)`` float64."""


@dataclass(frozen=True)
class DenseSpace:
    """Samples of equal shape, ``(B, ...)``.

    Args:
        shape: shape of the state, batch first.
        scale: standard deviation of the noise, positive, broadcastable to ``shape``; 1 when omitted.
        mask: bool, broadcastable to ``shape``; False marks padding, which stays zero.
        dtype, device: of the state.

    Raises:
        ValueError: ``shape`` is empty, or a scale is not positive.
    """

    shape: Sequence[int]
    scale: Tensor | None = None
    mask: Tensor | None = None
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if len(self.shape) == 0 or min(self.shape) < 1:
            raise ValueError(f"a dense space needs a positive shape, batch first, got {tuple(self.shape)}")
        # While a graph is traced the scale has no values to look at.
        traced = torch.compiler.is_exporting()
        if self.scale is not None and not traced and not bool((self.scale > 0).all()):
            raise ValueError("the noise scale must be positive everywhere")

    @property
    def size(self) -> int:
        """Number of samples B."""
        return int(self.shape[0])

    def zeros(self) -> Tensor:
        """A zero state, of the shape, dtype and device of every state of this batch."""
        return torch.zeros(tuple(self.shape), dtype=self.dtype, device=self.device)

    def expand(self, t: Tensor, like: Tensor) -> Tensor:
        """Per-sample values ``(B,)`` broadcast against the state ``like``; a scalar stays a scalar."""
        return t if t.ndim == 0 else t.reshape(-1, *[1] * (like.ndim - 1))

    def project(self, x: Tensor) -> Tensor:
        """The state on the directions that count, shaped as ``x``; idempotent."""
        return x if self.mask is None else x * self.mask

    def sum(self, x: Tensor) -> Tensor:
        """Sum over each sample's elements, ``(B,)`` in the dtype of ``x``."""
        return x.reshape(self.size, -1).sum(1)

    def dof(self) -> Tensor:
        """Rank of the projection, ``(B,)`` float64."""
        ones = torch.ones(tuple(self.shape), dtype=torch.float64, device=self.device)
        return self.sum(self.project(ones))

    @property
    def longest(self) -> int:
        """Number of leading elements of the longest sample."""
        return 1 if len(self.shape) == 1 else int(self.shape[1])

    def positions(self) -> tuple[Tensor, Tensor]:
        """``(sample, index)`` of each leading element: which sample, and its place in that sample."""
        index = torch.arange(self.longest, device=self.device)
        sample = torch.arange(self.size, device=self.device)
        return sample.repeat_interleave(self.longest), index.repeat(self.size)

    def color(self, z: Tensor) -> Tensor:
        """``Σ^{1/2} z``: white noise to shaped noise, projected; shaped as ``z``."""
        return self.project(z if self.scale is None else z * self.scale)

    def whiten(self, x: Tensor) -> Tensor:
        """``Σ^{−1/2} x``, the pseudo-inverse of :meth:`color`; shaped as ``x``."""
        return self.project(x if self.scale is None else x / self.scale)

    def logdet(self) -> Tensor:
        """Log pseudo-determinant of Σ on the projected space, ``(B,)`` float64."""
        if self.scale is None:
            return torch.zeros(self.size, dtype=torch.float64, device=self.device)
        log = 2 * self.scale.to(torch.float64).log().expand(tuple(self.shape))
        return self.sum(self.project(log))


@dataclass(frozen=True)
class RaggedSpace:
    """Samples of different lengths, their elements one after the other: ``(E, F)``.

    Args:
        index: sample of each element, int64 ``(E,)``, non-decreasing.
        size: number of samples B.
        features: F.
        center: remove each sample's mean over its elements (centre of mass), so rank is F(n − 1).
        dtype, device: of the state.

    Raises:
        ValueError: the index decreases, points outside ``range(size)``, or a sample has no element.
    """

    index: Tensor
    size: int
    features: int = 3
    center: bool = False
    dtype: torch.dtype = torch.float32
    counts: Tensor = field(init=False)
    longest: int = field(init=False)

    def __post_init__(self) -> None:
        # Prepending 0 also catches a negative first entry.
        if self.index.ndim != 1 or bool((self.index.diff(prepend=self.index.new_zeros(1)) < 0).any()):
            raise ValueError("the sample index must be one-dimensional, non-negative and non-decreasing")
        counts = torch.bincount(self.index, minlength=self.size)
        if len(counts) != self.size or bool((counts == 0).any()):
            raise ValueError(f"every one of the {self.size} samples needs at least one element")
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "longest", int(counts.max()))

    @property
    def device(self) -> torch.device:
        """Device of the state."""
        return self.index.device

    def zeros(self) -> Tensor:
        """A zero state, of the shape, dtype and device of every state of this batch."""
        return torch.zeros(len(self.index), self.features, dtype=self.dtype, device=self.device)

    def expand(self, t: Tensor, like: Tensor) -> Tensor:
        """Per-sample values ``(B,)`` broadcast against the state ``like``; a scalar stays a scalar."""
        return t if t.ndim == 0 else t[self.index].reshape(-1, *[1] * (like.ndim - 1))

    def project(self, x: Tensor) -> Tensor:
        """The state on the directions that count, shaped as ``x``; idempotent."""
        if not self.center:
            return x
        total = torch.zeros(self.size, *x.shape[1:], dtype=x.dtype, device=x.device)
        mean = total.index_add(0, self.index, x) / self.counts.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return x - mean[self.index]

    def sum(self, x: Tensor) -> Tensor:
        """Sum over each sample's elements, ``(B,)`` in the dtype of ``x``."""
        total = torch.zeros(self.size, dtype=x.dtype, device=x.device)
        return total.index_add(0, self.index, x.reshape(len(self.index), -1).sum(1))

    def dof(self) -> Tensor:
        """Rank of the projection, ``(B,)`` float64."""
        return (self.features * (self.counts - int(self.center))).to(torch.float64)

    def positions(self) -> tuple[Tensor, Tensor]:
        """``(sample, index)`` of each leading element: which sample, and its place in that sample."""
        starts = self.counts.cumsum(0) - self.counts
        return self.index, torch.arange(len(self.index), device=self.device) - starts[self.index]

    def color(self, z: Tensor) -> Tensor:
        """``Σ^{1/2} z``: white noise to shaped noise, projected; shaped as ``z``."""
        return self.project(z)

    def whiten(self, x: Tensor) -> Tensor:
        """``Σ^{−1/2} x``, the pseudo-inverse of :meth:`color`; shaped as ``x``."""
        return self.project(x)

    def logdet(self) -> Tensor:
        """Log pseudo-determinant of Σ on the projected space, ``(B,)`` float64."""
        return torch.zeros(self.size, dtype=torch.float64, device=self.device)


@dataclass(frozen=True)
class FactorSpace(RaggedSpace):
    """Ragged samples whose noise has covariance Σ = A Aᵀ ⊗ I_F, with a symmetric A for each sample.

    Args:
        factor: A, zero-padded, ``(B, N, N)`` with N the largest sample.
        inverse: the pseudo-inverse of each A, ``(B, N, N)``.
        log_det: log pseudo-determinant of A Aᵀ (one feature), ``(B,)``.

    With ``center=True`` the rows of A must sum to zero (the null vector of a graph Laplacian does that).
    """

    factor: Tensor = field(default_factory=lambda: torch.zeros(0))
    inverse: Tensor = field(default_factory=lambda: torch.zeros(0))
    log_det: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.longest
        for name in ("factor", "inverse"):
            if tuple(getattr(self, name).shape) != (self.size, most, most):
                raise ValueError(f"{name} must have shape {(self.size, most, most)}")
        if tuple(self.log_det.shape) != (self.size,):
            raise ValueError(f"log_det must have shape {(self.size,)}")

    def _apply(self, matrix: Tensor, x: Tensor) -> Tensor:
        sample, place = self.positions()
        padded = torch.zeros(*matrix.shape[:2], *x.shape[1:], dtype=x.dtype, device=x.device)
        padded[sample, place] = x
        return torch.bmm(matrix.to(x.dtype), padded)[sample, place]

    def color(self, z: Tensor) -> Tensor:
        """``Σ^{1/2} z``: white noise to shaped noise, projected; shaped as ``z``."""
        return self.project(self._apply(self.factor, z))

    def whiten(self, x: Tensor) -> Tensor:
        """``Σ^{−1/2} x``, the pseudo-inverse of :meth:`color`; shaped as ``x``."""
        return self._apply(self.inverse, self.project(x))

    def logdet(self) -> Tensor:
        """Log pseudo-determinant of Σ on the projected space, ``(B,)`` float64."""
        return self.features * self.log_det.to(torch.float64)
