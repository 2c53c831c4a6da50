"""Distances of spectra: zero where they should be, known where they can be."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from scoregen.audio.losses import WINDOWS, _filters, log_mel_distance, mr_stft

from .helpers import SPEC, speech

RATE = SPEC.sample_rate


def waves() -> torch.Tensor:
    return torch.stack([torch.from_numpy(speech(i)[8_000:24_000]) for i in range(2)])


def test_nothing_is_nearer_than_the_same() -> None:
    wave = waves()
    noise = torch.randn(wave.shape, generator=torch.Generator().manual_seed(0)) * 0.01
    for distance in (lambda x: log_mel_distance(x, wave, RATE), lambda x: mr_stft(x, wave)):
        found = [distance(wave + size * noise) for size in (0, 0.1, 1, 10)]
        assert torch.equal(found[0], torch.zeros(2))
        assert all(bool((a < b).all()) for a, b in pairwise(found))


@pytest.mark.parametrize("decibel", [-6.0, 3.0, 12.0])
def test_a_change_of_level_is_its_logarithm(decibel: float) -> None:
    wave = 1e4 * waves()  # the floor is far below
    found = log_mel_distance(wave * 10 ** (decibel / 20), wave, RATE)
    torch.testing.assert_close(found, torch.full((2,), abs(decibel) * math.log(10) / 20), atol=0.01, rtol=0)


def test_phases_do_not_enter() -> None:
    time = torch.arange(16_000) / RATE
    tones = [
        sum(torch.sin(2 * math.pi * f * time + p) for f, p in zip((600, 1700, 3900), phases, strict=True))
        for phases in ((0, 0, 0), (1, 2, 3))
    ]
    a, b = (tone[None] for tone in tones)  # type: ignore[index]
    other = sum(torch.sin(2 * math.pi * f * time) for f in (700, 1900, 3600))
    same, differs = log_mel_distance(a, b, RATE), log_mel_distance(a, other[None], RATE)  # type: ignore[index]
    assert float(same) < 0.2 * float(differs)


def test_silence_has_a_finite_gradient() -> None:
    for x, reference in ((torch.zeros_like(waves()), waves()), (waves(), torch.zeros_like(waves()))):
        x.requires_grad_(True)
        value = log_mel_distance(x, reference, RATE)
        value.sum().backward()
        assert bool(value.isfinite().all())
        assert x.grad is not None and bool(x.grad.isfinite().all())


def test_clips_of_a_batch_do_not_mix_and_rates_are_heeded() -> None:
    wave, other = waves(), waves().flip(0)
    both = log_mel_distance(wave, other, RATE)
    for row in range(2):
        at = slice(row, row + 1)
        torch.testing.assert_close(log_mel_distance(wave[at], other[at], RATE), both[at])
    assert not torch.allclose(log_mel_distance(wave, other, 16_000), both)


@pytest.mark.parametrize("size", WINDOWS)
def test_bands_cover_speech_once(size: int) -> None:
    filters = _filters(size, WINDOWS[size], RATE)
    assert len(filters) <= WINDOWS[size]
    torch.testing.assert_close(filters.sum(1), torch.ones(len(filters)))
    places = torch.arange(size // 2 + 1) * RATE / size
    centres = filters @ places
    assert bool((centres.diff() >= 0).all())
    assert float(centres[0]) < 2 * RATE / size + 100 and 6500 < float(centres[-1]) < 8000
