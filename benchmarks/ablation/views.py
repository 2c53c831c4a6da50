"""What an arm lets its network see: each view turns a batch of graphs into a poorer or another one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from scoregen.core.space import RaggedSpace
from scoregen.molecules.graph import Graphs
from scoregen.molecules.vocabulary import MAX_HOPS, NUM_BOND_FLAGS, NUM_BOND_TYPES


def everything(graphs: Graphs) -> Graphs:
    """The graphs as they are."""
    return graphs


class IsotropicGraphs(Graphs):
    """Graphs whose coordinates get the same noise at every atom, centred."""

    def space(self, dtype: torch.dtype = torch.float32) -> RaggedSpace:  # type: ignore[override]
        """The space of the coordinates: centred, with isotropic noise."""
        return RaggedSpace(self.index, self.size, center=True, dtype=dtype)


def isotropic(graphs: Graphs) -> Graphs:
    """The same graphs with isotropic instead of harmonic noise."""
    return IsotropicGraphs(**vars(graphs))


def without_triples(graphs: Graphs) -> Graphs:
    """No stereocentres: the network is blind to reflections except for E/Z."""
    return replace(graphs, triples=graphs.triples[:0])


def without_stereo_pairs(graphs: Graphs) -> Graphs:
    """The ends of a double bond are an ordinary pair, whatever E/Z is stated."""
    per_type = NUM_BOND_FLAGS * (MAX_HOPS + 1)
    rest = graphs.code % per_type
    return replace(graphs, code=torch.where(graphs.code >= NUM_BOND_TYPES * per_type, rest, graphs.code))


def taken(graphs: Graphs, rows: Tensor) -> Graphs:
    """The molecules ``rows`` of a batch, in that order; a molecule may come more than once.

    Args:
        graphs: without an estimate.
        rows: int64 ``(B',)``.
    """
    size, longest = graphs.mask.shape
    mask = graphs.mask[rows]

    def atoms(values: Tensor) -> Tensor:
        padded = values.new_zeros(size, longest, *values.shape[1:])
        padded[graphs.mask] = values
        return padded[rows][mask]

    owner = graphs.triples[:, 0] // longest
    triples = [graphs.triples[owner == row] + (place - row) * longest for place, row in enumerate(rows)]
    return replace(
        graphs,
        index=mask.nonzero()[:, 0],
        atom=atoms(graphs.atom),
        code=graphs.code[rows],
        mask=mask,
        triples=torch.cat(triples),
        factor=graphs.factor[rows],
        inverse=graphs.inverse[rows],
        log_det=graphs.log_det[rows],
        pos=atoms(graphs.pos),
        theory=graphs.theory[rows],
    )
