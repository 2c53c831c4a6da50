"""The guided denoiser: what it is before any correction is learned, with conditions estimated and true."""

from __future__ import annotations

import torch

from scoregen.audio.config import build_denoiser
from scoregen.audio.guided import Condition, Guided
from scoregen.audio.phase import analyse, faded, unit
from scoregen.audio.synchrony import Edges, edges_of
from scoregen.core.denoiser import Denoiser
from scoregen.core.space import Space

from .helpers import SPEC, calibrated, mel_of, small_config, small_vocoder, speech

FRAMES = 60


def classical(**changes: object) -> tuple[Denoiser, Guided]:
    """A fresh denoiser without a network that corrects it."""
    torch.manual_seed(0)
    denoiser = build_denoiser(small_config(network=None, iterations=8, **changes)).eval()
    assert isinstance(denoiser.network, Guided)
    return denoiser, denoiser.network


def clip() -> tuple[torch.Tensor, torch.Tensor, Space]:
    """Speech, its mel and the space of its noise."""
    wave = torch.from_numpy(speech(0))[None, : FRAMES * SPEC.hop]
    wave = faded(wave, SPEC.hop // 2)
    mel = mel_of(speech(0))[None, :, :FRAMES]
    return wave, mel, calibrated("spectral").space(mel)


def white(seed: int = 0, size: int = 1) -> torch.Tensor:
    return torch.randn(size, FRAMES * SPEC.hop, generator=torch.Generator().manual_seed(seed))


def true_condition(network: Guided, certainty: float = 50.0) -> Condition:
    """What a network would tell that knew the recording."""
    wave, mel, space = clip()
    spectrum = analyse(network.grid, wave)[..., 1:-1]
    magnitude, known = spectrum.abs(), edges_of(spectrum[:, : network.spectrum.band])
    edges = Edges(certainty * unit(known.across), certainty * unit(known.up))
    with torch.no_grad():
        deviation = network.condition(mel, space).deviation
    return Condition(mel, magnitude, edges.weighted(magnitude[:, : network.spectrum.band]), deviation)


@torch.no_grad()
def denoised(denoiser: Denoiser, ratio: float, cond: Condition | None = None) -> tuple[torch.Tensor, ...]:
    """Speech, noise, denoised estimate and condition at one noise level."""
    wave, mel, space = clip()
    cond = denoiser.network.condition(mel, space) if cond is None else cond
    noise = ratio * space.color(white())
    time = denoiser.sde.time(-2 * torch.tensor([ratio], dtype=torch.float64).log())
    return wave, noise, denoiser(wave + noise, time, space, cond).x0, cond  # type: ignore[return-value]


def test_where_the_blend_is_high_it_filters() -> None:
    """The Wiener filter: removes strong noise, leaves speech alone when there is little."""
    for ratio, factor in ((0.02, 1.05), (1.0, 0.8)):
        wave, noise, x0, _ = denoised(classical(blend=100.0)[0], ratio)
        assert float((x0 - wave).norm()) < factor * float(noise.norm())


def test_where_the_blend_is_low_magnitudes_are_those_estimated() -> None:
    denoiser, network = classical(blend=1e-3)
    _, _, x0, cond = denoised(denoiser, 10.0)
    found = analyse(network.grid, x0)[..., 1:-1].abs()
    assert isinstance(cond, Condition)
    assert float((found - cond.magnitude).norm() / cond.magnitude.norm()) < 0.5


def test_true_differences_with_little_noise_give_the_recording_back() -> None:
    denoiser, network = classical(blend=1e-4)
    for ratio in (0.1, 0.3, 1.0):
        wave, noise, x0, _ = denoised(denoiser, ratio, true_condition(network))
        assert float((x0 - wave).norm()) < 0.5 * float(noise.norm())


def test_the_blend_is_of_both_denoisers() -> None:
    ratio = 0.2
    found = {blend: denoised(classical(blend=blend)[0], ratio)[2] for blend in (1e-4, 0.2, 1e4)}
    expected = (found[1e-4] + found[1e4]) / 2  # at the level named by the blend
    torch.testing.assert_close(found[0.2], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_estimate_from_what_is_true_has_the_spectrum_of_the_recording() -> None:
    _, network = classical(rounds=20)
    wave, mel, space = clip()

    def error(cond: Condition) -> float:
        made, phases = network.estimate(cond, white())
        assert made.shape == wave.shape
        assert phases.shape == (1, network.spectrum.band, 2 * FRAMES)
        true = analyse(network.grid, wave).abs()
        return float((analyse(network.grid, made).abs() - true).norm() / true.norm())

    known = error(true_condition(network))
    assert known < 0.1
    assert known < 0.3 * error(network.condition(mel, space))


@torch.no_grad()
def test_known_phases_are_continued() -> None:
    _, network = classical(rounds=20)
    cond = true_condition(network)
    known = analyse(network.grid, clip()[0])[:, : network.spectrum.band, 1:9].angle()
    made, phases = network.estimate(cond, white(), known)
    torch.testing.assert_close((phases[..., :8] - known).cos(), torch.ones_like(known))
    # With the first frames' phases and the true differences nothing is left open, in the band of the mel.
    low = analyse(network.grid, made - clip()[0])[:, : network.spectrum.band]
    assert float(low.norm() / analyse(network.grid, clip()[0]).norm()) < 0.2


@torch.no_grad()
def test_rows_are_the_conditions_of_some_of_a_batch() -> None:
    network = small_vocoder().network
    mels = torch.stack([mel_of(speech(i))[:, 20:40] for i in range(3)])
    cond = network.condition(mels, calibrated("spectral").space(mels))
    noise = white(size=3)[:, : 20 * SPEC.hop]
    whole, _ = network.estimate(cond, noise)
    for chosen in (torch.tensor([True, False, True]), torch.tensor([2, 0])):
        part = cond.rows(chosen)
        assert torch.equal(part.mel, mels[chosen])
        torch.testing.assert_close(network.estimate(part, noise[chosen])[0], whole[chosen])


@torch.no_grad()
def test_one_call_depends_on_no_more_than_the_halo() -> None:
    vocoder = small_vocoder()
    _, mel, space = clip()
    cond, level = vocoder.network.condition(mel, space), torch.tensor([0.1])
    x, place = white(), 8
    changed = x.clone()
    changed[:, place * SPEC.hop : (place + 1) * SPEC.hop] += 3.0
    a, b = (vocoder.network(y, level.log() / 4, space, cond) for y in (x, changed))
    moved = ((a - b).abs() > 1e-5).unflatten(1, (FRAMES, SPEC.hop)).any(2)[0].nonzero()[:, 0]
    assert int(moved.max()) <= place + vocoder.network.halo()
    assert len(moved) > 3
