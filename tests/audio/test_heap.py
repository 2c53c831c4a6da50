"""Phases from magnitudes: exact slopes of signals that have them, and the integral on any graph."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio.heap import between, integrate, phases, slopes
from scoregen.audio.mel import MelSpec
from scoregen.audio.phase import Grid, analyse, outer, synthesise

from .helpers import SPEC, speech


def wrapped(x: np.ndarray) -> np.ndarray:
    return np.angle(np.exp(1j * x))


def test_a_sinusoid_advances_by_its_own_frequency() -> None:
    frequency = 40.3 / SPEC.n_fft  # between two bins
    wave = torch.cos(2 * math.pi * frequency * torch.arange(24 * SPEC.hop, dtype=torch.float64))[None]
    spectrum = analyse(SPEC, wave)
    per_frame = slopes(SPEC, (spectrum.abs() + 1e-12).log())[0][0].numpy()
    near = slice(40, 42)
    # The Hann window is not quite a Gaussian.
    error = wrapped(per_frame[near, 5:-5] - 2 * math.pi * frequency * SPEC.hop)
    assert np.abs(error).max() < 0.15


def test_a_click_has_its_delay() -> None:
    wave = torch.zeros(1, 16 * SPEC.hop, dtype=torch.float64)
    wave[0, 8 * SPEC.hop + 37] = 1.0
    spectrum = analyse(SPEC, wave)
    per_bin = slopes(SPEC, (spectrum.abs() + 1e-12).log())[1][0].numpy()
    spectrum = spectrum[0].numpy()
    loud = np.abs(spectrum).mean(0).argmax()
    error = wrapped(np.diff(np.angle(spectrum[:, loud])) - per_bin[:-1, loud])
    assert np.abs(error[5:-5]).max() < 0.15


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_the_integral_of_a_gradient_is_its_potential(bins: int, frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # A quadratic potential: the mean of the slopes at both ends is then the exact difference.
    m, n = np.meshgrid(np.arange(bins), np.arange(frames), indexing="ij")
    a, b, c, d, e = rng.normal(size=5)
    potential = a * m + b * n + c * m * n + d * m**2 + e * n**2
    per_bin, per_frame = a + c * n + 2 * d * m, b + c * m + 2 * e * n
    weight = rng.normal(size=(bins, frames))
    across, up = (x[0].numpy() for x in between(*(torch.from_numpy(s)[None] for s in (per_frame, per_bin))))
    assert across.shape == (bins, frames - 1) and up.shape == (bins - 1, frames)
    found = integrate(weight, across, up)
    np.testing.assert_allclose(found - found.flat[0], potential - potential.flat[0], atol=1e-9)
    given_frames = int(rng.integers(1, frames + 1))
    kept = integrate(weight, across, up, potential[:, :given_frames] + 0.7)
    np.testing.assert_allclose(kept, potential + 0.7, atol=1e-9)


def test_paths_keep_to_loud_cells() -> None:
    # Two ways from corner to corner; the slopes along the quiet one are nonsense.
    weight = np.array([[5.0, 5.0, 5.0], [-9.0, -9.0, 5.0], [-9.0, -9.0, 4.0]])
    across, up = np.full((3, 2), 50.0), np.full((2, 3), 70.0)
    across[0], up[:, 2] = 1.0, 2.0
    found = integrate(weight, across, up)
    assert found[2, 2] - found[0, 0] == pytest.approx(1 + 1 + 2 + 2)


def of_magnitude(
    grid: MelSpec | Grid, magnitude: torch.Tensor, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Phases by the magnitudes alone."""
    return phases(magnitude, *between(*slopes(grid, (magnitude + 1e-8).log())), known)


def test_known_phases_are_kept_and_continued() -> None:
    wave = torch.from_numpy(speech(0)[None, : 60 * SPEC.hop])
    magnitude = analyse(SPEC, wave).abs()
    whole = of_magnitude(SPEC, magnitude)
    part = of_magnitude(SPEC, magnitude[..., 10:], whole[..., 10:20])
    torch.testing.assert_close(part[..., :10], whole[..., 10:20], atol=1e-5, rtol=0)
    assert part.shape == magnitude[..., 10:].shape


def test_true_differences_give_true_phases() -> None:
    spectrum = analyse(SPEC, torch.from_numpy(speech(0)[None, : 40 * SPEC.hop]))
    angle = spectrum.angle().double()
    found = phases(spectrum.abs(), angle.diff(dim=2), angle.diff(dim=1))
    off = torch.polar(torch.ones_like(angle), found - angle)
    torch.testing.assert_close(off, off.flatten()[0].expand_as(off), atol=1e-4, rtol=0)


def test_a_finer_grid_tells_phases_from_magnitudes_better() -> None:
    wave = torch.from_numpy(speech(0)[None, : 120 * SPEC.hop])
    errors = []
    for times in (1, 2):
        grid = Grid.finer(SPEC, times)
        magnitude = analyse(grid, wave)[..., 1:-1].abs()
        made = synthesise(grid, outer(torch.polar(magnitude, of_magnitude(grid, magnitude))))
        found = analyse(grid, made)[..., 1:-1].abs()
        errors.append(float((found - magnitude).norm() / magnitude.norm()))
    noise = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    made = synthesise(grid, outer(torch.polar(magnitude, noise)))
    random = float((analyse(grid, made)[..., 1:-1].abs() - magnitude).norm() / magnitude.norm())
    assert errors[1] < 0.8 * errors[0] < 0.8 * random


def test_batches_are_their_members() -> None:
    magnitude = torch.rand(3, 33, 7, generator=torch.Generator().manual_seed(0))
    together = of_magnitude(SPEC, magnitude)
    for row in range(3):
        assert torch.equal(together[row], of_magnitude(SPEC, magnitude[row : row + 1])[0])
