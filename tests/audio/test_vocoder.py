from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio.loudness import gain_to_target, level_db, scale_mel
from scoregen.audio.vocoder import Vocoder
from scoregen.errors import InputError

from .helpers import SPEC, mel_of, small_vocoder, speech


@given(st.integers(1, 9_000), st.sampled_from([8_000, 16_000, 22_050, 44_100]))
@settings(deadline=None, max_examples=15)
def test_resynthesis_has_exactly_the_input_length(samples: int, rate: int) -> None:
    wave = speech(0)[10_000 : 10_000 + samples]
    out = small_vocoder().resynthesize(wave, rate, steps=1)
    assert out.shape == wave.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()


@given(st.integers(1, 40))
@settings(deadline=None, max_examples=10)
def test_synthesis_has_frames_times_hop(frames: int) -> None:
    mel = mel_of(speech(0))[:, 30 : 30 + frames]
    assert small_vocoder().synthesize(mel, steps=1).shape == (frames * SPEC.hop,)


def test_deterministic_and_seeded() -> None:
    mel = mel_of(speech(0))[:, :60]
    vocoder = small_vocoder()
    first = vocoder.synthesize(mel, seed=3, steps=2)
    torch.manual_seed(99)
    np.testing.assert_array_equal(first, vocoder.synthesize(mel, seed=3, steps=2))
    assert np.abs(first - vocoder.synthesize(mel, seed=4, steps=2)).max() > 1e-3
    assert np.abs(first - vocoder.synthesize(mel, seed=3, steps=2, sample_id=1)).max() > 1e-3


def test_batch_composition_does_not_matter() -> None:
    vocoder = small_vocoder()
    mels = torch.stack([mel_of(speech(i))[:, 20:70] for i in range(3)])
    ids = torch.tensor([5, 6, 7])
    together = vocoder.synthesize_batch(mels, ids, seed=1, steps=3)
    turned = vocoder.synthesize_batch(mels.flip(0), ids.flip(0), seed=1, steps=3).flip(0)
    # The same numbers up to last bits, which synchronisation amplifies.
    torch.testing.assert_close(together, turned, atol=5e-3, rtol=0)
    for i in range(3):
        alone = vocoder.synthesize(mels[i], seed=1, steps=3, sample_id=5 + i)
        np.testing.assert_allclose(alone, together[i].numpy(), atol=5e-3)


def test_loudness_is_restored() -> None:
    wave = speech(2)
    vocoder = small_vocoder()
    loud = vocoder.resynthesize(wave, 22_050, steps=1)
    quiet = vocoder.resynthesize(wave / 30, 22_050, steps=1)
    # Synchronisation amplifies the last bits of the resampled level.
    assert np.abs(quiet * 30 - loud).max() < 0.1 * np.abs(loud).max()
    assert 0.5 < loud.std() / wave.std() < 2


def test_very_quiet_recordings_come_back_at_their_level() -> None:
    wave = speech(2)[:20_000]
    made = small_vocoder().resynthesize(wave / 3_000, 22_050, steps=1)
    loud = small_vocoder().resynthesize(wave, 22_050, steps=1)
    assert abs(made.std() * 3_000 / loud.std() - 1) < 0.05


def test_a_gain_given_is_used() -> None:
    vocoder, mel = small_vocoder(), mel_of(speech(0))[:, 30:70]
    measured = float(vocoder.gain(mel[None]))
    np.testing.assert_array_equal(
        vocoder.synthesize(mel, steps=1, gain=measured), vocoder.synthesize(mel, steps=1)
    )
    assert np.abs(vocoder.synthesize(mel, steps=1, gain=measured / 4)).max() > 0


def test_the_level_of_a_recording_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(Vocoder, "gain", lambda *a: calls.append(1))
    small_vocoder().resynthesize(speech(0)[:8_000], 22_050, steps=1)
    assert not calls


def test_undershot_floors_are_raised_with_a_warning() -> None:
    vocoder, mel = small_vocoder(), mel_of(speech(0))[:, :40]
    low = mel.clone()
    low[:, :4] = SPEC.lowest - 0.9
    want = vocoder.synthesize(low.clamp(min=SPEC.lowest), steps=1)
    with pytest.warns(UserWarning, match="10 % of the values lie below"):
        made = vocoder.synthesize(low, steps=1)
    np.testing.assert_array_equal(made, want)
    with pytest.warns(UserWarning, match="below the convention's floor"):
        gain = float(vocoder.gain(low[None]))
        streamed = np.concatenate(list(vocoder.stream([low[:, :13], low[:, 13:]], steps=1, gain=gain)))
    np.testing.assert_array_equal(streamed, want)
    with pytest.raises(InputError, match="floor"):
        vocoder.synthesize(low - 0.2, steps=1)


def test_latency_is_that_of_the_stream() -> None:
    vocoder = small_vocoder()
    assert vocoder.latency(block=64) == pytest.approx((64 + 32) * 256 / 22_050)
    with pytest.raises(InputError, match="block"):
        vocoder.latency(block=0)


def test_mel_covers_the_waveform() -> None:
    vocoder = small_vocoder()
    for samples, frames in ((1, 1), (256, 1), (257, 2), (9_000, 36)):
        assert vocoder.mel(speech(0)[:samples], 22_050).shape == (80, frames)
    torch.testing.assert_close(vocoder.mel(speech(0), 22_050), SPEC(torch.from_numpy(speech(0))))


def test_level_follows_gain() -> None:
    mel = mel_of(speech(0))[None]
    assert abs(float(level_db(SPEC, mel)) + 18) < 1.5
    quieter = scale_mel(SPEC, mel, torch.tensor([0.1]))
    assert abs(float(level_db(SPEC, quieter) - level_db(SPEC, mel)) + 20) < 0.1
    torch.testing.assert_close(
        gain_to_target(SPEC, quieter), 10 * gain_to_target(SPEC, mel), rtol=1e-2, atol=0
    )


def test_silence_stays_silent() -> None:
    vocoder = small_vocoder()
    assert not vocoder.resynthesize(np.zeros(5_000, np.float32), 22_050, steps=1).any()
    assert not vocoder.synthesize(torch.full((80, 9), SPEC.lowest), steps=1).any()


def test_steps_change_the_network_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = small_vocoder()
    calls = []
    forward = vocoder.network.forward
    monkeypatch.setattr(vocoder.network, "forward", lambda *a: (calls.append(1), forward(*a))[1])
    vocoder.synthesize(mel_of(speech(0))[:, :20], steps=4)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (np.zeros(0), "length 0"),
        (np.zeros((2, 100)), "one channel"),
        (np.array([0.1, np.nan]), "NaN"),
    ],
)
def test_bad_waveforms_are_refused(wave: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        small_vocoder().resynthesize(wave, 22_050)


def test_bad_mels_and_steps_are_refused() -> None:
    vocoder = small_vocoder()
    mel = mel_of(speech(0))[:, :20]
    with pytest.raises(InputError, match=r"my\.npy.*floor"):
        vocoder.synthesize(mel - 4, source="my.npy")
    with pytest.raises(InputError, match="shape"):
        vocoder.synthesize(mel[None])
    with pytest.raises(InputError, match="steps"):
        vocoder.synthesize(mel, steps=0)
    with pytest.raises(InputError, match="sample rate"):
        vocoder.resynthesize(speech(0), 0)
