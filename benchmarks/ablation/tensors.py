r"""The l = 2 variant: the conformer network with e3nn features ``V×1o + V×2e`` beside its scalars.

Everything else is that of :class:`~scoregen.molecules.network.EquivariantTransformer`: dense attention, pair
features, triple products, moving positions. A layer gathers spherical harmonics of l = 1 and 2 from all pairs
first and multiplies at the atoms afterwards, with e3nn's fully connected tensor product. That order costs N
products instead of N² and is what made high-l networks affordable (Batatia et al., *MACE*, 2022).

Features are held as ``(B, N, 8, V)``: three components of l = 1 in the order x, y, z, which is e3nn's, then
five of l = 2.
"""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor, nn

from scoregen.molecules.graph import Graphs
from scoregen.molecules.network import (
    EquivariantTransformer,
    Layer,
    NetworkConfig,
    bounded,
    longest_scale,
    pairwise,
    radial_basis,
)

PARTS = (3, 5)


class TensorTransformer(EquivariantTransformer):
    """The conformer network with features up to l = 2; call and result as its parent's."""

    def __init__(self, config: NetworkConfig, scale: float):
        super().__init__(config, scale)
        last = config.layers - 1
        self.layers = nn.ModuleList(TensorLayer(config, last=k == last) for k in range(config.layers))


class TensorLayer(Layer):
    """A layer on ``(B, N, 8, V)``; it takes the parent's ``(B, N, 3, V)`` too, and the last returns that."""

    def __init__(self, config: NetworkConfig, *, last: bool):
        super().__init__(config)
        width, vectors = config.width, config.vectors
        self.last = last
        self.pair = nn.Linear(config.pair, config.heads + 2 * vectors)
        self.carry2 = nn.Linear(vectors, vectors, bias=False)
        self.mix2 = nn.Linear(vectors, 2 * vectors, bias=False)
        self.irreps = o3.Irreps(f"{vectors}x1o + {vectors}x2e")
        self.product = o3.FullyConnectedTensorProduct(self.irreps, self.irreps, self.irreps)
        final = nn.Linear(2 * width, width + 6 * vectors)
        nn.init.normal_(final.weight, std=0.02)
        self.ffn = nn.Sequential(nn.Linear(width + 4 * vectors, 2 * width), nn.SiLU(), final)

    def forward(
        self,
        h: Tensor,
        v: Tensor,
        places: Tensor,
        level: Tensor,
        hint: Tensor | None,
        cond: Graphs,
        valid: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``h (B, N, W)``, ``v (B, N, 8, V)``, ``places (B, N, 3)`` → the same, refined."""
        size, longest, width = h.shape
        if v.shape[2] == PARTS[0]:
            v = torch.cat((v, v.new_zeros(size, longest, PARTS[1], v.shape[-1])), 2)
        shift = self.modulate(level)[:, None].chunk(4, -1)
        a = self.norm(h) * (1 + shift[0]) + shift[1]

        direction, distance = pairwise(places)
        left, right = self.ends(a).chunk(2, -1)
        u = self.basis(radial_basis(distance, self.radial)) + self.code(cond.code)
        u = u + left[:, :, None] + right[:, None]
        if hint is not None:
            u = u + hint
        logits, *edges = self.pair(nn.functional.silu(u)).split((self.heads, *2 * (v.shape[-1],)), -1)

        q, k, value = self.qkv(a).reshape(size, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = (scores + logits.permute(0, 3, 1, 2) + bias).softmax(-1)
        h = h + self.after((weights @ value).transpose(1, 2).reshape(size, longest, width))

        v = v + self._gathered(edges, direction, valid, cond.mask) + self._carried(weights, v)
        if len(cond.triples):
            h, first = self._handedness(h, v[:, :, : PARTS[0]], places, cond.triples)
            v = torch.cat((first, v[:, :, PARTS[0] :]), 2)
        h, v = self._mixed(self.norm2(h) * (1 + shift[2]) + shift[3], h, v, valid)
        vectors = v[:, :, : PARTS[0]]
        return h, vectors if self.last else v, places + self.move(bounded(vectors))[..., 0]

    def _gathered(self, edges: list[Tensor], direction: Tensor, valid: Tensor, mask: Tensor) -> Tensor:
        """Sums over partners of spherical harmonics, with coefficients from the pairs; ``(B, N, 8, V)``."""
        # Solid harmonics: polynomials of the soft direction, so nothing jumps where two atoms meet.
        harmonics = o3.spherical_harmonics([1, 2], direction, normalize=False, normalization="norm")
        found = []
        for coefficients, values in zip(edges, harmonics.split(PARTS, -1), strict=True):
            spread = (coefficients * valid[:, None]).transpose(-1, -2) / longest_scale(mask)
            found.append((spread @ values).transpose(-1, -2))
        return torch.cat(found, 2)

    def _carried(self, weights: Tensor, v: Tensor) -> Tensor:
        """Features of other atoms, brought along by attention."""
        size, longest, parts, _ = v.shape
        first, second = bounded(v).split(PARTS, 2)
        moved = torch.cat((self.carry(first), self.carry2(second)), 2)
        moved = moved.reshape(size, longest, parts, self.heads, -1).permute(0, 3, 1, 2, 4)
        return (weights @ moved.flatten(3)).unflatten(3, (parts, -1)).permute(0, 2, 3, 1, 4).flatten(3)

    def _mixed(self, b: Tensor, h: Tensor, v: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Scalars from invariants; features from gated linear maps and the tensor product."""
        parts = bounded(v).split(PARTS, 2)
        pairs = [mix(part).chunk(2, -1) for mix, part in zip((self.mix, self.mix2), parts, strict=True)]
        norms = [(one.square().sum(2) + 1e-6).sqrt() for one, _ in pairs]
        inner = [(one * two).sum(2) for one, two in pairs]
        flat = torch.cat([part.transpose(-1, -2).flatten(2) for part in parts], -1)
        flat = self.product(flat, flat)
        count = v.shape[-1]
        products = [
            block.unflatten(-1, (count, -1)).transpose(-1, -2)
            for block in flat.split([count * size for size in PARTS], -1)
        ]
        scalar, *gates = self.ffn(torch.cat((b, *norms, *inner), -1)).split((b.shape[-1], *6 * (count,)), -1)
        change = [
            gates[3 * k][:, :, None] * one
            + gates[3 * k + 1][:, :, None] * two
            + gates[3 * k + 2][:, :, None] * new
            for k, ((one, two), new) in enumerate(zip(pairs, products, strict=True))
        ]
        return (h + scalar) * valid, (v + torch.cat(change, 2)) * valid[..., None]
