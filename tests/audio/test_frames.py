"""The frame-rate network: what turns with the phases, what does not, and where it starts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio.config import FrameNetworkConfig, VocoderModelConfig, build_denoiser
from scoregen.audio.frames import FEATURES, FrameNet, FrameNetConfig, relative
from scoregen.audio.phase import analyse
from scoregen.errors import InputError

from .helpers import SPEC, calibrated, mel_of, small_config, speech

BINS = SPEC.n_fft // 2 + 1


def network(seed: int = 0) -> FrameNet:
    """A small network whose every weight matters."""
    torch.manual_seed(seed)
    net = FrameNet(SPEC, FrameNetConfig(16, 2, 3, 2)).eval().requires_grad_(False)
    for parameter in net.parameters():
        if not bool(parameter.any()):
            parameter.normal_(0, 0.1)
    return net


def inputs(frames: int = 6, seed: int = 1) -> tuple[torch.Tensor, ...]:
    """State, classical estimate, magnitudes, deviations and level, at random."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, BINS, frames)
    state, classical = (torch.randn(shape, dtype=torch.complex64, generator=generator) for _ in range(2))
    magnitude, deviation = (torch.rand(shape, generator=generator) + 0.1 for _ in range(2))
    return state, classical, magnitude, deviation, torch.tensor([-0.5, 0.3])


@settings(max_examples=20, deadline=None)
@given(st.floats(-math.pi, math.pi))
def test_the_correction_turns_with_the_phases(angle: float) -> None:
    net, (state, classical, *rest) = network(), inputs()
    turn = torch.polar(torch.ones(()), torch.tensor(angle))
    torch.testing.assert_close(
        net(state * turn, classical * turn, *rest), net(state, classical, *rest) * turn, atol=2e-5, rtol=1e-4
    )


def test_louder_speech_with_louder_noise_has_a_louder_correction() -> None:
    net, (state, classical, magnitude, deviation, level) = network(), inputs()
    out = net(state, classical, magnitude, deviation, level)
    louder = net(state * 7, classical * 7, magnitude * 7, deviation * 7, level)
    torch.testing.assert_close(louder, out * 7, atol=1e-3, rtol=1e-3)


def test_a_delay_of_one_hop_delays_the_correction() -> None:
    net, wave = network(), torch.from_numpy(speech(0)[None, : 40 * SPEC.hop])
    spectra = [analyse(SPEC, wave[:, k * SPEC.hop :][:, : 36 * SPEC.hop]) for k in (0, 1)]
    ones, level = torch.ones_like(spectra[0].abs()), torch.tensor([-0.5])
    first, second = (net(s * 0.9, s, ones, ones, level) for s in spectra)
    inner = net.halo() + 2
    first, second = first[..., inner + 1 : -inner], second[..., inner : -inner - 1]
    # Phases of the quietest cells are those of rounding errors.
    torch.testing.assert_close(first, second, atol=5e-3, rtol=0)
    assert float((first - second).norm()) < 1e-4 * float(first.norm())


def test_an_output_frame_depends_on_no_more_than_the_halo() -> None:
    net, (state, classical, *rest) = network(), inputs(frames=21)
    base, halo, middle = net(state, classical, *rest), net.halo(), 10
    classical = classical.clone()
    classical[..., middle] *= 3j
    changed = ((net(state, classical, *rest) - base).abs() > 1e-7).any(0).any(0)
    where = changed.nonzero()[:, 0]
    assert int(where.min()) >= middle - halo
    assert int(where.max()) <= middle + halo
    assert len(where) > 2


def test_a_sinusoid_in_the_middle_of_a_bin_does_not_advance() -> None:
    k, frames = 40, 12
    time = torch.arange(frames * SPEC.hop)
    wave = torch.sin(2 * math.pi * k / SPEC.n_fft * time)[None]
    spectrum = analyse(SPEC, wave)
    phase = spectrum / spectrum.abs().clamp(min=1e-9)
    ones = torch.ones_like(spectrum.abs())
    features = relative(spectrum, spectrum, phase, ones, ones, ones, SPEC.hop / SPEC.n_fft)
    assert features.shape == (1, FEATURES, *spectrum.shape[1:])
    cosine, sine = features[0, 4, k, 4:-4], features[0, 5, k, 4:-4]
    torch.testing.assert_close(cosine, torch.ones_like(cosine), atol=1e-3, rtol=0)
    torch.testing.assert_close(sine, torch.zeros_like(sine), atol=1e-3, rtol=0)


def test_a_fresh_vocoder_is_the_classical_denoiser() -> None:
    torch.manual_seed(0)
    corrected = build_denoiser(small_config()).eval()
    plain = build_denoiser(small_config(network=None)).eval()
    assert plain.network.correction is None
    plain.network.spectrum.load_state_dict(corrected.network.spectrum.state_dict())
    wave = speech(0)[: 48 * SPEC.hop]
    mel = mel_of(wave)[None]
    space = calibrated("spectral").space(mel)
    x = torch.from_numpy(wave)[None] + 0.3 * space.color(torch.randn(1, len(wave)))
    found = []
    with torch.no_grad():
        for denoiser in (corrected, plain):
            condition = denoiser.network.condition(mel, space)
            found.append(denoiser(x, torch.tensor([0.3]), space, condition).x0)
        torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)
        corrected.network.correction.last.bias.fill_(0.5)
        moved = corrected(x, torch.tensor([0.3]), space, condition).x0
    assert float((moved - found[1]).norm()) > 0.01 * float(found[1].norm())


def test_sizes_are_checked() -> None:
    with pytest.raises(InputError, match="kernel odd"):
        FrameNetConfig(kernel=4)
    chosen = VocoderModelConfig.model_validate({"network": {"kind": "frames", "layers": 3}}).network
    assert isinstance(chosen, FrameNetworkConfig) and chosen.layers == 3
