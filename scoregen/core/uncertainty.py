r"""Uncertainty of a generated sample: how far apart are the answers the model holds possible?

One batch is drawn ``n`` times with independent keyed noise, under the same condition. The spread of the
members says how much the condition leaves open; their log-likelihoods say how plausible each of them is and
estimate the entropy ``−E[log p]``; and where an unnormalised target density is known (an energy, a
measurement) importance weights ``target/p`` with their effective sample size say how well the ensemble
covers it (Kong 1992; Noé et al., *Boltzmann Generators*, 2019, eq. 12).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoise
from .grid import Grid
from .noise import Noise, philox4x32
from .sampling import Guide, sample
from .sde import SDE
from .solvers.base import Solver
from .space import Space

Align = Callable[[Tensor, Tensor], Tensor]
"""``align(x, reference)``: x moved onto the reference, sample by sample (e.g. Kabsch); a state."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""``distance(x, y)``: one number a sample, ``(B,)``."""
LogDensity = Callable[[Tensor], Tensor]
"""A state to a log-density a sample, ``(B,)``."""


@dataclass(frozen=True)
class Ensemble:
    """n members of each of B samples and what their spread says.

    Args:
        members: the drawn samples, ``(n, *state)``, as drawn (not aligned).
        mean: their mean, aligned where an alignment was given; a state.
        element_std: standard deviation of each element over the (aligned) members; a state, in its units.
        rms: root mean square deviation of a member from the mean, per degree of freedom, in the units of the
            state, ``(B,)`` float64.
        spread: the same in the whitened metric of the space (in units of the shaped noise), or, where a
            distance was given, the root mean square of the pairwise distances over √2, which for a Euclidean
            distance is the root mean square deviation from the mean, ``(B,)`` float64.
        log_prob: log-likelihood of each member in nats, ``(n, B)``; None when not asked for.
        entropy: estimate ``−mean log_prob`` of the differential entropy in nats, ``(B,)``; None likewise.
        entropy_error: its standard error over the members, ``(B,)``; None likewise.
        weights: normalised importance weights ``target/p``, ``(n, B)``; None without a target.
        effective_size: ``1/Σ weights²``, between 1 and n, ``(B,)``; None without a target.

    All spreads are unbiased in the variance (divisor n − 1).
    """

    members: Tensor
    mean: Tensor
    element_std: Tensor
    rms: Tensor
    spread: Tensor
    log_prob: Tensor | None = None
    entropy: Tensor | None = None
    entropy_error: Tensor | None = None
    weights: Tensor | None = None
    effective_size: Tensor | None = None

    @property
    def most_likely(self) -> Tensor:
        """Index of the member of highest likelihood, int64 ``(B,)``.

        Raises:
            ValueError: the ensemble was drawn without likelihoods.
        """
        if self.log_prob is None:
            raise ValueError("this ensemble has no likelihoods; pass log_prob to draw_ensemble")
        return self.log_prob.argmax(0)


def member_noise(noise: Noise, member: int) -> Noise:
    """The keyed noise of one member: a pure function of (seed, member, id), whatever batch the id is in.

    Member 0 is ``noise`` itself, so the first member is what ``sample`` draws.

    Args:
        noise: seed and sample ids.
        member: number of the member, ``0 <= member < 2**32``.

    Raises:
        ValueError: the number is out of range.
    """
    if not 0 <= member < 2**32:
        raise ValueError(f"member must lie in [0, 2**32), got {member}")
    if member == 0:
        return noise
    # Hashed, not added: seeds 0 and 1 would otherwise share all but one of their members.
    word = torch.tensor([member], dtype=torch.int64)
    zero = torch.zeros_like(word)
    key = (noise.seed & 0xFFFFFFFF, (noise.seed >> 32) & 0xFFFFFFFF)
    low, high, *_ = philox4x32((word, zero, zero, zero), key)
    return replace(noise, seed=(int(high) << 32) | int(low))


