r"""Batches of candidates in the making: where each atom and pair lies, and the packed state of all fields.

Fields of a state, of molecules with N heavy atoms:

* ``atoms``: one-hot tokens, ``(ΣN, T)``;
* ``bonds``: one-hot orders of every pair ``i < j``, ``(ΣN(N−1)/2, 4)``;
* ``coordinates``: Å, ``(ΣN, 3)``, without the centre of mass; not in models of graphs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from scoregen.core.fields import ProductSpace
from scoregen.core.space import RaggedSpace

from .tokens import NUM_ORDERS, NUM_TOKENS, PROPERTIES


@dataclass(frozen=True)
class Layout:
    """Where the atoms and pairs of a batch lie.

    Args:
        counts: heavy atoms of each molecule, at least 2, ``(B,)``.
        atom: molecule of each atom, ``(ΣN,)``.
        place: place of each atom in its molecule, ``(ΣN,)``.
        pair: ``(molecule, i, j)`` of each pair ``i < j``, ``(P, 3)``.
    """

    counts: Tensor
    atom: Tensor
    place: Tensor
    pair: Tensor
    longest: int

    @classmethod
    def of(cls, counts: Sequence[int]) -> Layout:
        """The layout of molecules with so many heavy atoms.

        Raises:
            ValueError: a molecule of fewer than two heavy atoms.
        """
        if min(counts) < 2:
            raise ValueError("a candidate has at least two heavy atoms")
        atom = np.repeat(np.arange(len(counts)), counts)
        place = np.concatenate([np.arange(n) for n in counts])
        pairs = []
        for b, n in enumerate(counts):
            i, j = np.triu_indices(n, 1)
            pairs.append(np.stack((np.full_like(i, b), i, j), 1))
        pair = torch.from_numpy(np.concatenate(pairs))
        return cls(
            torch.tensor(counts), torch.from_numpy(atom), torch.from_numpy(place), pair, int(max(counts))
        )

    @property
    def size(self) -> int:
        """Number of molecules B."""
        return len(self.counts)

    @cached_property
    def mask(self) -> Tensor:
        """True at atoms, ``(B, N)``."""
        places = torch.arange(self.longest, device=self.counts.device)
        return places < self.counts[:, None]

    @cached_property
    def pair_mask(self) -> Tensor:
        """True at pairs of two different atoms, ``(B, N, N)``."""
        both = self.mask[:, :, None] & self.mask[:, None]
        return both & ~torch.eye(self.longest, dtype=torch.bool, device=both.device)

    def dense_atoms(self, values: Tensor) -> Tensor:
        """``(ΣN, ...)`` → zero-padded ``(B, N, ...)``."""
        out = values.new_zeros(self.size, self.longest, *values.shape[1:])
        out[self.atom, self.place] = values
        return out

    def dense_pairs(self, values: Tensor) -> Tensor:
        """``(P, ...)`` → symmetric ``(B, N, N, ...)``, zero on the diagonal and in the padding."""
        out = values.new_zeros(self.size, self.longest, self.longest, *values.shape[1:])
        b, i, j = self.pair.unbind(1)
        out[b, i, j] = values
        out[b, j, i] = values
        return out

    def flat_pairs(self, dense: Tensor) -> Tensor:
        """``(B, N, N, ...)`` → ``(P, ...)``, of ``i < j``."""
        b, i, j = self.pair.unbind(1)
        return dense[b, i, j]

    def taken(self, molecules: np.ndarray) -> tuple[Tensor, Tensor]:
        """Where to read atoms and pairs, so that each molecule becomes a copy of another of its size.

        Args:
            molecules: which one, int ``(B,)``.

        Returns:
            Indices of atoms ``(ΣN,)`` and of pairs ``(P,)``.
        """
        source = torch.from_numpy(molecules).to(self.counts.device)
        found = []
        for lengths, owner in (
            (self.counts, self.atom),
            (self.counts * (self.counts - 1) // 2, self.pair[:, 0]),
        ):
            first = lengths.cumsum(0) - lengths
            found.append(torch.arange(len(owner), device=owner.device) + (first[source] - first)[owner])
        return found[0], found[1]

    def space(self, coordinates: bool, dtype: torch.dtype = torch.float32) -> ProductSpace:
        """The space of the packed state."""
        parts: dict[str, RaggedSpace] = {
            "atoms": RaggedSpace(self.atom, self.size, NUM_TOKENS, dtype=dtype),
            "bonds": RaggedSpace(self.pair[:, 0].contiguous(), self.size, NUM_ORDERS, dtype=dtype),
        }
        if coordinates:
            parts["coordinates"] = RaggedSpace(self.atom, self.size, 3, center=True, dtype=dtype)
        return ProductSpace(parts)

    def to(self, device: torch.device | str) -> Layout:
        """The layout on another device."""
        counts, atom, place, pair = (
            part.to(device) for part in (self.counts, self.atom, self.place, self.pair)
        )
        return Layout(counts, atom, place, pair, self.longest)


@dataclass(frozen=True)
class Condition:
    """What is known of a batch beside its noisy state.

    Args:
        layout: of the batch.
        properties: scaled values wanted, ``(B, len(PROPERTIES))``; NaN where nothing is said.
        kept: atoms given beforehand, bool ``(ΣN,)``.
        tokens: tokens that each atom may have, bool ``(ΣN, T)``; None where all may.
        orders: orders that each pair may have, bool ``(P, 4)``; None where all may.
        pose: places of atoms given beforehand, Å, each molecule in a frame of its own, NaN where none is
            given, ``(ΣN, 3)``; None where none is at all.
        estimate: probabilities (and positions) told by an earlier call, a packed state, or None.
    """

    layout: Layout
    properties: Tensor
    kept: Tensor
    tokens: Tensor | None = None
    orders: Tensor | None = None
    pose: Tensor | None = None
    estimate: Tensor | None = None

    @classmethod
    def free(cls, layout: Layout) -> Condition:
        """Nothing is known."""
        device = layout.counts.device
        return cls(
            layout,
            torch.full((layout.size, len(PROPERTIES)), float("nan"), device=device),
            torch.zeros(len(layout.atom), dtype=torch.bool, device=device),
        )

    def with_estimate(self, estimate: Tensor | None) -> Condition:
        """The same with another estimate."""
        return replace(self, estimate=estimate)

    def without_properties(self) -> Condition:
        """The same with nothing said of properties."""
        return replace(self, properties=torch.full_like(self.properties, float("nan")))

    def to(self, device: torch.device | str) -> Condition:
        """The condition on another device."""
        parts = (self.properties, self.kept, self.tokens, self.orders, self.pose, self.estimate)
        return Condition(self.layout.to(device), *(None if v is None else v.to(device) for v in parts))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Candidates:
    """Clean molecules as states.

    Args:
        layout: of the batch.
        token: index of each atom's token, ``(ΣN,)``.
        order: order of each pair, ``(P,)``.
        x: positions, ``(ΣN, 3)`` Å, or empty.
    """

    layout: Layout
    token: Tensor
    order: Tensor
    x: Tensor = field(default_factory=lambda: torch.zeros(0, 3))

    def fields(self, coordinates: bool) -> dict[str, Tensor]:
        """The fields of the clean state."""
        one_hot = torch.nn.functional.one_hot
        parts = {
            "atoms": one_hot(self.token, NUM_TOKENS).float(),
            "bonds": one_hot(self.order, NUM_ORDERS).float(),
        }
        return {**parts, "coordinates": self.x} if coordinates else parts

    def to(self, device: torch.device | str) -> Candidates:
        """The batch on another device."""
        return Candidates(
            self.layout.to(device), self.token.to(device), self.order.to(device), self.x.to(device)
        )


def collate(molecules: Sequence[Mapping[str, np.ndarray]]) -> Candidates:
    """Batch molecules given as arrays of :func:`scoregen.molecules.design.encode.encode`."""
    layout = Layout.of([len(arrays["token"]) for arrays in molecules])
    placed = all(len(arrays["x"]) for arrays in molecules)
    x = np.concatenate([arrays["x"] for arrays in molecules]) if placed else np.zeros((0, 3), np.float32)
    return Candidates(
        layout,
        torch.from_numpy(np.concatenate([arrays["token"] for arrays in molecules]).astype(np.int64)),
        torch.from_numpy(np.concatenate([pair_orders(arrays) for arrays in molecules])),
        torch.from_numpy(np.ascontiguousarray(x)),
    )


def pair_orders(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Order of every pair ``i < j``, 0 where there is no bond, int64 ``(N(N−1)/2,)``."""
    count = len(arrays["token"])
    matrix = np.zeros((count, count), np.int64)
    ends = arrays["bond"].astype(np.int64).reshape(-1, 2)
    matrix[ends[:, 0], ends[:, 1]] = matrix[ends[:, 1], ends[:, 0]] = arrays["order"]
    orders: np.ndarray = matrix[np.triu_indices(count, 1)]
    return orders
