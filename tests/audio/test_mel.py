"""Each mel convention against its definition, written out a second time with numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given
from hypothesis import strategies as st

from scoregen.audio.mel import PRESETS, MelSpec, aligned
from scoregen.errors import InputError

from .helpers import SPEC, speech


def hz_to_slaney(f: np.ndarray) -> np.ndarray:
    return np.where(f < 1000, f * 3 / 200, 15 + np.log(np.maximum(f, 1) / 1000) * 27 / np.log(6.4))


def slaney_to_hz(m: np.ndarray) -> np.ndarray:
    return np.where(m < 15, m * 200 / 3, 1000 * np.exp((m - 15) * np.log(6.4) / 27))


def hz_to_htk(f: np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + f / 700)


def htk_to_hz(m: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (m / 2595) - 1)


def filters(spec: MelSpec) -> np.ndarray:
    """Triangles between neighbouring mel points, one row a band."""
    to, back = (hz_to_slaney, slaney_to_hz) if spec.scale == "slaney" else (hz_to_htk, htk_to_hz)
    ends = to(np.array([spec.f_min, spec.f_max]))
    points = back(np.linspace(ends[0], ends[1], spec.n_mels + 2))
    bins = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate / spec.n_fft
    rows = []
    for low, mid, high in zip(points, points[1:], points[2:], strict=False):
        row = np.clip(np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)), 0, None)
        rows.append(row * 2 / (high - low) if spec.area_norm else row)
    return np.array(rows)


def magnitudes(wave: np.ndarray, spec: MelSpec, pad: int) -> np.ndarray:
    window = np.zeros(spec.n_fft)
    first = (spec.n_fft - spec.win_length) // 2
    window[first : first + spec.win_length] = scipy.signal.get_window("hann", spec.win_length, fftbins=True)
    padded = np.pad(wave.astype(np.float64), pad, mode="reflect")
    starts = range(0, len(padded) - spec.n_fft + 1, spec.hop)
    return np.abs(np.stack([np.fft.rfft(padded[s : s + spec.n_fft] * window) for s in starts], axis=1))


@pytest.mark.parametrize("name", ["hifigan-22k", "bigvgan-24k"])
def test_hifigan_family(name: str) -> None:
    spec = MelSpec.preset(name)
    wave = speech(0)[:12_345]
    # HiFi-GAN's own recipe: pad (fft - hop) / 2, no centring, root of power + 1e-9, ln of at least 1e-5.
    power = magnitudes(wave, spec, (1024 - 256) // 2) ** 2
    want = np.log(np.maximum(filters(spec) @ np.sqrt(power + 1e-9), 1e-5))
    got = spec(torch.from_numpy(wave)).numpy()
    assert got.shape == want.shape == (80 if name == "hifigan-22k" else 100, 12_345 // 256)
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_vocos() -> None:
    spec = MelSpec.preset("vocos-24k")
    wave = speech(0)[:12_345]
    want = np.log(np.maximum(filters(spec) @ magnitudes(wave, spec, 512), 1e-7))
    got = spec(torch.from_numpy(wave)).numpy()
    assert got.shape == want.shape == (100, 12_345 // 256 + 1)
    np.testing.assert_allclose(got, want, atol=2e-3)


def test_wavegrad() -> None:
    spec = MelSpec.preset("wavegrad-24k")
    wave = speech(0)[:12_345]
    window = scipy.signal.get_window("hann", 1200, fftbins=True)
    magnitude = magnitudes(wave, spec, 1024) / np.sqrt((window**2).sum())
    decibels = 20 * np.log10(np.maximum(filters(spec) @ magnitude, 1e-5)) - 20
    want = np.clip((decibels + 100) / 100, 0, 1)
    got = spec(torch.from_numpy(wave)).numpy()
    assert got.shape == want.shape == (128, 12_345 // 300 + 1)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_two_conventions_differ_by_nats() -> None:
    """The reason for the type: same rate, same bands, values that cannot be swapped."""
    wave = torch.from_numpy(speech(0))
    vocos, bigvgan = (MelSpec.preset(n)(wave) for n in ("vocos-24k", "bigvgan-24k"))
    assert vocos.shape[1] == bigvgan.shape[1] + 1
    assert float((vocos[:, 1:] - bigvgan).median()) > 3


@given(st.integers(1100, 20_000), st.sampled_from(sorted(PRESETS)))
def test_frames_formula(samples: int, name: str) -> None:
    spec = MelSpec.preset(name)
    assert spec(torch.zeros(samples)).shape[-1] == spec.frames(samples)
    assert spec.samples(7) == 7 * spec.hop


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_dict_round_trip_and_expand(name: str) -> None:
    spec = MelSpec.preset(name)
    assert MelSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(InputError, match="extra"):
        MelSpec.from_dict({**spec.to_dict(), "extra": 1})
    mel = spec(torch.from_numpy(speech(0)))
    torch.testing.assert_close(spec.compress(spec.expand(mel)), mel, atol=1e-4, rtol=1e-4)


def test_aligned_averages_centred_frames() -> None:
    spec = MelSpec.preset("vocos-24k")
    mel = torch.arange(5.0).expand(1, 100, 5)
    assert aligned(spec, mel)[0, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.0]
    assert aligned(spec, mel, 4)[0, 0].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert aligned(SPEC, mel, 6)[0, 0].tolist() == [0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m[:79], "shape"),
        (lambda m: m.T, "transposed"),
        (lambda m: m[:, :0], "no frames"),
        (lambda m: torch.full_like(m, float("nan")), "NaN"),
        (lambda m: m - 5, "floor"),
        (lambda m: m + 8, "another convention"),
        (lambda m: m.exp(), "natural logarithms"),
        (lambda m: m * 20 / np.log(10), "floor"),
    ],
)
def test_check_refuses_with_the_reason(change, reason: str) -> None:
    mel = SPEC(torch.from_numpy(speech(0)))
    SPEC.check(mel)
    with pytest.raises(InputError, match=reason):
        SPEC.check(change(mel))


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(InputError, match="hifigan-22k"):
        MelSpec.preset("nope")
