"""Batches of molecular graphs: PyTorch Geometric carries them, the network reads them dense.

A :class:`Graphs` is everything the denoiser knows about a batch besides the noisy coordinates; it also makes
the :class:`~scoregen.core.space.FactorSpace` in which those coordinates live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from scoregen.core.space import FactorSpace

from .harmonic import harmonic_factors
from .vocabulary import MAX_HOPS, NUM_BOND_FLAGS, NUM_BOND_TYPES, THEORIES

# Pair types: bond types, then the stereo pseudo-bonds between the ends of a double bond.
PAIR_CIS = NUM_BOND_TYPES
PAIR_TRANS = NUM_BOND_TYPES + 1
NUM_PAIR_TYPES = NUM_BOND_TYPES + 2


class MoleculeData(Data):  # type: ignore[misc]
    """One molecule; atom indices shift by the number of atoms when molecules are batched."""

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return self.num_nodes if key == "triples" else 0


def molecule_data(
    arrays: Mapping[str, np.ndarray], *, stereo: bool = True, theory: str = "unknown"
) -> MoleculeData:
    """A molecule from the arrays of :func:`scoregen.molecules.features.featurise`.

    Args:
        arrays: feature arrays; ``x`` ``(N, 3)`` in Å when the positions are known.
        stereo: False hides the stated stereo from the network.
        theory: what made the positions, or what kind of positions are wanted; one of
            :data:`~scoregen.molecules.vocabulary.THEORIES`.
    """
    n = len(arrays["z"])
    bonds = arrays["bond"].astype(np.int64)
    pair = np.zeros((n, n, 3), np.int64)
    pair[..., 2] = np.minimum(arrays["hops"].reshape(n, n), MAX_HOPS)
    for i, j in ((0, 1), (1, 0)):
        pair[bonds[:, i], bonds[:, j], 0] = arrays["bond_type"]
        pair[bonds[:, i], bonds[:, j], 1] = arrays["bond_flag"]
    triples = np.zeros((0, 4), np.int64)
    if stereo:
        rows = arrays["cistrans"].astype(np.int64)
        for i, j in ((0, 3), (3, 0)):
            pair[rows[:, i], rows[:, j], 0] = NUM_BOND_TYPES - 1 + rows[:, 4]
        triples = chiral_triples(arrays["chiral"].astype(np.int64))
    factor, inverse, log_det = harmonic_factors(bonds, n)
    code = (pair[..., 0] * NUM_BOND_FLAGS + pair[..., 1]) * (MAX_HOPS + 1) + pair[..., 2]
    data = MoleculeData(
        atom=torch.from_numpy(arrays["atom"].astype(np.int64)),
        code=torch.from_numpy(code.reshape(-1)),
        triples=torch.from_numpy(triples),
        factor=torch.from_numpy(factor.reshape(-1)),
        inverse=torch.from_numpy(inverse.reshape(-1)),
        log_det=torch.tensor([log_det], dtype=torch.float64),
        theory=torch.tensor([THEORIES.index(theory)]),
        num_nodes=n,
    )
    if "x" in arrays:
        data.pos = torch.from_numpy(np.ascontiguousarray(arrays["x"], np.float32))
    return data


def chiral_triples(chiral: np.ndarray) -> np.ndarray:
    """All ``(centre, a, b, c)`` with positive signed volume, ``(T, 4)``, from rows ``(centre, a, b, c, d)``.

    Even permutations keep handedness, so a centre with four neighbours gives four triples.
    """
    triples = [chiral[:, [0, 1, 2, 3]]]
    whole = chiral[chiral[:, 4] >= 0]
    triples += [whole[:, [0, *order]] for order in ((2, 1, 4), (3, 4, 1), (4, 3, 2))]
    return np.concatenate(triples)


@dataclass(frozen=True)
class Graphs:
    """A batch of molecular graphs.

    Args:
        index: molecule of each atom, ``(E,)``.
        atom: categorical atom features, ``(E, 7)``.
        code: pair category (bond or stereo type, flags, hops), zero-padded, ``(B, N, N)``.
        mask: True at atoms, ``(B, N)``.
        triples: ``(T, 4)`` rows (centre, a, b, c) in the dense numbering ``molecule·N + place``.
        factor, inverse: harmonic factors, zero-padded, ``(B, N, N)``.
        log_det: ``(B,)`` float64.
        pos: reference positions in Å, ``(E, 3)``, or empty.
        theory: index into :data:`~scoregen.molecules.vocabulary.THEORIES`, ``(B,)``.
        estimate: positions estimated by an earlier call (self-conditioning), ``(E, 3)``, or None.
    """

    index: Tensor
    atom: Tensor
    code: Tensor
    mask: Tensor
    triples: Tensor
    factor: Tensor
    inverse: Tensor
    log_det: Tensor
    pos: Tensor
    theory: Tensor
    estimate: Tensor | None = None

    @property
    def size(self) -> int:
        return len(self.log_det)

    def space(self, dtype: torch.dtype = torch.float32) -> FactorSpace:
        """The space of the coordinates: centred, with harmonic noise."""
        return FactorSpace(
            self.index,
            self.size,
            center=True,
            dtype=dtype,
            factor=self.factor,
            inverse=self.inverse,
            log_det=self.log_det,
        )

    def with_estimate(self, estimate: Tensor | None) -> Graphs:
        """The same graphs with another self-conditioning estimate."""
        return replace(self, estimate=estimate)

    def to(self, device: torch.device | str) -> Graphs:
        """The batch on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v if v is None else v.to(device) for k, v in values.items()}
        return Graphs(**moved)


def collate(molecules: Sequence[MoleculeData]) -> Graphs:
    """Batch molecules; padding is up to the largest of them."""
    batch = Batch.from_data_list(list(molecules))
    counts = [int(molecule.num_nodes) for molecule in molecules]
    size, longest = len(counts), max(counts)
    index = batch.batch
    starts = torch.tensor(np.cumsum([0, *counts[:-1]]))
    # PyG's concatenated atom number → place in the padded batch.
    dense = torch.arange(len(index)) - starts[index] + index * longest
    mask = torch.zeros(size * longest, dtype=torch.bool)
    mask[dense] = True
    return Graphs(
        index=index,
        atom=batch.atom,
        code=_padded([m.code for m in molecules], counts),
        mask=mask.reshape(size, longest),
        triples=dense[batch.triples],
        factor=_padded([m.factor for m in molecules], counts),
        inverse=_padded([m.inverse for m in molecules], counts),
        log_det=batch.log_det,
        pos=batch.pos if batch.pos is not None else torch.zeros(0, 3),
        theory=batch.theory,
    )


def _padded(flat: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Flattened square matrices, zero-padded to ``(B, N, N)``."""
    longest = max(counts)
    out = torch.zeros(len(counts), longest, longest, dtype=flat[0].dtype)
    for row, values, n in zip(out, flat, counts, strict=True):
        row[:n, :n] = values.reshape(n, n)
    return out
