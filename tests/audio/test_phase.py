from __future__ import annotations

import numpy as np
import pytest
import torch

from scoregen.audio.baselines import griffin_lim as baseline
from scoregen.audio.estimate import pseudo_inverse
from scoregen.audio.losses import mr_stft
from scoregen.audio.mel import MelSpec, aligned
from scoregen.audio.phase import analyse, faded, griffin_lim, outer, project, synthesise

from .helpers import SPEC, mel_of, speech


@pytest.mark.parametrize("name", ["hifigan-22k", "wavegrad-24k"])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_synthesise_inverts_analyse(name: str, frames: int) -> None:
    spec = MelSpec.preset(name)
    x = torch.randn(2, frames * spec.hop, generator=torch.Generator().manual_seed(0))
    spectrum = analyse(spec, x)
    assert spectrum.shape == (2, spec.n_fft // 2 + 1, frames + 2)
    torch.testing.assert_close(synthesise(spec, spectrum), x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["hifigan-22k", "wavegrad-24k"])
def test_synthesise_is_the_least_squares_inverse_of_torch(name: str) -> None:
    spec, frames = MelSpec.preset(name), 9
    spectrum = torch.randn(2, spec.n_fft // 2 + 1, frames + 2, dtype=torch.complex64)
    window = torch.hann_window(spec.win_length)
    length = (frames + 1) * spec.hop
    whole = torch.istft(spectrum, spec.n_fft, spec.hop, spec.win_length, window, length=length)
    half = spec.hop // 2
    expected = whole[:, half : half + frames * spec.hop]
    torch.testing.assert_close(synthesise(spec, spectrum), expected, atol=1e-6, rtol=1e-5)


def test_frames_are_those_of_the_mel() -> None:
    wave = torch.from_numpy(speech(0))
    ours = analyse(SPEC, wave[None])[0, :, 1:-1].abs()
    torch.testing.assert_close(ours[:, 3:-3], SPEC.magnitude(wave)[:, 3:-3], atol=2e-4, rtol=1e-3)


def test_griffin_lim_rebuilds_from_true_magnitudes() -> None:
    wave = torch.from_numpy(speech(2))[None]
    magnitude = analyse(SPEC, wave)[..., 1:-1].abs()
    phases = torch.randn(wave.shape, generator=torch.Generator().manual_seed(0))
    errors = []
    for iterations in (0, 8, 32):
        out = griffin_lim(SPEC, magnitude, iterations=iterations, phases=phases)
        errors.append(float((analyse(SPEC, out)[..., 1:-1].abs() - magnitude).norm() / magnitude.norm()))
    assert errors[0] > 2 * errors[1] > 2.5 * errors[2]
    assert errors[2] < 0.15
    # The outer frames are copies, so the ends differ.
    same = project(SPEC, wave, magnitude)[:, 1024:-1024]
    torch.testing.assert_close(same, wave[:, 1024:-1024], atol=1e-3, rtol=1e-2)


def test_pseudo_inverse_and_baseline_follow_the_mel() -> None:
    wave = speech(2)
    mel = mel_of(wave)
    back = SPEC.compress(SPEC.filterbank().T @ pseudo_inverse(SPEC, mel[None])[0])
    assert float((back - mel).abs().mean()) < 0.3
    out = baseline(SPEC, mel, iterations=30)
    assert out.shape == wave.shape
    assert torch.equal(out, baseline(SPEC, mel, iterations=30))
    far = mr_stft(torch.randn(1, len(wave)) * float(out.std()), torch.from_numpy(wave)[None])
    assert float(mr_stft(out[None], torch.from_numpy(wave)[None])) < 0.6 * float(far)


@pytest.mark.parametrize("name", ["vocos-24k", "wavegrad-24k"])
def test_pseudo_inverse_undoes_other_conventions(name: str) -> None:
    spec = MelSpec.preset(name)
    wave = torch.from_numpy(speech(2))
    frames = len(wave) // spec.hop
    mel = aligned(spec, spec(wave), frames)
    magnitude = pseudo_inverse(spec, mel[None])[0]
    true = analyse(spec, wave[None, : frames * spec.hop])[0, :, 1:-1].abs()
    assert 0.7 < float(magnitude.norm() / true.norm()) < 1.2


def test_fade_and_outer() -> None:
    x = faded(torch.ones(1, 20), 4)[0].numpy()
    np.testing.assert_allclose(x[:4], np.sin(np.pi / 2 * (np.arange(4) + 0.5) / 4), rtol=1e-6)
    np.testing.assert_allclose(x, x[::-1])
    assert (x[4:-4] == 1).all()
    assert outer(torch.arange(3.0).reshape(1, 1, 3)).flatten().tolist() == [0, 0, 1, 2, 2]
