"""Mels as targets: gains between mels, and signals that are brought to one."""

from __future__ import annotations

import pytest
import torch

from scoregen.audio.matching import mel_gain, pseudo_inverse, scaled, with_mel_of_wave
from scoregen.audio.mel import MelSpec, aligned
from scoregen.audio.phase import analyse

from .helpers import SPEC, mel_of, speech


def distance(spec: MelSpec, wave: torch.Tensor, mel: torch.Tensor) -> float:
    return float((aligned(spec, spec(wave), mel.shape[-1]) - mel).abs().mean())


@pytest.mark.parametrize("name", ["hifigan-22k", "vocos-24k", "wavegrad-24k"])
def test_mel_gain_knows_the_convention(name: str) -> None:
    """A signal at half the amplitude needs a factor of two wherever it is above the floor."""
    spec = MelSpec.preset(name)
    wave = torch.from_numpy(speech(2))[None]
    mel, half = spec(wave), spec(wave / 2)
    gain = mel_gain(spec, mel, half)
    assert abs(float(gain.median()) - 2) < 0.05
    assert abs(float(mel_gain(spec, mel, half, strength=0.5).median()) - 2**0.5) < 0.03
    assert torch.equal(mel_gain(spec, mel, mel), torch.ones_like(gain))
    assert float(mel_gain(spec, mel + 9, mel - 9).max()) < 7.4


def test_corrections_bring_the_mel_nearer() -> None:
    mel = mel_of(speech(0))[None]
    noise = 0.1 * torch.randn(1, len(speech(0)), generator=torch.Generator().manual_seed(0))
    once = with_mel_of_wave(SPEC, noise, mel)
    distances = [distance(SPEC, x, mel) for x in (noise, once, with_mel_of_wave(SPEC, once, mel))]
    assert distances[0] > 2 * distances[1] > 2.4 * distances[2]


def test_a_wave_of_the_mel_is_left_alone() -> None:
    wave = torch.from_numpy(speech(0))[None]
    mel = aligned(SPEC, SPEC(wave), wave.shape[1] // SPEC.hop)
    torch.testing.assert_close(with_mel_of_wave(SPEC, wave, mel), wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["pwg-22k", "matcha-ljspeech-22k", "nemo-22k", "wavegrad-24k"])
def test_networks_see_every_convention_at_about_unit_scale(name: str) -> None:
    spec = MelSpec.preset(name)
    seen = scaled(spec, spec(torch.from_numpy(speech(0))))
    assert abs(float(seen.mean())) < 1.2
    assert 0.4 < float(seen.std()) < 2


@pytest.mark.parametrize("name", ["vocos-24k", "wavegrad-24k"])
def test_pseudo_inverse_undoes_other_conventions(name: str) -> None:
    spec = MelSpec.preset(name)
    wave = torch.from_numpy(speech(2))
    frames = len(wave) // spec.hop
    mel = aligned(spec, spec(wave), frames)
    magnitude = pseudo_inverse(spec, mel[None])[0]
    true = analyse(spec, wave[None, : frames * spec.hop])[0, :, 1:-1].abs()
    assert 0.7 < float(magnitude.norm() / true.norm()) < 1.2
