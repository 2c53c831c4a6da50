"""The presets against the definitions they were taken from, written out with numpy and literal numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scoregen.audio.conventions import listing, table
from scoregen.audio.mel import PRESETS, MelSpec
from scoregen.audio.presets import PRESET_DATA
from scoregen.errors import InputError
from scoregen.hub import from_pretrained

from .helpers import SPEC, speech
from .test_mel import filters, magnitudes

DOCS = Path(__file__).parents[2] / "docs" / "mel.md"


def analysis(rate: int, n_fft: int, win: int, hop: int, mels: int, low: float, high: float, **kinds: object):
    """What the numpy definitions of ``test_mel`` need, without a MelSpec."""
    kinds = {"scale": "slaney", "area_norm": True, **kinds}
    return SimpleNamespace(
        sample_rate=rate, n_fft=n_fft, win_length=win, hop=hop, n_mels=mels, f_min=low, f_max=high, **kinds
    )


def mel(wave: np.ndarray, a: SimpleNamespace, pad: int, power_floor: float = 0.0) -> np.ndarray:
    return filters(a) @ np.sqrt(magnitudes(wave, a, pad) ** 2 + power_floor)


def hifigan_like(wave: np.ndarray, a: SimpleNamespace) -> np.ndarray:
    return np.log(np.maximum(mel(wave, a, (a.n_fft - a.hop) // 2, 1e-9), 1e-5))


def nemo(wave: np.ndarray) -> np.ndarray:
    """torch.hann_window(periodic=False), centred on a signal padded with zeros, ln(mel + 1e-5)."""
    padded = np.pad(wave.astype(np.float64), 512)
    starts = range(0, len(padded) - 1024 + 1, 256)
    spectra = [np.abs(np.fft.rfft(padded[s : s + 1024] * np.hanning(1024))) for s in starts]
    return np.log(filters(analysis(22050, 1024, 1024, 256, 80, 0, 8000)) @ np.stack(spectra, axis=1) + 1e-5)


def coqui(wave: np.ndarray) -> np.ndarray:
    """amp_to_db with spec_gain 20, then normalize with reference 20, minimum -100, symmetric norm of 4."""
    linear = mel(wave, analysis(22050, 1024, 1024, 256, 80, 0, 11025), 512)
    level = 20 * np.log10(np.maximum(1e-8, linear)) - 20
    return np.clip(8 * ((level + 100) / 100) - 4, -4, 4)


TORCHAUDIO = {"scale": "htk", "area_norm": False}
HALF = (1024 - 256) // 2
DEFINITIONS = {
    "hifigan-22k": lambda w: hifigan_like(w, analysis(22050, 1024, 1024, 256, 80, 0, 8000)),
    "bigvgan-24k": lambda w: hifigan_like(w, analysis(24000, 1024, 1024, 256, 100, 0, 12000)),
    "bigvgan-22k-full": lambda w: hifigan_like(w, analysis(22050, 1024, 1024, 256, 80, 0, 11025)),
    "bigvgan-44k": lambda w: hifigan_like(w, analysis(44100, 2048, 2048, 512, 128, 0, 22050)),
    "cosyvoice2-24k": lambda w: hifigan_like(w, analysis(24000, 1920, 1920, 480, 80, 0, 8000)),
    "matcha-ljspeech-22k": lambda w: (
        (hifigan_like(w, analysis(22050, 1024, 1024, 256, 80, 0, 8000)) + 5.536622) / 2.116101
    ),
    "vocos-24k": lambda w: np.log(
        np.maximum(mel(w, analysis(24000, 1024, 1024, 256, 100, 0, 12000, **TORCHAUDIO), 512), 1e-7)
    ),
    "f5tts-24k": lambda w: np.log(
        np.maximum(mel(w, analysis(24000, 1024, 1024, 256, 100, 0, 12000, **TORCHAUDIO), 512), 1e-5)
    ),
    "wavegrad-24k": lambda w: np.clip(
        # torchaudio's normalized=True divides by the root energy of the window: sqrt(1200 * 3 / 8).
        (
            20
            * np.log10(
                np.maximum(
                    mel(w, analysis(24000, 2048, 1200, 300, 128, 20, 12000, **TORCHAUDIO), 1024)
                    / np.sqrt(450),
                    1e-5,
                )
            )
            - 20
            + 100
        )
        / 100,
        0,
        1,
    ),
    "tacotron2-22k": lambda w: np.log(
        np.maximum(mel(w, analysis(22050, 1024, 1024, 256, 80, 0, 8000), 512), 1e-5)
    ),
    "melgan-22k": lambda w: np.log10(
        np.maximum(mel(w, analysis(22050, 1024, 1024, 256, 80, 0, 11025), HALF), 1e-5)
    ),
    "pwg-22k": lambda w: np.log10(
        np.maximum(mel(w, analysis(22050, 1024, 1024, 256, 80, 80, 7600), 512), 1e-10)
    ),
    "pwg-24k": lambda w: np.log10(
        np.maximum(mel(w, analysis(24000, 2048, 1200, 300, 80, 80, 7600), 1024), 1e-10)
    ),
    "speecht5-16k": lambda w: np.log10(
        np.maximum(mel(w, analysis(16000, 1024, 1024, 256, 80, 80, 7600), 512), 1e-10)
    ),
    "coqui-22k": coqui,
    "nemo-22k": nemo,
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_definition(name: str) -> None:
    wave = speech(0)[2_000:14_345]
    got = PRESETS[name](torch.from_numpy(wave)).numpy()
    want = DEFINITIONS[name](wave)
    assert got.shape == want.shape == (PRESETS[name].n_mels, PRESETS[name].frames(len(wave)))
    assert want.std() > 0.1
    np.testing.assert_allclose(got, want, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hifigan-22k", None),  # ln of the filter's sum times the root of 1e-9, but at least 1e-5
        ("vocos-24k", np.log(1e-7)),
        ("f5tts-24k", -11.512925),
        ("tacotron2-22k", -11.512925),
        ("pwg-22k", -10.0),
        ("speecht5-16k", -10.0),
        ("melgan-22k", -5.0),
        ("wavegrad-24k", 0.0),
        ("coqui-22k", -4.0),
        ("nemo-22k", -11.512925),
        ("matcha-ljspeech-22k", -2.824205),
    ],
)
def test_silence_lies_at_the_lowest_value(name: str, value: float | None) -> None:
    spec = PRESETS[name]
    mel = spec(torch.zeros(1, 4_096))
    if value is None:
        value = float(np.log(1e-5))
        assert float(np.sqrt(1e-9) * spec.filterbank().sum(0).max()) < 1e-5
    torch.testing.assert_close(mel, torch.full_like(mel, value), atol=2e-6, rtol=0)
    assert spec.lowest == pytest.approx(value, abs=2e-6)
    spec.check(mel)


def test_a_full_scale_sine_has_its_textbook_level() -> None:
    """The peak of a windowed sine of amplitude 1 is half the sum of the window, 256 for a Hann of 1024."""
    rate, bin_hz = 22_050, 22_050 / 1024
    wave = torch.sin(2 * torch.pi * 100 * bin_hz * torch.arange(rate) / rate)
    for name in ("tacotron2-22k", "nemo-22k"):
        magnitude = PRESETS[name].magnitude(wave)[:, 20]
        assert float(magnitude[100]) == pytest.approx(256, rel=2e-3)
        assert int(magnitude.argmax()) == 100


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_speech_passes_its_own_check_and_round_trips(name: str) -> None:
    spec = PRESETS[name]
    mel = spec(torch.from_numpy(speech(0)))
    spec.check(mel)
    assert MelSpec.from_dict(spec.to_dict()) == spec
    torch.testing.assert_close(spec.compress(spec.expand(mel)), mel, atol=2e-4, rtol=2e-4)


def test_what_older_versions_wrote_and_read_stays_the_same() -> None:
    old = {
        "name": "hifigan-22k",
        "sample_rate": 22050,
        "n_fft": 1024,
        "win_length": 1024,
        "hop": 256,
        "n_mels": 80,
        "f_min": 0.0,
        "f_max": 8000.0,
        "scale": "slaney",
        "area_norm": True,
        "centre": False,
        "window_norm": False,
        "power_floor": 1e-9,
        "log": "ln",
        "floor": 1e-5,
    }
    assert MelSpec.from_dict(old) == SPEC
    assert SPEC.to_dict() == old
    with pytest.raises(InputError, match="floor"):
        MelSpec.from_dict({k: v for k, v in old.items() if k != "floor"})


def test_the_shipped_vocoder_still_loads() -> None:
    assert from_pretrained("vocoder-fast-22k", "audio").config.spec() == SPEC  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"log": "log2"}, "log is one of"),
        ({"guard": "max"}, "guard is one of"),
        ({"mean": [0.0, 1.0]}, "2 values of mean, 80 bands"),
        ({"std": 0.0}, "std positive"),
        ({"mean": float("nan")}, "finite"),
        ({"floor": 0.0}, "floor > 0"),
        ({"mean": "loud"}, "could not convert"),
    ],
)
def test_senseless_conventions_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        MelSpec.from_dict({**SPEC.to_dict(), **changes})


def test_z_norm_by_band_is_undone() -> None:
    mean, std = np.linspace(-8, -4, 80), np.linspace(1, 3, 80)
    spec = SPEC.normed(mean.tolist(), std.tolist())
    assert spec.name == "hifigan-22k+znorm"
    assert MelSpec.from_dict(spec.to_dict()) == spec
    assert hash(spec) == hash(MelSpec.from_dict(spec.to_dict()))
    wave = torch.from_numpy(speech(0))
    plain, normed = SPEC(wave), spec(wave)
    np.testing.assert_allclose(normed, (plain.numpy() - mean[:, None]) / std[:, None], atol=1e-5)
    torch.testing.assert_close(spec.unnormed(normed), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(spec.expand(normed[None]), SPEC.expand(plain[None]), rtol=1e-4, atol=1e-7)
    assert spec.lowest == pytest.approx(((np.log(1e-5) - mean) / std).min(), rel=1e-5)
    twice = spec.normed(0.5, 2.0)
    torch.testing.assert_close(twice(wave), (normed - 0.5) / 2, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="79"):
        SPEC.normed(mean[:79].tolist(), 1.0)


def test_a_z_normed_mel_is_checked_without_its_norm() -> None:
    spec = PRESETS["matcha-ljspeech-22k"]
    mel = spec(torch.from_numpy(speech(0)))
    with pytest.raises(InputError, match="without the z-norm"):
        spec.check(SPEC(torch.from_numpy(speech(0))))
    spec.check(mel)


def test_the_page_shows_every_preset_as_it_is() -> None:
    text = DOCS.read_text()
    for row in table():
        *facts, fits, origin = row.values()
        assert f"| `{facts[0]}` | {' | '.join(facts[1:])} |" in text, row["preset"]
        assert f"| `{facts[0]}` | {fits} | {origin} |" in text, row["preset"]


def test_every_preset_is_listed() -> None:
    lines = listing().splitlines()
    assert len(lines) == 1 + 2 * len(PRESET_DATA)
    assert [line.split()[0] for line in lines[1::2]] == list(PRESETS)
