r"""States made of several fields, each with its own process and its own space.

A candidate molecule is coordinates, atom types and bonds; each diffuses on its own schedule, and one
network denoises them together. Such a state is *packed*: the fields of all samples, flattened, one after
the other in a single tensor ``(E,)``. To solvers, losses, guides and likelihoods it is a state like any
other; a :class:`ProductSpace` packs and unpacks, and a :class:`ProductSDE` has one (α, σ) per field.

.. code-block:: python

    sde = ProductSDE({"position": EDM(), "type": VP()})
    space = ProductSpace({"position": FactorSpace(...), "type": RaggedSpace(...)})
    x = sample(denoise, sde, space, solver=DDIM(), grid=karras_grid(sde, 20), noise=noise)
    position, kind = space.unpack(x).values()

All fields share one clock ``t ∈ [0, 1]``; a field's own time is ``t_max · t^power``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .sde import SDE, Schedule, as_float64
from .space import Space


@dataclass(frozen=True)
class Warped(Schedule):
    r"""A process on the clock ``u ∈ [0, 1]``: its own time is ``t_max · u^power``.

    Powers above 1 spend more of the clock near the data; EDM with 7 is close to Karras' spacing.

    Args:
        sde: the process.
        power: positive exponent.

    Raises:
        ValueError: the power is not positive.
    """

    sde: SDE
    power: float = 1.0
    t_max: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise ValueError(f"power must be positive, got {self.power}")

    @property
    def t_min(self) -> float:
        """The time nearest the data that training and grids go to."""
        return float((self.sde.t_min / self.sde.t_max) ** (1 / self.power))

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α(t), σ(t))``, float64, each shaped as ``t``."""
        return self.sde.marginal(self.sde.t_max * as_float64(t) ** self.power)

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α'(t), σ'(t))``, float64, each shaped as ``t``."""
        u = as_float64(t)
        alpha_rate, sigma_rate = self.sde.rates(self.sde.t_max * u**self.power)
        chain = self.sde.t_max * self.power * u ** (self.power - 1)
        return alpha_rate * chain, sigma_rate * chain

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which ``log(α²/σ²)`` equals ``log_snr``, float64, shaped as ``log_snr``."""
        return (self.sde.time(log_snr) / self.sde.t_max) ** (1 / self.power)


