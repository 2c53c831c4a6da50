from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from scoregen.audio.losses import mr_stft
from scoregen.audio.metrics import (
    ALL_PASS,
    FLOOR,
    ORDER,
    World,
    log_mel_l1,
    mel_cepstral_distortion,
    mel_cepstrum,
    mr_stft_distance,
    pesq_wb,
    stoi,
    voice_scores,
    world,
)
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
    with pytest.raises(InputError, match="PESQ cannot"):
        pesq_wb(speech(0), 0 * speech(0), 22_050)
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(MissingExtra, match=r"scoregen\[metrics\]"):
        pesq_wb(speech(0), speech(0), 22_050)


def envelope(cepstrum: np.ndarray, bins: int = 513) -> np.ndarray:
    """Power ``(F, bins)`` of mel-cepstra ``(F, M)``, from the definition of the warped axis."""
    omega = np.linspace(0, np.pi, bins)
    warped = omega + 2 * np.arctan2(ALL_PASS * np.sin(omega), 1 - ALL_PASS * np.cos(omega))
    return np.exp(2 * cepstrum @ np.cos(np.outer(np.arange(cepstrum.shape[1]), warped)))


def seen(cepstrum: np.ndarray, level: float = 0.0) -> World:
    return World(np.full(len(cepstrum), 100.0), cepstrum, np.full(len(cepstrum), level))


def tone(hertz: float, seconds: float = 1.0, rate: int = 22_050) -> np.ndarray:
    """A sum of harmonics, as a voice has."""
    t = np.arange(int(seconds * rate)) / rate
    return (0.1 * sum(np.cos(2 * np.pi * k * hertz * t) / k for k in range(1, 20))).astype(np.float32)


def inner(wave: np.ndarray, rate: int = 22_050) -> World:
    """What WORLD sees away from the ends, where a tone begins and stops at once."""
    whole = world(wave, rate)
    return World(whole.f0[10:-10], whole.cepstrum[10:-10], whole.level_db[10:-10])


def test_mel_cepstrum_inverts_its_definition() -> None:
    made = np.random.default_rng(0).normal(0, 0.3, (5, ORDER + 1)) / np.arange(1, ORDER + 2)
    np.testing.assert_allclose(mel_cepstrum(envelope(made)), made, atol=1e-6)


def test_mcd_of_a_known_shift() -> None:
    """A cepstral shift of d in coefficient 3 is 10 √2 / ln 10 · d dB; one of c_0 is none."""
    made = np.zeros((4, ORDER + 1))
    shifted = made.copy()
    shifted[:, 3] = 0.2
    shifted[:, 0] = 1.5
    pair = seen(mel_cepstrum(envelope(made))), seen(mel_cepstrum(envelope(shifted)))
    assert mel_cepstral_distortion(*pair) == pytest.approx(0.2 * 10 * np.sqrt(2) / np.log(10), rel=1e-6)
    # Which is the root mean square difference in dB on the warped axis.
    ripple = 20 / np.log(10) * 0.2 * np.cos(3 * np.linspace(0, np.pi, 1000, endpoint=False))
    assert mel_cepstral_distortion(*pair) == pytest.approx(np.sqrt(np.mean(ripple**2)), rel=1e-3)


def test_pauses_do_not_count_for_mcd() -> None:
    made = np.zeros((4, ORDER + 1))
    off = made.copy()
    off[2:, 1] = 1.0
    levels = np.array([0.0, -10.0, -60.0, -90.0])
    assert mel_cepstral_distortion(World(np.zeros(4), made, levels), seen(off)) == 0


def test_voicing_by_hand() -> None:
    cepstrum, level = np.zeros((5, ORDER + 1)), np.zeros(5)
    a = World(np.array([0, 100.0, 100, 200, 0]), cepstrum, level)
    b = World(np.array([0, 110.0, 0, 200, 150]), cepstrum, level)
    scores = voice_scores(a, b)
    assert scores.vuv_error == pytest.approx(2 / 5)
    assert scores.vuv_f1 == pytest.approx(2 * 2 / (2 * 2 + 2))
    assert scores.f0_rmse_hz == pytest.approx(np.sqrt(10**2 / 2))
    assert scores.f0_rmse_cents == pytest.approx(1200 * np.log2(1.1) / np.sqrt(2))
    silent = World(np.zeros(5), cepstrum, level)
    none = voice_scores(silent, silent)
    assert (none.vuv_error, none.vuv_f1, none.f0_rmse_hz, none.f0_rmse_cents) == (0, None, None, None)
    with pytest.raises(InputError, match="equal lengths"):
        voice_scores(a, World(np.zeros(9), np.zeros((9, ORDER + 1)), np.zeros(9)))


def test_a_voice_fifty_cents_higher() -> None:
    pytest.importorskip("pyworld")
    scores = voice_scores(inner(tone(200)), inner(tone(200 * 2 ** (50 / 1200))))
    assert scores.f0_rmse_cents == pytest.approx(50, abs=0.5)
    assert scores.f0_rmse_hz == pytest.approx(200 * (2 ** (50 / 1200) - 1), abs=0.1)
    assert scores.vuv_error == 0
    # At another rate the same voice is the same.
    again = voice_scores(inner(tone(200)), inner(tone(200, rate=24_000), 24_000))
    assert again.f0_rmse_cents == pytest.approx(0, abs=0.5)


def test_the_recording_itself_and_worse() -> None:
    pytest.importorskip("pyworld")
    own, near, far = (world(x, 22_050) for x in (speech(0), noisy(0.03), noisy(0.5)))
    perfect = voice_scores(own, world(speech(0), 22_050))
    assert perfect.as_dict() == {
        "mcd": 0, "f0_rmse_hz": 0, "f0_rmse_cents": 0, "vuv_error": 0, "vuv_f1": 1
    }  # fmt: skip
    assert 0.1 < voice_scores(own, near).mcd < voice_scores(own, far).mcd
    assert 0.2 < (own.f0 > 0).mean() < 0.9
    # The level of a clip is no distortion, but for what sinks below the floor of 16 bits.
    assert voice_scores(own, world(0.5 * speech(0), 22_050)).mcd < 0.15


def test_refusals_of_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(MissingExtra, match=r"pyworld.*scoregen\[metrics\]"):
        world(speech(0), 22_050)
    monkeypatch.undo()
    pytest.importorskip("pyworld")
    with pytest.raises(InputError, match="mono"):
        world(np.zeros((2, 9000)), 22_050)
    with pytest.raises(InputError, match="tenth of a second"):
        world(np.zeros(2000), 22_050)


def test_the_envelope_has_the_floor_of_sixteen_bits() -> None:
    """Rounding noise lies at the floor, so a band without it costs no more than that noise."""
    pytest.importorskip("pyworld")
    rounding = np.random.default_rng(0).uniform(-0.5, 0.5, 22_050) / 2**15
    noise, nothing = world(rounding, 22_050), world(0 * rounding, 22_050)
    assert nothing.level_db == pytest.approx(10 * np.log10(FLOOR), abs=1e-6)
    assert np.mean(noise.level_db) == pytest.approx(10 * np.log10(FLOOR), abs=3)
