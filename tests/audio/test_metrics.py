from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from scoregen.audio.losses import mr_stft
from scoregen.audio.metrics import log_mel_l1, mr_stft_distance, pesq_wb, stoi
from scoregen.errors import InputError, MissingExtra

from .helpers import SPEC, speech


def noisy(level: float) -> np.ndarray:
    wave = speech(0)
    noise = np.random.default_rng(0).normal(0, level * wave.std(), len(wave))
    return (wave + noise).astype(np.float32)


def test_perfect_and_worse_and_worst() -> None:
    """Every measure is at its optimum for the recording itself and orders two noise levels."""
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    wave = speech(0)
    assert pesq_wb(wave, wave, 22_050) > 4.6
    assert stoi(wave, wave, 22_050) > 0.999
    assert mr_stft_distance(wave, wave) < 1e-5
    assert log_mel_l1(wave, wave, SPEC) == 0
    for measure, better in ((pesq_wb, 1), (stoi, 1), (lambda a, b, _: mr_stft_distance(a, b), -1)):
        scores = [measure(wave, noisy(level), 22_050) for level in (0.03, 0.5)]
        assert better * scores[0] > better * scores[1]


def test_mr_stft_is_its_formula() -> None:
    x, y = (torch.randn(1, 600, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    got = float(mr_stft(x, y, sizes=(64,), floor=1e-3))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)

    def magnitude(v: torch.Tensor) -> np.ndarray:
        padded = np.pad(v[0].numpy(), 32, mode="reflect")
        starts = range(0, len(padded) - 63, 16)
        return np.abs(np.stack([np.fft.rfft(padded[s : s + 64] * window) for s in starts]))

    a, b = magnitude(x), magnitude(y)
    want = np.linalg.norm(a - b) / np.linalg.norm(b) + np.abs(np.log(a + 1e-3) - np.log(b + 1e-3)).mean()
    assert got == pytest.approx(want, rel=1e-4)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="equal length"):
        mr_stft_distance(np.zeros(5_000), np.zeros(5_001))
    pytest.importorskip("pesq")
    with pytest.raises(InputError, match="quarter of a second"):
        pesq_wb(np.zeros(100), np.zeros(100), 22_050)
    with pytest.raises(InputError, match="PESQ cannot"):
        pesq_wb(np.zeros(22_050, np.float32), np.zeros(22_050, np.float32), 22_050)
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(MissingExtra, match=r"scoregen\[metrics\]"):
        pesq_wb(speech(0), speech(0), 22_050)
