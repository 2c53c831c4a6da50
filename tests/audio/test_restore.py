"""Restoring: what was measured stays, operators are what they claim, guides exact where that can be known."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio import drawing
from scoregen.audio.bands import Bands, shipped
from scoregen.audio.damage import Bandwidth, Gap, Noise, bridge, burg, extrapolate, low_pass
from scoregen.audio.denoise import denoised, gains, noise_power
from scoregen.audio.prior import Prior, lapped
from scoregen.audio.restore import Consistent, Restored, restore, wiener
from scoregen.core import EDM, Prediction
from scoregen.errors import InputError

from .helpers import SPEC, calibrated, mel_of, small_vocoder, speech

RATE = 22_050
GAP = Gap(((0.3, 0.35), (0.6, 0.62)))


@lru_cache
def clip() -> np.ndarray:
    return speech(0, level=False)[8_000:28_001]


@lru_cache
def filled() -> Restored:
    return restore(small_vocoder(), clip(), RATE, GAP, steps=2, samples=2)


def inside(gap: Gap, length: int, rate: int) -> np.ndarray:
    mask = np.zeros(length, bool)
    for first, last in gap.samples(length, rate):
        mask[first:last] = True
    return mask


def test_samples_outside_gaps_are_the_inputs() -> None:
    out, mask = filled().wave, inside(GAP, len(clip()), RATE)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[~mask], clip()[~mask])
    assert np.abs(out[mask]).max() > 1e-3
    # What was in the gap does not matter.
    broken = clip().copy()
    broken[mask] = 0.9
    again = restore(small_vocoder(), broken, RATE, GAP, steps=2)
    np.testing.assert_array_equal(again.wave, out)
    assert again.spread is None


def test_gaps_meet_their_sides_without_a_click() -> None:
    out, (first, last) = filled().wave, GAP.samples(len(clip()), RATE)[0]
    steps = np.abs(np.diff(clip()[first - 2_000 : last + 2_000]))
    for edge in (first, last):
        assert abs(float(out[edge] - out[edge - 1])) <= 1.5 * steps.max()


def test_seeds_and_draws() -> None:
    one = restore(small_vocoder(), clip(), RATE, GAP, steps=2, seed=0).wave
    np.testing.assert_array_equal(one, filled().wave)
    other = restore(small_vocoder(), clip(), RATE, GAP, steps=2, seed=1).wave
    assert np.abs(one - other).max() > 1e-5


def test_spread_is_zero_outside_gaps_and_positive_inside() -> None:
    spread = filled().spread
    assert spread is not None
    assert len(spread) == -(-len(clip()) * 100 // RATE)
    touched = np.zeros(len(spread), bool)
    for start, end in GAP.spans:
        touched[int(start * 100 + 1e-6) : int(np.ceil(end * 100 - 1e-6))] = True
    assert (spread[~touched] == 0).all()
    assert (spread[touched] > 0).all()


def test_spread_of_known_draws() -> None:
    drawn = [np.zeros(441, np.float32), np.full(441, 0.2, np.float32)]
    np.testing.assert_allclose(drawing.spread_of(drawn, RATE), 0.2 / 2**0.5, rtol=1e-6)
    assert len(drawing.spread_of(drawn, RATE)) == 2
    assert len(drawing.spread_of([d[:5] for d in drawn], 8_000)) == 1


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_other_rates(rate: int) -> None:
    wave = clip()[:9_001]
    gap = Gap(((0.1, 0.12),))
    out = restore(small_vocoder(), wave, rate, gap, steps=1).wave
    mask = inside(gap, len(wave), rate)
    np.testing.assert_array_equal(out[~mask], wave[~mask])
    for damage in (Bandwidth(3_000), Noise(10)):
        made = restore(small_vocoder(), wave, rate, damage, steps=1).wave
        assert made.shape == wave.shape
        assert np.isfinite(made).all()


def test_gaps_at_the_ends() -> None:
    wave = clip()[:9_000]
    gap = Gap(((0.0, 0.05), (len(wave) / RATE - 0.05, len(wave) / RATE)))
    out = restore(small_vocoder(), wave, RATE, gap, steps=1).wave
    mask = inside(gap, len(wave), RATE)
    assert mask[0] and mask[-1]
    np.testing.assert_array_equal(out[~mask], wave[~mask])
    assert np.isfinite(out).all()


def test_the_low_band_is_kept() -> None:
    whole = torch.from_numpy(clip()).double()
    damaged = low_pass(whole, RATE, 4_000).float()
    out = restore(small_vocoder(), damaged, RATE, Bandwidth(4_000), steps=2).wave
    kept = low_pass(torch.from_numpy(out).double(), RATE, 4_000)
    # float32 rounding of samples below 1
    assert float((kept - low_pass(damaged.double(), RATE, 4_000)).abs().max()) < 1e-6
    treble = torch.from_numpy(out).double() - kept
    assert 1e-5 < float(treble.std()) < float(kept.std())


@pytest.mark.parametrize("damage", [Bandwidth(4_000), Noise(10.0), GAP])
def test_level_follows_the_input(damage: Bandwidth | Noise | Gap) -> None:
    loud = restore(small_vocoder(), clip(), RATE, damage, steps=1).wave
    quiet = restore(small_vocoder(), clip() / 16, RATE, damage, steps=1).wave
    assert abs(20 * np.log10(loud.std() / (16 * quiet.std()))) < 0.5
    assert abs(20 * np.log10(loud.std() / clip().std())) < 2


def test_silence_stays() -> None:
    still = np.zeros(12_000, np.float32)
    for damage in (Bandwidth(4_000), Noise(), Gap(((0.1, 0.2),))):
        out = restore(small_vocoder(), still, RATE, damage, steps=1).wave
        assert np.abs(out).max() < 1e-3


def test_long_clips_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = clip()[:18_000]
    whole = restore(small_vocoder(), wave, RATE, Noise(10.0), steps=1).wave
    monkeypatch.setattr(drawing, "PIECE", 50)
    monkeypatch.setattr(drawing, "OVERLAP", 20)
    assert len(drawing.ranges(71)) == 2
    pieces = restore(small_vocoder(), wave, RATE, Noise(10.0), steps=1).wave
    assert np.abs(pieces - whole).max() < 0.2 * np.abs(whole).max()
    assert not np.array_equal(pieces, whole)


@given(st.integers(1, 400), st.integers(3, 40), st.integers(0, 2))
@settings(deadline=None, max_examples=40)
def test_pieces_cover_and_weigh_one(frames: int, overlap: int, more: int) -> None:
    before = drawing.PIECE, drawing.OVERLAP
    drawing.PIECE, drawing.OVERLAP = 2 * overlap + more, overlap
    try:
        ranges = drawing.ranges(frames)
        joined = drawing.joined(((a, torch.ones(1, (b - a) * 2)) for a, b in ranges), frames, 2)
    finally:
        drawing.PIECE, drawing.OVERLAP = before
    assert ranges[0][0] == 0 and ranges[-1][1] == frames
    torch.testing.assert_close(joined, torch.ones(1, frames * 2))


@given(st.integers(2, 300), st.floats(0, 12_000), st.integers(0, 99))
@settings(deadline=None)
def test_the_low_pass_is_an_orthogonal_projection(samples: int, hz: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, samples, dtype=torch.float64, generator=random)

    def p(v: torch.Tensor) -> torch.Tensor:
        return low_pass(v, RATE, hz)

    torch.testing.assert_close(p(2 * x - 3 * y), 2 * p(x) - 3 * p(y))
    torch.testing.assert_close(p(x) @ y, x @ p(y))
    torch.testing.assert_close(p(p(x)), p(x))


@given(st.sampled_from(["spectral", "energy"]), st.floats(0.02, 3), st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_the_wiener_gain_is_linear_and_weighs_between_0_and_1(kind: str, level: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    mel = mel_of(speech(0))[None, :, 20:30].double()
    space = calibrated(kind).space(mel)
    x, y = torch.randn(2, 1, 10 * SPEC.hop, dtype=torch.float64, generator=random)
    sigma = torch.full((1, 1), level, dtype=torch.float64)
    at = Prediction(x, x, torch.ones_like(sigma), sigma)
    gain = wiener(space, torch.rand(SPEC.hop, dtype=torch.float64, generator=random) * 1e-3)
    torch.testing.assert_close(gain(2 * x - y, at), 2 * gain(x, at) - gain(y, at))
    torch.testing.assert_close((gain(x, at) * y).sum(), (x * gain(y, at)).sum())
    assert 0 < float((gain(x, at) * x).sum()) < float(x.square().sum())


def test_the_guide_is_exact_for_gaussian_speech() -> None:
    """Data N(0, Σ): the guided estimate is E[x_0 | x_t, y] in closed form, cell by cell."""
    random = torch.Generator().manual_seed(1)
    mel = mel_of(speech(0))[None, :, 20:30].double()
    space = Prior(SPEC).space(mel)
    assert space.spectrum is not None  # type: ignore[attr-defined]
    s2 = space.spectrum.square()  # type: ignore[attr-defined]
    v = torch.rand(SPEC.hop, dtype=torch.float64, generator=random) * 1e-3
    x, y = torch.randn(2, 1, 10 * SPEC.hop, dtype=torch.float64, generator=random) * 0.1
    t = torch.tensor(0.4, dtype=torch.float64)
    alpha, sigma = (value.reshape(1, 1) for value in EDM().marginal(t))

    def denoise(state: torch.Tensor, _: torch.Tensor) -> Prediction:
        return Prediction(state / (1 + sigma**2), state, alpha, sigma)

    found = Consistent(y, wiener(space, v))(denoise)(x, t).x0
    precision = 1 / s2 + 1 / (sigma[..., None] ** 2 * s2) + 1 / v
    exact = (lapped(x, SPEC.hop) / (sigma[..., None] ** 2 * s2) + lapped(y, SPEC.hop) / v) / precision
    torch.testing.assert_close(lapped(found, SPEC.hop), exact)


def test_linear_prediction_continues_sines() -> None:
    time = np.arange(3_000) / RATE
    wave = np.sin(2 * np.pi * 220 * time) + 0.5 * np.sin(2 * np.pi * 3_100 * time + 1)
    ahead = extrapolate(wave[:2_000], 300, 512)
    assert np.abs(ahead - wave[2_000:2_300]).max() < 0.05
    out = bridge(wave.astype(np.float32), [(1_500, 1_900)], RATE)
    assert np.abs(out - wave).max() < 0.05
    assert np.abs(np.roots(burg(speech(0)[5_000:7_000], 24))).max() < 1


def test_statistics_tell_the_treble_of_speech() -> None:
    wave = speech(1)
    mel = mel_of(wave)[None]
    dull = mel_of(low_pass(torch.from_numpy(wave).double(), RATE, 4_000).float().numpy())[None]
    bands = shipped()
    known = torch.from_numpy(bands.known(SPEC, 4_000))
    assert 40 < int(known.sum()) < 70
    made = bands.extended(SPEC, dull, 4_000)
    torch.testing.assert_close(made[:, known], dull[:, known])
    average = torch.from_numpy(bands.mean[:80]).float()[None, :, None]
    error = (made - mel)[:, ~known].abs().mean()
    assert float(error) < 0.8 * float((average - mel)[:, ~known].abs().mean())
    torch.testing.assert_close(
        bands.extended(SPEC, dull, 4_000, caution=1.0)[:, ~known],
        (made[:, ~known] - 1).clamp(min=SPEC.lowest),
    )
    # Nothing is missing above the last band.
    torch.testing.assert_close(bands.extended(SPEC, mel, 9_000), mel)


def test_statistics_are_fitted_stored_and_checked(tmp_path: Path) -> None:
    waves = [np.tile(speech(i), 6) for i in range(5)]
    bands = Bands.fit(waves, SPEC)
    bands.save(tmp_path / "b.npz")
    again = Bands.load(tmp_path / "b.npz")
    np.testing.assert_allclose(again.covariance, bands.covariance, rtol=1e-5, atol=1e-6)
    assert again.mel == SPEC.name
    with pytest.raises(InputError, match="a minute"):
        Bands.fit([speech(0)], SPEC)
    with pytest.raises(InputError, match="no band statistics"):
        Bands.load(__file__)
    with pytest.raises(InputError, match="fit others"):
        Bands("other", bands.mean, bands.covariance).extended(SPEC, mel_of(speech(0))[None], 4_000)


def test_noise_is_found_and_reduced() -> None:
    wave = speech(0)
    noise = np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)
    noise *= wave.std() * np.float32(10**-0.5)
    noisy = torch.from_numpy(wave + noise)[None]
    true = float(noise.var()) * float(torch.hann_window(SPEC.n_fft).square().sum())
    for snr in (10.0, None):
        power = noise_power(SPEC, noisy, snr)
        assert 0.7 < float(power[20:-20].median()) / true < 1.4
    out = denoised(SPEC, noisy, power)[0].numpy()
    assert np.square(out - wave).sum() < 0.5 * np.square(noise).sum()
    factors = gains(torch.tensor([[0.0, 1e6, 1e6]]), torch.ones(1))
    assert float(factors.min()) >= 0.05
    assert float(factors.max()) <= 1
    assert float(factors[0, 2]) > 0.99


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Gap(()), "no gap"),
        (lambda: Gap(((1.0, 1.0),)), "START < END"),
        (lambda: Gap(((-1.0, 1.0),)), "START < END"),
        (lambda: Gap(((float("nan"), 1.0),)), "START < END"),
        (lambda: Gap(((1.0, 1.6),)), "words are missing"),
        (lambda: Gap(((1.0, 1.2), (1.1, 1.3))), "overlap at 1.1 s"),
        (lambda: Gap.parse("1-2"), "START:END"),
        (lambda: Gap.parse("1:1.1,"), "START:END"),
        (lambda: Bandwidth(300), "at least 1000"),
        (lambda: Noise(99), "-10 to 60"),
        (lambda: restore(small_vocoder(), clip(), RATE, Gap(((0.8, 1.0),))), "outside the clip"),
        (lambda: restore(small_vocoder(), clip()[:100], RATE, Gap(((0.0, 0.003),))), "more than half"),
        (lambda: restore(small_vocoder(), clip(), RATE, Gap(((0.1, 0.10001),))), "holds no sample"),
        (lambda: restore(small_vocoder(), clip(), 8_000, Bandwidth(4_000)), "half the sample rate"),
        (lambda: restore(small_vocoder(), clip(), RATE, GAP, steps=0), "at least 1"),
        (lambda: restore(small_vocoder(), clip(), RATE, GAP, level=1e9), "level"),
        (lambda: restore(small_vocoder(), clip()[:0], RATE, GAP), "no samples"),
    ],
)
def test_bad_input_is_one_clear_line(make: object, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_gaps_are_sorted_and_parsed() -> None:
    assert Gap.parse("2:2.05, 1:1.1").spans == ((1.0, 1.1), (2.0, 2.05))
    assert GAP.samples(len(clip()), RATE) == [(6615, 7717), (13230, 13671)]
