r"""A graph transformer that denoises candidates: atoms, bonds and, where asked for, coordinates together.

Categories diffuse as one-hot vectors under Gaussian noise (Dieleman et al., *Continuous diffusion for
categorical data*, 2022; the fields are those of Vignac et al., *MiDi*, 2023). The network does not have to
learn what noise does to a one-hot vector: it adds its logits to those of the posterior
(:mod:`scoregen.molecules.design.categories`), so that at low noise the estimate is right by construction and
at high noise it is the network's. A category that is not allowed never comes out.

Features that tell valences and rings are taken from the graph that is likely so far: the network's own last
estimate (self-conditioning; Chen et al., *Analog Bits*, 2023), or the posterior. They are the sums of bond
orders against what the token asks for, and powers of the normalised soft adjacency matrix, whose diagonals
weigh closed walks (random-walk encodings; Ma et al., *GRIT*, 2023). Atoms are numbered along a walk over the
molecule (:mod:`scoregen.molecules.design.ordering`), and the network is told the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from scoregen.core.fields import ProductSpace
from scoregen.core.space import Space
from scoregen.molecules.network import bounded, pairwise, radial_basis
from scoregen.training.config import Strict

from .categories import evidence, order_prior, restricted
from .state import Condition, Layout
from .tokens import NUM_ORDERS, NUM_TOKENS, OPEN_ORDERS, PROPERTIES

_LEVELS = 32
APART = 32
"""Pairs farther apart in number are alike."""

FROM_END = 48
"""So are atoms farther from an end."""


class CandidateNetworkConfig(Strict):
    """Sizes of the network."""

    width: int = Field(128, ge=8, description="features of an atom")
    pair: int = Field(64, ge=8, description="features of a pair")
    heads: int = Field(8, ge=1)
    layers: int = Field(6, ge=1)
    triangles: int = Field(16, ge=1, description="channels of the products over third atoms")
    walks: int = Field(8, ge=1, description="powers of the soft adjacency matrix")
    numbered: bool = Field(True, description="told the numbers of the atoms, which follow a walk")
    coordinates: bool = Field(False, description="positions diffuse along")
    vectors: int = Field(16, ge=4, description="vector features, with coordinates")
    radial: int = Field(20, ge=4, description="radial basis functions, with coordinates")


@dataclass(frozen=True)
class Places:
    """What is geometric: features ``(B, N, 3, V)``, and positions ``(B, N, 3)`` in Å, noisy and refined."""

    vectors: Tensor
    noisy: Tensor
    refined: Tensor


class CandidateNetwork(nn.Module):
    """Estimates clean fields from noisy ones; the ``network`` of a Denoiser with parametrisation ``"x0"``.

    Args:
        config: sizes.
        sigma_data: standard deviation of each field, as the denoiser has them.
    """

    def __init__(self, config: CandidateNetworkConfig, sigma_data: tuple[float, ...]):
        super().__init__()
        self.config, self.sigma_data = config, sigma_data
        width, pair, walks = config.width, config.pair, config.walks
        self.frequency: Tensor
        self.register_buffer("frequency", torch.logspace(-1, 1.5, _LEVELS), persistent=False)
        self.open_orders: Tensor
        self.register_buffer("open_orders", torch.tensor(OPEN_ORDERS, dtype=torch.float32), persistent=False)
        told = 2 * _LEVELS + 1 + 2 * len(PROPERTIES)
        self.level = nn.Sequential(nn.Linear(told, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.token_prior = nn.Parameter(torch.zeros(NUM_TOKENS))
        # The noisy one-hots, posterior and estimate; bonds by order, their sum, the lack; walks; kept or set.
        self.atoms = nn.Linear(3 * NUM_TOKENS + (NUM_ORDERS - 1) + 2 + walks + 2, width)
        self.bonds = nn.Linear(3 * NUM_ORDERS + walks, pair)
        if config.numbered:
            self.near = nn.Embedding(APART + 1, NUM_ORDERS)
            self.apart = nn.Embedding(APART + 1, pair)
            self.ends = nn.ModuleList(nn.Embedding(FROM_END + 1, width) for _ in range(2))
            nn.init.zeros_(self.near.weight)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.to_atoms = nn.Linear(width, NUM_TOKENS)
        self.to_bonds = nn.Linear(pair, NUM_ORDERS)
        nn.init.zeros_(self.to_atoms.weight)
        nn.init.zeros_(self.to_bonds.weight)
        if config.coordinates:
            self.guessed = nn.Linear(config.radial, pair, bias=False)
            self.start = nn.Linear(2, config.vectors, bias=False)
            self.gain = nn.Linear(width, 1)
            nn.init.zeros_(self.gain.weight)
            nn.init.ones_(self.gain.bias)

    def forward(self, x_in: Tensor, c_noise: Tensor, space: Space, cond: Condition) -> Tensor:
        """Packed noisy state of unit scale ``(E,)`` and levels ``(B, F)`` → packed estimate ``(E,)``."""
        assert isinstance(space, ProductSpace)
        layout, sigma = cond.layout, (4 * c_noise).exp()
        spread = sigma.new_tensor(self.sigma_data)
        scale = (sigma.square() + spread.square()).sqrt()
        seen = space.unpack(x_in)

        def known(name: str, field: int, owner: Tensor, prior: Tensor, allowed: Tensor | None) -> Tensor:
            x = seen[name] * scale[owner, field, None]
            return restricted(evidence(x, sigma[owner, field]) + prior, allowed)

        atom_logits = known("atoms", 0, layout.atom, self.token_prior, cond.tokens)
        prior = order_prior(cond)
        if self.config.numbered:
            prior = prior + self.near(layout.pair[:, 1:].diff(dim=1)[:, 0].clamp(max=APART))
        bond_logits = known("bonds", 1, layout.pair[:, 0], prior, cond.orders)
        told = None if cond.estimate is None else space.unpack(cond.estimate)
        level = self._level(c_noise, cond)
        h, e = self._features(seen, atom_logits.softmax(-1), bond_logits.softmax(-1), told, cond)
        places = None
        if self.config.coordinates:
            noisy = layout.dense_atoms(seen["coordinates"] * self.sigma_data[2])
            guess = noisy if told is None else layout.dense_atoms(told["coordinates"])
            if told is not None:
                e = e + self.guessed(radial_basis(pairwise(guess)[1], self.config.radial))
            places = Places(self.start(torch.stack((noisy, guess - noisy), -1)), noisy, noisy)
        for layer in self.layers:
            h, e, places = layer(h, e, places, level, layout)
        out = {
            "atoms": (atom_logits + self.to_atoms(normed(h))[layout.atom, layout.place]).softmax(-1),
            "bonds": (bond_logits + self.to_bonds(normed(layout.flat_pairs(e)))).softmax(-1),
        }
        if places is not None:
            moved = self.gain(level)[:, None] * (places.refined - places.noisy)
            skip, rest = self._edm(sigma[:, 2])
            x = (seen["coordinates"] * scale[layout.atom, 2, None]) * skip[layout.atom]
            out["coordinates"] = x + rest[layout.atom] * moved[layout.atom, layout.place]
        return space.pack(out)

    def _edm(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """``(c_skip, c_out / σ_d)`` of Karras et al. 2022, ``(B, 1)`` each."""
        spread = self.sigma_data[2]
        total = sigma.square() + spread**2
        return (spread**2 / total)[:, None], (sigma / total.sqrt())[:, None]

    def _level(self, c_noise: Tensor, cond: Condition) -> Tensor:
        """What holds for the whole molecule: noise, size, properties wanted; ``(B, width)``."""
        phase = c_noise[:, :1] * self.frequency
        size = cond.layout.counts.to(c_noise.dtype).log()[:, None] - 2.5
        wanted = cond.properties.isfinite()
        values = torch.where(wanted, cond.properties, 0.0)
        told: Tensor = self.level(torch.cat((phase.sin(), phase.cos(), size, values, wanted.to(size)), -1))
        return told

    def _features(
        self,
        seen: dict[str, Tensor],
        token: Tensor,
        order: Tensor,
        told: dict[str, Tensor] | None,
        cond: Condition,
    ) -> tuple[Tensor, Tensor]:
        """First features of atoms ``(B, N, width)`` and pairs ``(B, N, N, pair)``."""
        layout = cond.layout
        guess = {"atoms": token, "bonds": order} if told is None else told
        shown = (torch.zeros_like(token), torch.zeros_like(order)) if told is None else (*told.values(),)
        bonded = layout.dense_pairs(guess["bonds"][:, 1:])
        degrees = bonded.sum(2)
        orders = degrees @ degrees.new_tensor((1.0, 2.0, 3.0))
        lack = layout.dense_atoms(guess["atoms"] @ self.open_orders) - orders
        walks = soft_walks(bonded.sum(-1), self.config.walks)
        kept = cond.kept.to(token.dtype)
        settled = torch.zeros_like(kept) if cond.tokens is None else (cond.tokens.sum(1) == 1).to(kept)
        given = torch.cat((seen["atoms"], token, shown[0], torch.stack((kept, kept * settled), -1)), -1)
        summed = torch.cat((degrees, torch.stack((orders, lack), -1)), -1)
        closed = walks.diagonal(dim1=1, dim2=2).transpose(1, 2)
        h = self.atoms(torch.cat((layout.dense_atoms(given), summed, closed), -1))
        pairs = layout.dense_pairs(torch.cat((seen["bonds"], order, shown[1]), -1))
        e = self.bonds(torch.cat((pairs, walks), -1))
        if self.config.numbered:
            place = torch.arange(layout.longest, device=h.device)
            e = e + self.apart((place[:, None] - place).abs().clamp(max=APART))
            left = (layout.counts[:, None] - 1 - place).clamp(0, FROM_END)
            h = h + self.ends[0](place.clamp(max=FROM_END)) + self.ends[1](left)
        return h, e


class Layer(nn.Module):
    """Pairs hear of their ends and of third atoms, atoms of their pairs; positions move along the pairs."""

    def __init__(self, config: CandidateNetworkConfig):
        super().__init__()
        width, pair, heads, third = config.width, config.pair, config.heads, config.triangles
        self.config, self.heads = config, heads
        self.modulate = nn.Linear(width, 4 * width)
        self.ends = nn.Linear(width, pair, bias=False)
        self.sides = nn.Linear(pair, third, bias=False)
        self.near = nn.Linear(pair, pair)
        self.closing = nn.Linear(third, pair, bias=False)
        self.pair = nn.Linear(pair, pair + heads)
        self.qkv = nn.Linear(width, 3 * width)
        self.after = nn.Linear(width + heads * pair, width)
        vectors = config.vectors if config.coordinates else 0
        self.ffn = nn.Sequential(
            nn.Linear(width + 2 * vectors, 2 * width), nn.SiLU(), nn.Linear(2 * width, width + 2 * vectors)
        )
        if config.coordinates:
            self.basis = nn.Linear(config.radial, pair, bias=False)
            self.along = nn.Linear(pair, vectors, bias=False)
            self.mix = nn.Linear(vectors, 2 * vectors, bias=False)
            self.move = nn.Linear(vectors, 1, bias=False)
            nn.init.normal_(self.move.weight, std=0.02)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        for last in (self.after, self.pair, self.ffn[-1]):
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=0.02)

    def forward(
        self, h: Tensor, e: Tensor, places: Places | None, level: Tensor, layout: Layout
    ) -> tuple[Tensor, Tensor, Places | None]:
        """``h (B, N, W)``, symmetric ``e (B, N, N, P)`` and geometry → the same, refined."""
        size, longest, width = h.shape
        root = layout.counts.to(h.dtype).sqrt()[:, None, None, None]
        shift = self.modulate(level)[:, None].chunk(4, -1)
        a = normed(h) * (1 + shift[0]) + shift[1]
        known = normed(e)
        ends = self.ends(a)
        u = self.near(known) + self.closing(triangles(self.sides(known) * layout.pair_mask[..., None], root))
        u = u + ends[:, :, None] + ends[:, None]
        if places is not None:
            direction, distance = pairwise(places.refined)
            u = u + self.basis(radial_basis(distance, self.config.radial))
        u = functional.silu(u)
        change, logits = self.pair(u).split((e.shape[-1], self.heads), -1)
        e = e + change

        q, k, value = self.qkv(a).reshape(size, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + logits.permute(0, 3, 1, 2)
        weights = scores.masked_fill(~layout.mask[:, None, None], float("-inf")).softmax(-1)
        heard = (weights @ value).transpose(1, 2).reshape(size, longest, width)
        # What the pairs of each atom say, weighed as its attention is: (B, N, heads, N) @ (B, N, N, P).
        seen = (weights.transpose(1, 2) @ u).flatten(2)
        h = h + self.after(torch.cat((heard, seen), -1))

        b = normed(h) * (1 + shift[2]) + shift[3]
        if places is None:
            return h + self.ffn(b), e, None
        pull = (self.along(u) * layout.pair_mask[..., None]).transpose(-1, -2) / root
        v = places.vectors + (pull @ direction).transpose(-1, -2)
        first, second = self.mix(bounded(v)).chunk(2, -1)
        norms, inner = (first.square().sum(2) + 1e-6).sqrt(), (first * second).sum(2)
        parts = (width, v.shape[-1], v.shape[-1])
        scalar, gate, blend = self.ffn(torch.cat((b, norms, inner), -1)).split(parts, -1)
        v = (v + gate[:, :, None] * first + blend[:, :, None] * second) * layout.mask[..., None, None]
        moved = places.refined + self.move(bounded(v))[..., 0]
        return h + scalar, e, Places(v, places.noisy, moved)


def triangles(sides: Tensor, root: Tensor) -> Tensor:
    """``Σ_k s_ik s_kj / √n`` a channel, of symmetric ``(B, N, N, R)``; as :math:`A^2` counts paths of two.

    Args:
        sides: zero where there is no pair.
        root: √n of each molecule, ``(B, 1, 1, 1)``.
    """
    matrix = sides.permute(0, 3, 1, 2)
    return (matrix @ matrix).permute(0, 2, 3, 1) / root


def soft_walks(adjacency: Tensor, count: int) -> Tensor:
    """Powers 1 to ``count`` of :math:`D^{-1/2} A D^{-1/2}`, ``(B, N, N)`` → ``(B, N, N, count)``."""
    root = adjacency.sum(-1).clamp(min=0.5).rsqrt()
    step = root[:, :, None] * adjacency * root[:, None]
    powers = [step]
    for _ in range(count - 1):
        powers.append(powers[-1] @ step)
    return torch.stack(powers, -1)


def normed(x: Tensor) -> Tensor:
    """Layer normalisation without learned gains."""
    return functional.layer_norm(x, x.shape[-1:])
