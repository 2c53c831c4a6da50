r"""An SO(3)-equivariant transformer on molecular graphs.

Dense attention within a molecule, with scalar features ``h`` and vector features ``v`` (l ≤ 1). Each layer
sees the distances of its own, refined positions (as in EGNN, Satorras et al. 2021; scalar–vector mixing as in
PaiNN, Schütt et al. 2021). Handedness enters through triple products at the stated stereocentres: a
centre whose neighbours ``a, b, c`` must have positive signed volume pushes ``a`` along
``(r_b − r) × (r_c − r)``, which changes sign under reflection together with the label. E/Z enters as pair
types between the ends of a double bond. Without stated stereo the network commutes with reflections as well.
"""

from __future__ import annotations

import math

import torch
from e3nn.math import soft_one_hot_linspace
from pydantic import Field
from torch import Tensor, nn

from scoregen.core.space import Space
from scoregen.training.config import Strict

from .graph import NUM_PAIR_TYPES, Graphs
from .vocabulary import MAX_HOPS, NUM_BOND_FLAGS, NUM_CATEGORIES, THEORIES

MAX_DISTANCE = 15.0


class NetworkConfig(Strict):
    """Sizes of the equivariant transformer."""

    width: int = Field(128, ge=8, description="scalar features")
    vectors: int = Field(32, ge=4, description="vector features")
    pair: int = Field(64, ge=8, description="pair features")
    heads: int = Field(8, ge=1)
    layers: int = Field(6, ge=1)
    radial: int = Field(20, ge=4, description="radial basis functions")
    self_condition: bool = True
    theory: bool = Field(False, description="told the level of theory of the geometries")