def draw_ensemble(
    denoise: Denoise,
    sde: SDE,
    space: Space,
    *,
    solver: Solver[Any],
    grid: Grid,
    noise: Noise,
    members: int = 8,
    guides: Sequence[Guide] = (),
    align: Align | None = None,
    distance: Distance | None = None,
    log_prob: LogDensity | None = None,
    target: LogDensity | None = None,
) -> Ensemble:
    """Draw each sample of a batch several times and measure how far the draws are apart.

    .. code-block:: python

        found = draw_ensemble(denoise, sde, space, solver=DPMpp2M(), grid=grid, noise=noise, members=16,
                              log_prob=lambda x: log_prob(denoise, sde, x, space, noise=noise))
        uncertain = found.spread > 0.5

    Args:
        denoise: ``denoise(x, t) -> Prediction``, with the condition bound to it.
        sde, space, solver, grid, guides: as in :func:`~scoregen.core.sampling.sample`; one run a member.
        noise: keyed noise; see :func:`member_noise`.
        members: how many, at least 2.
        align, distance, log_prob, target: see :func:`summarise`.

    Raises:
        ValueError: fewer than two members, or as in ``sample``.
        NonFiniteSample: a member is not finite.
    """
    if members < 2:
        raise ValueError(f"a spread needs at least two members, got {members}")
    drawn = [
        sample(
            denoise,
            sde,
            space,
            solver=solver,
            grid=grid,
            noise=member_noise(noise, member),
            guides=guides,
        )
        for member in range(members)
    ]
    return summarise(drawn, space, align=align, distance=distance, log_prob=log_prob, target=target)


def summarise(
    members: Iterable[Tensor],
    space: Space,
    *,
    align: Align | None = None,
    distance: Distance | None = None,
    log_prob: LogDensity | None = None,
    target: LogDensity | None = None,
) -> Ensemble:
    """The spread of members drawn by any means.

    Args:
        members: at least two states of ``space``.
        space: the batch.
        align: moves a member onto a reference before deviations are taken; the reference is the first member,
            then the mean of the aligned members (generalised Procrustes; Gower 1975).
        distance: replaces the whitened metric in ``spread``; called for every pair of members.
        log_prob: log-likelihood of a state under the model, e.g. :func:`~scoregen.core.likelihood.log_prob`
            with its arguments bound.
        target: unnormalised log-density to weight the members with, e.g. ``−E/kT``; needs ``log_prob``.

    Raises:
        ValueError: fewer than two members, or a target without ``log_prob``.
    """
    drawn = list(members)
    if len(drawn) < 2:
        raise ValueError(f"a spread needs at least two members, got {len(drawn)}")
    if target is not None and log_prob is None:
        raise ValueError("importance weights need the members' own log_prob besides the target")
    count = len(drawn)
    placed = drawn
    if align is not None:
        placed = [drawn[0], *(align(x, drawn[0]) for x in drawn[1:])]
        middle = torch.stack(placed).mean(0)
        placed = [align(x, middle) for x in placed]
    mean = torch.stack(placed).mean(0)
    deviations = [x - mean for x in placed]
    element = torch.stack([d.square() for d in deviations]).sum(0) / (count - 1)
    dof = space.dof().clamp(min=1.0)
    rms = (space.sum(element).to(torch.float64) / dof).sqrt()
    if distance is None:
        white = torch.stack([space.sum(space.whiten(d).square()).to(torch.float64) for d in deviations])
        spread = (white.sum(0) / (count - 1) / dof).sqrt()
    else:
        pairs = [distance(drawn[i], drawn[j]) for i in range(count) for j in range(i)]
        spread = (torch.stack(pairs).to(torch.float64).square().mean(0) / 2).sqrt()
    found = Ensemble(torch.stack(drawn), mean, element.sqrt(), rms, spread)
    if log_prob is None:
        return found
    nats = torch.stack([log_prob(x).to(torch.float64) for x in drawn])
    found = replace(found, log_prob=nats, entropy=-nats.mean(0), entropy_error=nats.std(0) / math.sqrt(count))
    if target is None:
        return found
    weights = torch.softmax(torch.stack([target(x).to(torch.float64) for x in drawn]) - nats, dim=0)
    return replace(found, weights=weights, effective_size=1 / weights.square().sum(0))
