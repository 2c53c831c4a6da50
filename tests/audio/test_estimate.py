from __future__ import annotations

import pytest
import torch

from scoregen.audio.estimate import (
    MagnitudeNet,
    consistent,
    estimate,
    magnitude_loss,
    mel_gain,
    pseudo_inverse,
    scaled,
    with_mel,
    with_mel_of_wave,
)
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
    assert torch.equal(mel_gain(spec, mel, mel), torch.ones_like(gain))
    assert float(mel_gain(spec, mel + 9, mel - 9).max()) < 7.4


def test_corrections_bring_the_mel_nearer() -> None:
    mel = mel_of(speech(0))[None]
    start = MagnitudeNet(SPEC, 8)(mel).exp()
    fixed = with_mel(SPEC, start, mel)

    def of_magnitudes(magnitude: torch.Tensor) -> float:
        return float((SPEC.compress(SPEC.filterbank().T @ magnitude) - mel).abs().mean())

    assert of_magnitudes(fixed) < 0.5 * of_magnitudes(start)
    white = torch.randn(1, len(speech(0)), generator=torch.Generator().manual_seed(0))
    plain = consistent(SPEC, fixed, mel, white, iterations=8, corrections=0)
    once = with_mel_of_wave(SPEC, plain, mel)
    twice = consistent(SPEC, fixed, mel, white, iterations=8, corrections=2)
    distances = [distance(SPEC, x, mel) for x in (plain, once, twice)]
    assert distances[0] > 1.1 * distances[1] > 1.1 * distances[2]
    rounds = estimate(SPEC, fixed, mel, white)
    assert distance(SPEC, rounds, mel) < distances[1]


def test_untrained_magnitudes_are_the_envelope_and_training_lowers_the_loss() -> None:
    wave = torch.from_numpy(speech(2))[None]
    mel = mel_of(speech(2))[None]
    torch.manual_seed(0)
    network = MagnitudeNet(SPEC, 32)
    with torch.no_grad():
        found = network(mel).exp()
    inverse = pseudo_inverse(SPEC, mel)
    assert 0.5 < float(found.norm() / inverse.norm()) < 1.5
    true = (analyse(SPEC, wave)[..., 1:-1].abs() + 1e-4).log()
    assert float(magnitude_loss(SPEC, true, wave)) < 0.02
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = magnitude_loss(SPEC, network(mel), wave)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    shifted = mel.clone()
    shifted[..., 60:] -= 2
    changed = (network(shifted) - network(mel)).abs().amax((0, 1)) > 1e-5
    assert int(changed.nonzero()[0]) == 60 - network.halo()


@pytest.mark.parametrize("name", ["pwg-22k", "matcha-ljspeech-22k", "nemo-22k", "wavegrad-24k"])
def test_networks_see_every_convention_at_about_unit_scale(name: str) -> None:
    spec = MelSpec.preset(name)
    seen = scaled(spec, spec(torch.from_numpy(speech(0))))
    assert abs(float(seen.mean())) < 1.2
    assert 0.4 < float(seen.std()) < 2
