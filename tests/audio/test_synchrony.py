"""Angular synchronisation: what is consistent stays, noise is averaged out, certainties are calibrated."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scoregen.audio import heap
from scoregen.audio.phase import analyse, unit
from scoregen.audio.synchrony import UP, Edges, edges_of, synchronise, von_mises_loss

from .helpers import SPEC, speech


def turn(angle: torch.Tensor) -> torch.Tensor:
    return torch.polar(torch.ones_like(angle), angle)


def known_phases(bins: int, frames: int, seed: int, size: int = 1) -> tuple[torch.Tensor, Edges]:
    """Phase factors at random, and their true differences with certainties at random, in float64."""
    generator = torch.Generator().manual_seed(seed)
    z = turn(2 * math.pi * torch.rand(size, bins, frames, dtype=torch.float64, generator=generator))
    edges = edges_of(z)
    across, up = (
        edge * (0.2 + torch.rand(edge.shape, dtype=torch.float64, generator=generator))
        for edge in (edges.across, edges.up)
    )
    return z, Edges(across, up)


def noisy(edges: Edges, certainty: float, seed: int) -> Edges:
    """Differences that are off by von Mises noise."""
    rng = np.random.default_rng(seed)
    across, up = (
        edge * turn(torch.from_numpy(rng.vonmises(0, certainty, tuple(edge.shape))))
        for edge in (edges.across, edges.up)
    )
    return Edges(across, up)


def energy(edges: Edges, z: torch.Tensor) -> torch.Tensor:
    """Σ κ cos(φ_j − φ_i − δ), over each member of the batch."""
    return sum((a.conj() * b).real.sum((1, 2)) for a, b in pairs(edges_of(z), edges))


def pairs(a: Edges, b: Edges) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    return (a.across, b.across), (a.up, b.up)


def distance(z: torch.Tensor, true: torch.Tensor) -> float:
    """1 less the mean cosine, after the one angle that cannot be known."""
    return 1 - float((z * true.conj()).mean().abs())


def tree(edges: Edges, magnitude: torch.Tensor) -> torch.Tensor:
    return turn(heap.phases(magnitude, edges.across.angle(), edges.up.angle()).double())


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**31), st.floats(-3, 3))
def test_true_phases_are_a_fixed_point_up_to_one_angle(
    bins: int, frames: int, seed: int, angle: float
) -> None:
    true, edges = known_phases(bins, frames, seed, size=2)
    start = true * turn(torch.tensor(angle, dtype=torch.float64))
    if bins * frames > 1:  # a cell alone is told nothing
        torch.testing.assert_close(synchronise(edges, start, rounds=5), start)
    found = synchronise(edges, tree(edges, torch.ones_like(true.real)), rounds=3)
    for row in range(2):
        assert bins * frames == 1 or distance(found[row], true[row]) < 1e-6


def test_pull_and_degree_are_sums_over_the_edges() -> None:
    z, edges = known_phases(3, 4, 0)
    told, degree = torch.zeros_like(z), torch.zeros_like(z.real)
    for k in range(3):
        for f in range(4):
            for dk, df, edge in ((0, 1, edges.across), (1, 0, edges.up)):
                if k + dk < 3 and f + df < 4:
                    value = edge[0, k, f]
                    told[0, k + dk, f + df] += z[0, k, f] * value
                    told[0, k, f] += z[0, k + dk, f + df] * value.conj()
                    degree[0, k + dk, f + df] += value.abs()
                    degree[0, k, f] += value.abs()
    torch.testing.assert_close(edges.pull(z), told)
    torch.testing.assert_close(edges.degree, degree)
    # The differences are true: every neighbour says what the cell is already.
    torch.testing.assert_close(told, z * degree)


def test_differences_are_those_of_a_recording() -> None:
    spectrum = analyse(SPEC, torch.from_numpy(speech(0)[None, : 20 * SPEC.hop]))
    edges = edges_of(spectrum)
    angle = spectrum.angle()
    expected = turn(angle[..., 1:] - angle[..., :-1]), turn(angle[:, 1:] - angle[:, :-1])
    for edge, along in ((edges.across, expected[0]), (edges.up, expected[1])):
        loud = edge.abs() > 1e-3
        torch.testing.assert_close(unit(edge)[loud], along[loud], atol=1e-3, rtol=0)
    plain = Edges(*(unit(edge) for edge in (edges.across, edges.up))).weighted(spectrum.abs())
    torch.testing.assert_close(plain.across.abs().square(), edges.across.abs(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close((plain.up.abs() / UP).square(), edges.up.abs(), atol=1e-4, rtol=1e-3)


def unlike(a: Edges, b: Edges) -> float:
    """1 less the mean cosine between the differences of two."""
    return 1 - float(torch.cat([(unit(x) * unit(y).conj()).real.flatten() for x, y in pairs(a, b)]).mean())


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_averaged_out(seed: int) -> None:
    true, edges = known_phases(20, 40, seed)
    found = noisy(edges, 20.0, seed)
    first = z = tree(found, torch.ones_like(true.real))
    values = [float(energy(found, z))]
    for _ in range(60):
        z = synchronise(found, z, rounds=1)
        values.append(float(energy(found, z)))
    assert all(b > a * (1 - 1e-6) for a, b in pairwise(values))
    # As likely as the truth, where the tree is far below.
    assert values[0] < 0.9 * float(energy(found, true)) < 0.9 * values[-1]
    # A grid has two differences a cell, and phases one number: half of the noise is seen to be noise.
    left = unlike(edges_of(z), edges) / unlike(found, edges)
    assert 0.4 < left < 0.75
    assert unlike(edges_of(z), edges) < 0.2 * unlike(edges_of(first), edges)
    assert distance(z, true) < 0.6 * distance(first, true)


def test_certain_differences_count_more() -> None:
    # Three cells in a ring of four: the fourth hears two neighbours that disagree.
    across = torch.ones(1, 2, 1, dtype=torch.complex128)
    up = torch.ones(1, 1, 2, dtype=torch.complex128)
    across[0, 1, 0] = 9 * turn(torch.tensor(1.0, dtype=torch.float64))
    z = torch.ones(1, 2, 2, dtype=torch.complex128)
    told = synchronise(Edges(across, up), z, rounds=1)[0, 1, 1]
    expected = unit(9 * torch.exp(torch.tensor(1j)) + 1 + 0.3 * 10)
    assert complex(told) == pytest.approx(complex(expected))


def test_anchors_win_when_they_are_strong_and_are_ignored_at_zero() -> None:
    _, edges = known_phases(6, 7, 1)
    z, _ = known_phases(6, 7, 2)
    anchor, _ = known_phases(6, 7, 3)
    plain = synchronise(edges, z, rounds=4)
    torch.testing.assert_close(synchronise(edges, z, rounds=4, anchor=0 * anchor), plain)
    strong = synchronise(edges, z, rounds=4, anchor=1e8 * anchor)
    torch.testing.assert_close(strong, anchor, atol=1e-6, rtol=0)
    between = synchronise(edges, z, rounds=4, anchor=anchor)
    agreement = [float((found * anchor.conj()).real.mean()) for found in (plain, between, strong)]
    assert agreement[0] < agreement[1] < agreement[2]


def test_weak_anchors_say_the_one_angle_that_differences_do_not() -> None:
    true, edges = known_phases(5, 6, 0)
    start = true * turn(torch.tensor(2.0, dtype=torch.float64))
    found = synchronise(edges, start, rounds=300, anchor=0.1 * true)
    torch.testing.assert_close(found, true, atol=1e-3, rtol=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 6), st.integers(0, 2**31))
def test_known_frames_are_kept(known: int, seed: int) -> None:
    _, edges = known_phases(4, 6, seed)
    z, _ = known_phases(4, 6, seed + 1)
    found = synchronise(edges, z, rounds=3, known=known)
    assert torch.equal(found[..., :known], z[..., :known])
    if known < 6:
        assert not torch.allclose(found[..., known:], z[..., known:])
    torch.testing.assert_close(found.abs(), torch.ones_like(found.abs()))


def test_batches_are_their_members() -> None:
    _, edges = known_phases(5, 6, 0, size=3)
    z, _ = known_phases(5, 6, 1, size=3)
    anchor, _ = known_phases(5, 6, 2, size=3)
    together = synchronise(edges, z, rounds=4, anchor=anchor)
    for row in range(3):
        at = slice(row, row + 1)
        alone = replace(edges, across=edges.across[at], up=edges.up[at])
        assert torch.equal(synchronise(alone, z[at], rounds=4, anchor=anchor[at]), together[at])


@settings(deadline=None, max_examples=20)
@given(st.floats(-math.pi, math.pi), st.integers(0, 2**31))
def test_a_turn_of_all_phases_turns_the_result(angle: float, seed: int) -> None:
    _, edges = known_phases(5, 6, seed)
    z, _ = known_phases(5, 6, seed + 1)
    by = turn(torch.tensor(angle, dtype=torch.float64))
    torch.testing.assert_close(
        synchronise(edges, z * by, rounds=4, anchor=z * by), synchronise(edges, z, rounds=4, anchor=z) * by
    )


@pytest.mark.parametrize("certainty", [0.5, 3.0, 40.0])
def test_the_loss_is_least_at_the_true_certainty(certainty: float) -> None:
    angles = stats.vonmises.rvs(certainty, size=200_000, random_state=np.random.default_rng(0))
    cosine = torch.from_numpy(np.cos(angles))
    slopes = []
    for factor in (0.9, 1.0, 1.1):
        kappa = torch.tensor(factor * certainty, dtype=torch.float64, requires_grad=True)
        von_mises_loss(cosine, kappa.expand_as(cosine)).mean().backward()
        slopes.append(float(kappa.grad))  # type: ignore[arg-type]
    error = float(cosine.std()) / math.sqrt(len(cosine))
    assert slopes[0] < -5 * error
    assert abs(slopes[1]) < 4 * error
    assert slopes[2] > 5 * error


@given(st.floats(-math.pi, math.pi), st.floats(1e-3, 3e3))
@settings(deadline=None)
def test_the_loss_is_minus_the_log_density_less_ln_2_pi(angle: float, certainty: float) -> None:
    values = (torch.tensor(x, dtype=torch.float64) for x in (math.cos(angle), certainty))
    expected = -stats.vonmises.logpdf(angle, certainty) - math.log(2 * math.pi)
    assert float(von_mises_loss(*values)) == pytest.approx(expected, rel=1e-6, abs=1e-6)
