r"""Phases from what is known of their differences: angular synchronisation on the grid of an STFT.

A network that sees a mel spectrogram cannot know the phase of a cell, which turns with the delay of the clip,
but it can know how the phase moves to the next frame (the instantaneous frequency) and to the next bin (the
group delay). :class:`Edges` hold such differences δ with a certainty κ each; they are the mean direction and
the concentration of von Mises distributions, and are learned by maximum likelihood (:func:`von_mises_loss`).

Their most likely phases maximise

.. math::  \sum_{(i, j)} κ_{ij} \cos(φ_j - φ_i - δ_{ij}),

angular synchronisation (Singer, *Angular synchronization by eigenvectors and semidefinite programming*, ACHA
2011). A spanning tree of the certain ones gives phases to begin with, as in phase gradient heap integration
(:mod:`scoregen.audio.heap`); :func:`synchronise` then lets all neighbours of a cell speak, by the generalised
power method (Boumal, *Nonconvex phase synchronization*, SIAM J. Optim. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .phase import unit

SELF = 0.3
"""Weight of a cell's own phase in a round of the power method, beside its neighbours' 1: the cells of a grid
fall into two sets that only hear each other, and would take turns without it."""

UP = 3.0
"""Weight of differences over bins beside those over frames. Both are learned cell by cell, but a difference
over bins holds together what is heard as one, while those over frames of one harmonic may drift."""


@dataclass(frozen=True)
class Edges:
    """Differences of the phases of neighbouring cells: modulus certainty, angle difference.

    Attributes:
        across: from a frame to the next, complex ``(B, K, F - 1)``.
        up: from a bin to the next, complex ``(B, K - 1, F)``.
    """

    across: Tensor
    up: Tensor

    def weighted(self, magnitude: Tensor) -> Edges:
        """Certainties times the geometric mean of both ends' magnitudes ``(B, K, F)``: what is loud
        decides."""
        root = magnitude.sqrt()
        across = self.across * (root[..., 1:] * root[..., :-1])
        return Edges(across, UP * self.up * (root[:, 1:] * root[:, :-1]))

    def pull(self, z: Tensor) -> Tensor:
        """What the neighbours of each cell say of it, complex ``(B, K, F)`` → the same shape."""
        total = torch.zeros_like(z)
        total[..., 1:] += z[..., :-1] * self.across
        total[..., :-1] += z[..., 1:] * self.across.conj()
        total[:, 1:] += z[:, :-1] * self.up
        total[:, :-1] += z[:, 1:] * self.up.conj()
        return total

    @cached_property
    def degree(self) -> Tensor:
        """Sum of the certainties at each cell, ``(B, K, F)``."""
        across, up = self.across.abs(), self.up.abs()
        total = across.new_zeros(across.shape[0], across.shape[1], up.shape[2])
        total[..., 1:] += across
        total[..., :-1] += across
        total[:, 1:] += up
        total[:, :-1] += up
        return total


def edges_of(spectrum: Tensor) -> Edges:
    """The differences in a spectrum ``(B, K, F)``; each certainty is the product of its magnitudes."""
    across = spectrum[..., 1:] * spectrum[..., :-1].conj()
    return Edges(across, spectrum[:, 1:] * spectrum[:, :-1].conj())


def synchronise(
    edges: Edges, z: Tensor, *, rounds: int, anchor: Tensor | None = None, known: int = 0
) -> Tensor:
    """Rounds of the generalised power method: every phase becomes the weighted mean of what its cell is told.

    Args:
        edges: weighted differences.
        z: phase factors to start from, complex ``(B, K, F)``.
        rounds: number of them.
        anchor: what is known of the phases themselves: complex ``(B, K, F)``, its modulus on the scale of the
            edges' certainties.
        known: frames at the beginning that keep their phases.

    Returns:
        Phase factors ``(B, K, F)``.
    """
    own = SELF * edges.degree
    for _ in range(rounds):
        told = edges.pull(z).add_(z * own)
        if anchor is not None:
            told += anchor
        told = unit(told)
        if known:
            told[..., :known] = z[..., :known]
        z = told
    return z


def von_mises_loss(cosine: Tensor, certainty: Tensor) -> Tensor:
    r"""Negative log-likelihood of an angle, less its constant ln 2π.

    .. math:: \ln\big(e^{-κ} I_0(κ)\big) + κ (1 - \cos θ)

    Args:
        cosine: of the angle between truth and mean.
        certainty: κ, not negative, the same shape.
    """
    likelihood: Tensor = torch.special.i0e(certainty).log() + certainty * (1 - cosine)
    return likelihood
