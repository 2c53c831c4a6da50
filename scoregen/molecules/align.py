"""Rotation of one batch of structures onto another (Kabsch 1976), in any metric of the space."""

from __future__ import annotations

import torch
from torch import Tensor

from scoregen.core.space import Space


def kabsch(mobile: Tensor, target: Tensor, space: Space) -> Tensor:
    """Rotate each sample of ``mobile`` onto ``target`` with the least whitened squared distance.

    With harmonic noise the whitened distance is the negative log-likelihood of the noise, so this picks the
    rotated copy of the data that most probably gave the noised state.

    Args:
        mobile, target: states of ``space``, ``(E, 3)``.
        space: the batch; its whitening is the metric. Both are centred first.

    Returns:
        The rotated ``mobile``, centred, ``(E, 3)``. Proper rotations only.
    """
    mobile = space.project(mobile)
    with torch.autocast(mobile.device.type, enabled=False):
        a, b = space.whiten(mobile).double(), space.whiten(target).double()
        sample, _ = space.positions()
        covariance = torch.zeros(space.size, 3, 3, dtype=torch.float64, device=a.device)
        covariance.index_add_(0, sample, a[:, :, None] * b[:, None])
        u, _, vh = torch.linalg.svd(covariance)
        sign = torch.ones(space.size, 3, dtype=torch.float64, device=a.device)
        sign[:, 2] = torch.linalg.det(u @ vh).sign()
        rotation = (u * sign[:, None]) @ vh
        return torch.einsum("ei,eij->ej", mobile.double(), rotation[sample]).to(mobile.dtype)
