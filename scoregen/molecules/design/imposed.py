"""A pose that is kept while a candidate is drawn: the model sees where given atoms lie, and how far apart."""

from __future__ import annotations

import torch
from torch import Tensor

from scoregen.core.space import RaggedSpace
from scoregen.molecules.align import kabsch

from .state import Condition

SLACK = 1e-3
"""Strength of the spring between atoms that are not bonded, in those of bonded ones."""


def imposed(estimate: dict[str, Tensor], condition: Condition) -> dict[str, Tensor]:
    """An estimate with the given atoms in their pose.

    The pose is laid where the estimate has its atoms. New atoms follow along the bonds, each of which is a
    spring as strong as it is probable. As every step renoises its estimate, the rest of the molecule is drawn
    to fit (replacement, as in inpainting by Lugmayr et al., *RePaint*, 2022, whose resampling the renoising
    is).

    Args:
        estimate: the fields of the batch (:mod:`~scoregen.molecules.design.state`).
        condition: of the batch.

    Returns:
        The same with other coordinates, without the centre of mass; unchanged where there are none, or no
        atom has a place.
    """
    layout, pose, positions = condition.layout, condition.pose, estimate.get("coordinates")
    if pose is None or positions is None:
        return estimate
    given = pose.isfinite().all(1)
    if not given.any():
        return estimate
    owner = layout.atom[given]
    posed = owner.bincount(minlength=layout.size) > 0
    part = RaggedSpace((posed.cumsum(0) - 1)[owner], int(posed.sum()), 3, center=True, dtype=positions.dtype)
    there = positions[given]
    laid = kabsch(pose[given].to(positions), there, part) + there - part.project(there)
    shift = torch.zeros_like(positions)
    shift[given] = laid - there
    moved = positions + _followed(shift, given, 1 - estimate["bonds"][:, 0], condition)
    moved[given] = laid
    whole = RaggedSpace(layout.atom, layout.size, 3, center=True, dtype=positions.dtype)
    return estimate | {"coordinates": whole.project(moved)}


def _followed(shift: Tensor, given: Tensor, bonded: Tensor, condition: Condition) -> Tensor:
    """How all atoms move with the given ones when every bond is a spring, ``(ΣN, 3)``.

    ``L u = 0`` at new atoms with the Laplacian L of the springs; ``u`` is the shift at given ones. Molecules
    without given atoms stay. ``bonded`` is the probability of a bond of each pair, ``(P,)``.
    """
    layout = condition.layout
    springs = layout.dense_pairs(bonded.double() + SLACK)
    laplacian = torch.diag_embed(springs.sum(-1)) - springs
    anchored = layout.dense_atoms(given)
    free = (layout.mask & ~anchored & anchored.any(-1, keepdim=True)).double()
    matrix = free[:, :, None] * laplacian + torch.diag_embed(1 - free)
    moved: Tensor = torch.linalg.solve(matrix, layout.dense_atoms(shift.double()))
    return moved[layout.atom, layout.place].to(shift.dtype)
