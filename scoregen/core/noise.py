r"""Random numbers keyed by what they are for, not by when they were drawn.

The normal at element ``e`` of sample ``id``, solver step ``k`` and stage ``s`` is a pure function of
``(seed, id, k, s, e)``: the counter-based generator Philox4x32-10 (Salmon et al., *Parallel Random
Numbers: As Easy as 1, 2, 3*, 2011) hashes that key. A sample therefore gets the same noise in any batch,
order, process or chunk. Integer words agree bit for bit on every device; the Box–Muller transform runs
in float64 and is then cast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .space import Space

_MASK = 0xFFFFFFFF
_MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox4x32(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32 with 10 rounds, vectorised.

    Args:
        counter: four int64 tensors of 32-bit words, broadcastable to one shape.
        key: two 32-bit words.

    Returns:
        Four int64 tensors of 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # 64-bit products wrap around, which leaves both 32-bit halves right.
        low, high = c0 * _MULTIPLIER[0], c2 * _MULTIPLIER[1]
        c0 = ((high >> 32) & _MASK) ^ c1 ^ k0
        c2 = ((low >> 32) & _MASK) ^ c3 ^ k1
        c1, c3 = high & _MASK, low & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _uniform(high: Tensor, low: Tensor) -> Tensor:
    """53 random bits as a float64 in (0, 1]."""
    return (((high >> 5) << 26) + (low >> 6) + 1).to(torch.float64) * 2.0**-53


@dataclass(frozen=True)
class Noise:
    """Keyed standard normals for one batch.

    Args:
        seed: any Python integer; its lowest 64 bits count.
        ids: identity of each sample, int64 ``(B,)``. Two samples with one id get the same noise.
        offset: index of the first element of the batch within each sample, for chunks of a long signal.

    Raises:
        ValueError: ids that are not integers ``(B,)``.
    """

    seed: int
    ids: Tensor
    offset: int = 0

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or self.ids.is_floating_point() or self.ids.is_complex():
            raise ValueError(
                f"sample ids are integers (B,), got {self.ids.dtype} of shape {tuple(self.ids.shape)}"
            )

    def on(self, device: torch.device | str) -> Noise:
        """The same noise with its ids on a device, so that drawing copies nothing there."""
        return replace(self, ids=self.ids.to(device=device, dtype=torch.int64))

    def white(self, space: Space, step: int, stage: int = 0) -> Tensor:
        """Standard normals shaped as a state of ``space``, neither coloured nor projected.

        Args:
            space: the batch; ``space.size`` must equal ``len(ids)``.
            step: solver step (or −1 for the start), ``|step| < 2**23``.
            stage: use within the step, ``0 <= stage < 256``.

        Raises:
            ValueError: the number of ids differs from the number of samples, or a key is out of range.
        """
        if len(self.ids) != space.size:
            raise ValueError(f"{len(self.ids)} sample ids for {space.size} samples")
        like = space.zeros()
        sample, index = space.positions()
        features = like.numel() // max(len(sample), 1)
        table = self._table(self.offset * features, space.longest * features, step, stage, like.device)
        rows = table.reshape(space.size, space.longest, features)[sample, index]
        return rows.reshape(like.shape).to(like.dtype)

    def normal(self, space: Space, step: int, stage: int = 0) -> Tensor:
        """Shaped noise ``n ∼ N(0, Σ)`` of ``space``: keyed, coloured, projected; see :meth:`white`."""
        return space.color(self.white(space, step, stage))

    def gumbel(self, space: Space, step: int, stage: int = 0) -> Tensor:
        """Standard Gumbel variates shaped as a state of ``space``, for the Gumbel-max trick.

        ``argmax(log p + g)`` over the categories is a sample of p (Maddison, Tarlow & Minka 2014). They are
        :meth:`white` at their quantiles, so one key gives one of the two, not both independently.
        """
        log_uniform: Tensor = torch.special.log_ndtr(self.white(space, step, stage))
        return -(-log_uniform).log()

    def uniform(self, step: int, stage: int = 0) -> Tensor:
        """One uniform in (0, 1] a sample, float64 ``(B,)``."""
        words = self._words(torch.zeros_like(self.ids), self.ids, step, stage)
        return _uniform(words[0], words[1])

    def _words(self, block: Tensor, ids: Tensor, step: int, stage: int) -> tuple[Tensor, ...]:
        key = (self.seed & _MASK, (self.seed >> 32) & _MASK)
        if not (abs(step) < 2**23 and 0 <= stage < 256):
            raise ValueError(f"noise keys are |step| < 2**23 and 0 <= stage < 256, got {step} and {stage}")
        place = ids.new_full((), (stage << 24) | (step & 0xFFFFFF))
        return philox4x32((block & _MASK, place, ids & _MASK, (ids >> 32) & _MASK), key)

    def _table(self, first: int, count: int, step: int, stage: int, device: torch.device) -> Tensor:
        """Normals of elements ``first … first + count − 1`` of every sample, float64 ``(B, count)``."""
        # A Philox block carries two normals (Box & Muller 1958), the cosine and the sine branch.
        block = torch.arange(first >> 1, (first + count + 1) >> 1, dtype=torch.int64, device=device)
        ids = self.ids.to(device=device, dtype=torch.int64)[:, None]
        words = self._words(block[None], ids, step, stage)
        radius = (-2 * _uniform(words[0], words[1]).log()).sqrt()
        angle = 2 * math.pi * _uniform(words[2], words[3])
        pairs = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1).flatten(1)
        return pairs[:, first & 1 :][:, :count]