class EquivariantTransformer(nn.Module):
    """Predicts a vector for each atom from noisy coordinates and the molecular graph.

    Args:
        config: sizes.
        scale: standard deviation of the whitened data; it turns the unit-scale input into about Å.
    """

    def __init__(self, config: NetworkConfig, scale: float):
        super().__init__()
        self.config, self.scale = config, scale
        width = config.width
        self.atom = nn.ModuleList(nn.Embedding(count, width) for count in NUM_CATEGORIES.values())
        self.level = nn.Sequential(nn.Linear(2 * 32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.theory = nn.Embedding(len(THEORIES), width) if config.theory else None
        self.frequency: Tensor
        self.register_buffer("frequency", torch.logspace(-1, 1.5, 32), persistent=False)
        self.start = nn.Linear(2, config.vectors, bias=False)
        self.estimate = nn.Linear(config.radial, config.pair, bias=False) if config.self_condition else None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.gain = nn.Linear(width, 2)
        self.out = nn.Linear(config.vectors, 1, bias=False)
        if self.theory is not None:
            nn.init.zeros_(self.theory.weight)
        nn.init.zeros_(self.gain.weight)
        nn.init.ones_(self.gain.bias)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, c_noise: Tensor, space: Space, cond: Graphs) -> Tensor:
        """``x (E, 3)`` of unit scale, noise level ``(B,)`` → ``(E, 3)``."""
        mask = cond.mask
        size, longest = mask.shape
        valid = mask[:, :, None]

        def dense(values: Tensor) -> Tensor:
            out = values.new_zeros(size, longest, *values.shape[1:])
            out[mask] = values
            return out

        origin = dense(self.scale * x)
        h = dense(sum(table(cond.atom[:, k]) for k, table in enumerate(self.atom)))
        phase = c_noise[:, None] * self.frequency
        level = self.level(torch.cat((phase.sin(), phase.cos()), -1))
        if self.theory is not None:
            level = level + self.theory(cond.theory)
        hint = None
        change = torch.zeros_like(origin)
        if self.estimate is not None and cond.estimate is not None:
            guess = dense(space.project(cond.estimate).to(x.dtype))
            hint = self.estimate(radial_basis(pairwise(guess)[1], self.config.radial))
            change = guess - origin
        v = self.start(torch.stack((origin, change), -1))
        places = origin
        bias = torch.zeros(size, 1, 1, longest, dtype=x.dtype, device=x.device).masked_fill(
            ~mask[:, None, None], float("-inf")
        )
        for layer in self.layers:
            h, v, places = layer(h, v, places, level, hint, cond, valid, bias)
            hint = None
        gain = self.gain(level)[:, None]
        result = gain[..., :1] * (places - origin) / self.scale + gain[..., 1:] * self.out(bounded(v))[..., 0]
        vectors: Tensor = result[mask]
        return vectors


class Layer(nn.Module):
    """Attention over pairs, transport of vectors, chirality, scalar–vector mixing, and moved positions."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        width, vectors, pair, heads = config.width, config.vectors, config.pair, config.heads
        self.heads, self.radial = heads, config.radial
        codes = NUM_PAIR_TYPES * NUM_BOND_FLAGS * (MAX_HOPS + 1)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 4 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.ends = nn.Linear(width, 2 * pair, bias=False)
        self.code = nn.Embedding(codes, pair)
        self.basis = nn.Linear(config.radial, pair)
        self.pair = nn.Linear(pair, heads + vectors)
        self.carry = nn.Linear(vectors, vectors, bias=False)
        self.after = nn.Linear(width, width)
        self.chiral = nn.Sequential(
            nn.Linear(2 * width + 1, width // 2), nn.SiLU(), nn.Linear(width // 2, vectors)
        )
        self.volume = nn.Linear(1, width, bias=False)
        self.mix = nn.Linear(vectors, 2 * vectors, bias=False)
        last = nn.Linear(2 * width, width + 2 * vectors)
        self.ffn = nn.Sequential(nn.Linear(width + 2 * vectors, 2 * width), nn.SiLU(), last)
        self.move = nn.Linear(vectors, 1, bias=False)
        nn.init.normal_(self.code.weight, std=0.3)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        nn.init.normal_(self.move.weight, std=0.02)
        nn.init.normal_(last.weight, std=0.02)

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
        """``h (B, N, W)``, ``v (B, N, 3, V)``, ``places (B, N, 3)`` → the same, refined."""
        size, longest, width = h.shape
        shift = self.modulate(level)[:, None].chunk(4, -1)
        a = self.norm(h) * (1 + shift[0]) + shift[1]

        direction, distance = pairwise(places)
        left, right = self.ends(a).chunk(2, -1)
        u = self.basis(radial_basis(distance, self.radial)) + self.code(cond.code)
        u = u + left[:, :, None] + right[:, None]
        if hint is not None:
            u = u + hint
        logits, edges = self.pair(nn.functional.silu(u)).split((self.heads, v.shape[-1]), -1)

        q, k, value = self.qkv(a).reshape(size, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + logits.permute(0, 3, 1, 2) + bias).softmax(
            -1
        )
        h = h + self.after((weights @ value).transpose(1, 2).reshape(size, longest, width))

        # Vectors arrive along the pair directions and from the vectors of other atoms.
        edges = (edges * valid[:, None]).transpose(-1, -2) / longest_scale(cond.mask)
        along = (edges @ direction).transpose(-1, -2)
        moved = self.carry(bounded(v)).reshape(size, longest, 3, self.heads, -1).permute(0, 3, 1, 2, 4)
        moved = (weights @ moved.flatten(3)).unflatten(3, (3, -1)).permute(0, 2, 3, 1, 4).flatten(3)
        v = v + along + moved
        if len(cond.triples):
            h, v = self._handedness(h, v, places, cond.triples)

        b = self.norm2(h) * (1 + shift[2]) + shift[3]
        first, second = self.mix(bounded(v)).chunk(2, -1)
        norms = (first.square().sum(2) + 1e-6).sqrt()
        inner = (first * second).sum(2)
        scalar, gate, blend = self.ffn(torch.cat((b, norms, inner), -1)).split(
            (width, v.shape[-1], v.shape[-1]), -1
        )
        h = (h + scalar) * valid
        v = (v + gate[:, :, None] * first + blend[:, :, None] * second) * valid[..., None]
        return h, v, places + self.move(bounded(v))[..., 0]

    def _handedness(self, h: Tensor, v: Tensor, places: Tensor, triples: Tensor) -> tuple[Tensor, Tensor]:
        """Push the neighbours of stated stereocentres towards the stated handedness."""
        shape_h, shape_v = h.shape, v.shape
        h, v, flat = h.flatten(0, 1), v.flatten(0, 1), places.flatten(0, 1)
        centre = triples[:, 0]
        around = flat[triples[:, 1:]] - flat[centre][:, None]
        normal = torch.linalg.cross(around.roll(-1, 1), around.roll(-2, 1))
        normal = normal / (normal.square().sum(-1, keepdim=True) + 1).sqrt()
        arms = around / (around.square().sum(-1, keepdim=True) + 1).sqrt()
        volume = torch.linalg.det(arms)[:, None]
        ends = triples[:, 1:].reshape(-1)
        feature = torch.cat(
            (
                h[ends],
                h[centre].repeat_interleave(3, 0),
                volume.repeat_interleave(3, 0),
            ),
            -1,
        )
        push = normal.reshape(-1, 3, 1) * self.chiral(feature)[:, None]
        v = v.index_add(0, ends, push.to(v.dtype))
        h = h.index_add(0, centre, self.volume(volume).to(h.dtype))
        return h.reshape(shape_h), v.reshape(shape_v)


def pairwise(places: Tensor) -> tuple[Tensor, Tensor]:
    """Directions ``(B, N, N, 3)`` (i to j, soft near 0, length below 1) and distances ``(B, N, N)``."""
    offset = places[:, None] - places[:, :, None]
    distance = (offset.square().sum(-1) + 1e-8).sqrt()
    return offset / (distance + 1)[..., None], distance


def bounded(v: Tensor) -> Tensor:
    """Vectors of each atom scaled to a root mean square below 1, ``(B, N, 3, V)``: products stay tame."""
    return v / (v.square().sum(2, keepdim=True).mean(-1, keepdim=True) + 1).sqrt()


def radial_basis(distance: Tensor, count: int) -> Tensor:
    """Gaussians evenly spaced in ``log(1 + r)``, so finest at bond lengths: ``(..., count)``."""
    end = math.log1p(MAX_DISTANCE)
    basis: Tensor = soft_one_hot_linspace(
        torch.log1p(distance), 0.0, end, count, basis="gaussian", cutoff=False
    )
    return basis


def longest_scale(mask: Tensor) -> Tensor:
    """√n of each molecule, ``(B, 1, 1, 1)``."""
    return mask.sum(1).to(torch.float32).sqrt()[:, None, None, None]