@dataclass(frozen=True, eq=False)
class ProductSDE(Schedule):
    """Several processes on one clock ``t ∈ [0, 1]``; schedules get a last axis of length F, one per field.

    ``time`` inverts the schedule of the first field, so grids made for the product follow that field.

    Args:
        fields: process of each field, in the order of the fields of the space.
        powers: exponent of each field's time (see :class:`Warped`); 1 where not given.

    Raises:
        ValueError: no field, or a power for a field that is not there.
    """

    fields: Mapping[str, SDE]
    powers: Mapping[str, float] = field(default_factory=dict)
    t_max: float = field(default=1.0, init=False)
    parts: tuple[Warped, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("a product needs at least one field")
        unknown = set(self.powers) - set(self.fields)
        if unknown:
            raise ValueError(f"powers for unknown fields: {', '.join(sorted(unknown))}")
        parts = tuple(Warped(sde, self.powers.get(name, 1.0)) for name, sde in self.fields.items())
        object.__setattr__(self, "parts", parts)

    @property
    def t_min(self) -> float:
        """The time nearest the data that training and grids go to."""
        return max(part.t_min for part in self.parts)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α, σ)``, each ``(*t.shape, F)``, float64."""
        alpha, sigma = zip(*(part.marginal(t) for part in self.parts), strict=True)
        return torch.stack(alpha, -1), torch.stack(sigma, -1)

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(α', σ')``, each ``(*t.shape, F)``, float64."""
        alpha, sigma = zip(*(part.rates(t) for part in self.parts), strict=True)
        return torch.stack(alpha, -1), torch.stack(sigma, -1)

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which the first field has this log-SNR, shaped as ``log_snr``."""
        return self.parts[0].time(log_snr)


@dataclass(frozen=True)
class ProductSpace:
    """The space of packed states ``(E,)``: fields one after the other, each flattened.

    Args:
        fields: space of each field; all hold the same samples.

    Raises:
        ValueError: no field, different numbers of samples, or different dtypes or devices.
    """

    fields: Mapping[str, Space]
    longest: int = field(init=False)
    _blank: Tensor = field(init=False, repr=False)
    _shapes: tuple[torch.Size, ...] = field(init=False, repr=False)
    _sample: Tensor = field(init=False, repr=False)
    _place: Tensor = field(init=False, repr=False)
    _field: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("a product needs at least one field")
        sizes = {name: space.size for name, space in self.fields.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the fields hold different numbers of samples: {sizes}")
        blanks = [space.zeros() for space in self.fields.values()]
        if len({(blank.dtype, blank.device) for blank in blanks}) > 1:
            raise ValueError("the fields must share one dtype and one device")
        samples, places, used = [], [], torch.zeros(self.size, dtype=torch.int64, device=blanks[0].device)
        for space, blank in zip(self.fields.values(), blanks, strict=True):
            sample, index = space.positions()
            width = blank.numel() // max(len(sample), 1)
            sample = sample.repeat_interleave(width)
            place = (index[:, None] * width + torch.arange(width, device=index.device)).flatten()
            samples.append(sample)
            places.append(place + used[sample])
            used = used + torch.bincount(sample, minlength=self.size)
        owner = [torch.full_like(s, f) for f, s in enumerate(samples)]
        for name, value in {
            "longest": int(used.max()),
            "_blank": torch.cat([blank.flatten() for blank in blanks]),
            "_shapes": tuple(blank.shape for blank in blanks),
            "_sample": torch.cat(samples),
            "_place": torch.cat(places),
            "_field": torch.cat(owner),
        }.items():
            object.__setattr__(self, name, value)

    @property
    def size(self) -> int:
        """Number of samples B."""
        return next(iter(self.fields.values())).size

    def pack(self, fields: Mapping[str, Tensor]) -> Tensor:
        """The states of all fields as one tensor ``(E,)``.

        Raises:
            ValueError: a field is missing, unknown or of the wrong shape.
        """
        if set(fields) != set(self.fields):
            raise ValueError(f"expected the fields {', '.join(self.fields)}, got {', '.join(fields)}")
        for name, shape in zip(self.fields, self._shapes, strict=True):
            if fields[name].shape != shape:
                got = tuple(fields[name].shape)
                raise ValueError(f"field '{name}' must have shape {tuple(shape)}, got {got}")
        return torch.cat([fields[name].flatten() for name in self.fields])

    def unpack(self, x: Tensor) -> dict[str, Tensor]:
        """The inverse of :meth:`pack`: each field's state, by name."""
        pieces = zip(self.fields, self.split(x), self._shapes, strict=True)
        return {name: piece.reshape(shape) for name, piece, shape in pieces}

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Each field's part of a packed state, still flat: views, in the order of the fields."""
        return torch.split(x, [shape.numel() for shape in self._shapes])

    def fill(self, values: Sequence[float]) -> Tensor:
        """A state with one number in every element of a field, for each field its own, ``(E,)``.

        Made on the device of the state: numbers of the host never have to be copied there.
        """
        like = self._blank
        parts = zip(self._shapes, values, strict=True)
        return torch.cat([like.new_full((shape.numel(),), value) for shape, value in parts])

    def zeros(self) -> Tensor:
        """A zero state, of the shape, dtype and device of every state of this batch."""
        return torch.zeros_like(self._blank)

    def expand(self, t: Tensor, like: Tensor) -> Tensor:
        """Values a sample ``(B,)``, or a sample and field ``(B, F)`` or ``(1, F)``, to elements ``(E,)``."""
        if t.ndim == 0:
            return t
        if t.ndim == 1:
            return t[self._sample]
        return t[0, self._field] if len(t) == 1 else t[self._sample, self._field]

    def sum(self, x: Tensor) -> Tensor:
        """Sum over each sample's elements, ``(B,)`` in the dtype of ``x``."""
        total = torch.zeros(self.size, dtype=x.dtype, device=x.device)
        return total.index_add(0, self._sample, x)

    def dof(self) -> Tensor:
        """Rank of the projection, ``(B,)`` float64."""
        return torch.stack([space.dof() for space in self.fields.values()]).sum(0)

    def positions(self) -> tuple[Tensor, Tensor]:
        """``(sample, index)`` of each leading element: which sample, and its place in that sample."""
        return self._sample, self._place

    def _each(self, method: str, x: Tensor) -> Tensor:
        done = {n: getattr(self.fields[n], method)(part) for n, part in self.unpack(x).items()}
        return self.pack(done)

    def project(self, x: Tensor) -> Tensor:
        """The state on the directions that count, shaped as ``x``; idempotent."""
        return self._each("project", x)

    def color(self, z: Tensor) -> Tensor:
        """``Σ^{1/2} z``: white noise to shaped noise, projected; shaped as ``z``."""
        return self._each("color", z)

    def whiten(self, x: Tensor) -> Tensor:
        """``Σ^{−1/2} x``, the pseudo-inverse of :meth:`color`; shaped as ``x``."""
        return self._each("whiten", x)

    def logdet(self) -> Tensor:
        """Log pseudo-determinant of Σ on the projected space, ``(B,)`` float64."""
        return torch.stack([space.logdet() for space in self.fields.values()]).sum(0)
