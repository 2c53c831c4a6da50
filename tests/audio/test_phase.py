from __future__ import annotations

import numpy as np
import pytest
import torch

from scoregen.audio.baselines import griffin_lim as baseline
from scoregen.audio.losses import mr_stft
from scoregen.audio.matching import pseudo_inverse
from scoregen.audio.mel import MelSpec
from scoregen.audio.phase import Grid, analyse, faded, outer, synthesise
from scoregen.errors import InputError

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


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_finer_grid_inverts_too_and_its_frames_are_the_mels_in_turn(times: int) -> None:
    grid, frames = Grid.finer(SPEC, times), 9
    x = torch.randn(2, frames * SPEC.hop, generator=torch.Generator().manual_seed(0))
    spectrum = analyse(grid, x)
    assert spectrum.shape == (2, SPEC.n_fft // 2 + 1, frames * times + 2)
    torch.testing.assert_close(synthesise(grid, spectrum), x, atol=1e-5, rtol=1e-5)
    # A click falls in the sub-frame whose samples hold it.
    for sample in range(2 * SPEC.hop + 5, 6 * SPEC.hop, 37):  # never on the border of two
        click = torch.zeros(1, frames * SPEC.hop)
        click[0, sample] = 1.0
        loudest = int(analyse(grid, click)[0, :, 1:-1].abs().mean(0).argmax())
        assert loudest == sample // (SPEC.hop // times)


def test_a_grid_that_cannot_be_finer_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 6 samples"):
        Grid.finer(SPEC, 3)


def test_frames_are_those_of_the_mel() -> None:
    wave = torch.from_numpy(speech(0))
    ours = analyse(SPEC, wave[None])[0, :, 1:-1].abs()
    torch.testing.assert_close(ours[:, 3:-3], SPEC.magnitude(wave)[:, 3:-3], atol=2e-4, rtol=1e-3)


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


def test_fade_and_outer() -> None:
    x = faded(torch.ones(1, 20), 4)[0].numpy()
    np.testing.assert_allclose(x[:4], np.sin(np.pi / 2 * (np.arange(4) + 0.5) / 4), rtol=1e-6)
    np.testing.assert_allclose(x, x[::-1])
    assert (x[4:-4] == 1).all()
    assert outer(torch.arange(3.0).reshape(1, 1, 3)).flatten().tolist() == [0, 0, 1, 2, 2]
