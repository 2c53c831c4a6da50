"""What is told of the STFT by its mel: where training starts, what it sees, and what it is trained on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scoregen.audio import heap
from scoregen.audio.mel import MelSpec
from scoregen.audio.phase import Grid, analyse
from scoregen.audio.prior import band_interpolation
from scoregen.audio.spectrum import (
    CERTAINTY,
    SMALLEST,
    Heads,
    SpectrumConfig,
    SpectrumNet,
    _bark_density,
    spectrum_loss,
)
from scoregen.errors import InputError

from .helpers import SPEC, mel_of, speech

SMALL = SpectrumConfig(width=16, layers=2, expansion=2, bins=64)


def network(seed: int = 0, config: SpectrumConfig = SMALL, fresh: bool = False) -> SpectrumNet:
    """A small network, whose every weight matters unless it is ``fresh``."""
    torch.manual_seed(seed)
    net = SpectrumNet(SPEC, config)
    if not fresh:
        with torch.no_grad():
            for parameter in net.parameters():
                if not bool(parameter.any()):
                    parameter.normal_(0, 0.05)
    return net


@torch.no_grad()
def test_a_fresh_network_is_the_envelope_and_the_slopes_of_its_magnitudes() -> None:
    net, mel = network(fresh=True), mel_of(speech(0))[None, :, :50]
    told = net(mel)
    bins, frames = SPEC.n_fft // 2 + 1, 100
    assert told.log_magnitude.shape == (1, bins, frames)
    assert net.band == 373  # 8 kHz
    assert told.edges.across.shape == (1, net.band, frames - 1)
    assert told.edges.up.shape == (1, net.band - 1, frames)
    # Linear between the frames of the mel, of which each spans two.
    weight, mixing = (x.numpy() for x in band_interpolation(SPEC))
    coarse = mixing.T @ np.log(SPEC.expand(mel)[0].numpy() / weight[:, None] + SMALLEST)
    places = (np.arange(frames) + 0.5) / 2 - 0.5
    expected = np.stack([np.interp(places, np.arange(50), row) for row in coarse])
    np.testing.assert_allclose(told.log_magnitude[0].numpy(), expected, atol=1e-4)
    slopes = heap.between(*heap.slopes(net.grid, told.log_magnitude[:, : net.band]))
    for edge, slope in zip((told.edges.across, told.edges.up), slopes, strict=True):
        torch.testing.assert_close(edge, torch.polar(torch.full_like(slope, math.e), slope))


@torch.no_grad()
def test_envelopes_have_about_the_level_of_the_stft() -> None:
    wave = torch.from_numpy(speech(2))[None]
    found = network(fresh=True)(mel_of(speech(2))[None]).log_magnitude.exp()
    true = analyse(Grid.finer(SPEC, 2), wave)[..., 1:-1].abs()
    assert found.shape == true.shape
    assert 0.5 < float(found.norm() / true.norm()) < 1.2


@torch.no_grad()
def test_what_lasts_is_told_as_lasting() -> None:
    time = torch.arange(60 * SPEC.hop) / SPEC.sample_rate
    mel = mel_of((0.3 * torch.sin(2 * math.pi * 1000 * time)).numpy())[None]
    mel = mel[..., 30:31].expand(-1, -1, 60)
    found = network(fresh=True)(mel)
    for values in (found.log_magnitude, found.edges.across, found.edges.up):
        torch.testing.assert_close(values, values[..., :1].expand_as(values), atol=2e-4, rtol=0)
    # Trained ones may tell sub-frames apart, but not one frame of the mel from another.
    net = network()
    magnitude, inner = net(mel).log_magnitude, net.halo()
    blocks = magnitude.unflatten(-1, (60, 2))[:, :, inner:-inner]
    torch.testing.assert_close(blocks, blocks[:, :, :1].expand_as(blocks), atol=1e-4, rtol=0)
    assert float((blocks[..., 0] - blocks[..., 1]).abs().max()) > 1e-2


@torch.no_grad()
def test_nothing_is_seen_beyond_the_halo() -> None:
    net, mel, place = network(), mel_of(speech(0))[None, :, :60], 30
    other = mel.clone()
    other[..., place] += 1.0
    before, after = net(mel), net(other)
    for a, b in (
        (before.log_magnitude, after.log_magnitude),
        (before.edges.across, after.edges.across),
        (before.edges.up, after.edges.up),
    ):
        moved = ((a - b).abs() > 1e-6).any(1)[0].nonzero()[:, 0] // net.config.finer
        assert place - net.halo() <= int(moved.min()) < int(moved.max()) <= place + net.halo()
        # An upper bound, and not a loose one.
        assert int(moved.max()) >= place + net.halo() - 2


@torch.no_grad()
def test_slopes_of_the_lowest_bins_alone_are_corrected() -> None:
    net, mel = network(), mel_of(speech(0))[None, :, 20:40]
    told, bins = net(mel), net.config.bins
    slopes = heap.between(*heap.slopes(net.grid, told.log_magnitude[:, : net.band]))
    for edge, slope in zip((told.edges.across, told.edges.up), slopes, strict=True):
        plain = torch.polar(torch.full_like(slope, math.e), slope)
        torch.testing.assert_close(edge[:, bins:], plain[:, bins:], atol=1e-5, rtol=0)
        off = (edge[:, :bins] / plain[:, :bins] - 1).abs().mean((0, 2))
        assert float(off.min()) > 1e-3


@torch.no_grad()
def test_certainties_stay_in_their_range() -> None:
    net, mel = network(), mel_of(speech(0))[None, :, :20]
    low, high = (math.exp(level) for level in CERTAINTY)
    for bias in (-50.0, 50.0):
        net.phase.bias.fill_(bias)
        sizes = net(mel).edges.across[:, : net.config.bins].abs()
        expected = torch.full_like(sizes, low if bias < 0 else high)
        torch.testing.assert_close(sizes, expected, rtol=1e-4, atol=0)


def perfect(net: SpectrumNet, wave: torch.Tensor, certainty: float, off: float = 0.0) -> Heads:
    """What the network would have to give for a recording; all differences ``off`` by an angle."""
    spectrum = analyse(net.grid, wave)[..., 1:-1]
    angle, bins = spectrum.angle(), net.config.bins
    slopes = angle.diff(dim=2), angle.diff(dim=1)
    turns = []
    for slope in slopes:
        shape = (len(slope), bins, slope.shape[2])
        parts = [torch.full(shape, x) for x in (math.cos(off) - 1, math.sin(off), math.log(certainty) - 1)]
        turns.append(torch.stack(parts, dim=1))
    return Heads((spectrum.abs() + 1e-12).log(), slopes, (turns[0], turns[1]))


def test_the_loss_of_the_truth_and_of_what_is_off_by_an_angle() -> None:
    net, wave = network(), torch.from_numpy(speech(0)[None, : 50 * SPEC.hop])
    base = math.log(float(torch.special.i0e(torch.tensor(20.0))))
    for off in (0.0, 0.4, -2.0):
        values = spectrum_loss(net, perfect(net, wave, 20.0, off), wave)
        assert values.keys() == {"magnitude", "across", "up"}
        assert float(values["magnitude"]) < 0.02
        for name in ("across", "up"):
            assert float(values[name]) == pytest.approx(base + 20 * (1 - math.cos(off)), abs=0.02)


def test_magnitudes_off_by_a_factor_cost_its_logarithm() -> None:
    net, wave = network(), torch.from_numpy(speech(0)[None, : 50 * SPEC.hop])
    true = perfect(net, wave, 1.0)
    louder = Heads(true.log_magnitude + 0.2, true.slopes, true.turns)
    # Besides the logarithms, twice the relative error of the square roots.
    expected = 0.2 + 2 * (math.exp(0.1) - 1)
    assert float(spectrum_loss(net, louder, wave)["magnitude"]) == pytest.approx(expected, rel=0.05)


def test_the_edges_of_a_crop_do_not_count() -> None:
    net, wave = network(), torch.from_numpy(speech(0)[None, : 50 * SPEC.hop])
    heads = net.heads(mel_of(speech(0))[None, :, :50])
    magnitude = heads.log_magnitude.detach().clone()
    magnitude[..., :4] += 5
    magnitude[..., -4:] -= 5
    changed = spectrum_loss(net, Heads(magnitude, heads.slopes, heads.turns), wave)
    for name, value in spectrum_loss(net, heads, wave).items():
        assert torch.equal(changed[name], value)


def test_training_lowers_every_loss_on_a_recording() -> None:
    first, frames = 60, 80
    wave = torch.from_numpy(speech(2)[None, first * SPEC.hop : (first + frames) * SPEC.hop])
    mel = mel_of(speech(2))[None, :, first : first + frames]
    net = network(config=SpectrumConfig(width=32, layers=2, expansion=2, bins=128), fresh=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    values = []
    for _ in range(25):
        losses = spectrum_loss(net, net.heads(mel), wave)
        optimizer.zero_grad()
        sum(losses.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        values.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert values[-1]["magnitude"] < 0.85 * values[0]["magnitude"]
    for name in ("across", "up"):
        assert values[-1][name] < values[0][name] - 0.1


def test_silence_has_finite_losses_and_gradients() -> None:
    net = network()
    mel = torch.full((1, SPEC.n_mels, 20), SPEC.lowest)
    losses = spectrum_loss(net, net.heads(mel), torch.zeros(1, 20 * SPEC.hop))
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


def test_bins_count_by_the_critical_bands_in_them() -> None:
    bins = SPEC.n_fft // 2 + 1
    width = SPEC.sample_rate / SPEC.n_fft
    frequency = np.arange(bins) * width

    def bark(f: np.ndarray) -> np.ndarray:
        """Traunmüller 1990, equation 6."""
        return 26.81 * f / (1960 + f) - 0.53

    bands = (bark(frequency + 1) - bark(frequency - 1)) / 2
    density = _bark_density(SPEC, bins).double().numpy()
    np.testing.assert_allclose(density, bands / bands.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kernel": 4}, "kernel odd"),
        ({"width": 0}, "at least 1"),
        ({"finer": 0}, "at least 1"),
        ({"bins": 373}, "373, but the mel of 'hifigan-22k' has 373"),
        ({"finer": 3}, "multiple of 6 samples"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        SpectrumNet(SPEC, SpectrumConfig(**changes))


def test_any_convention_and_grid() -> None:
    spec = MelSpec.preset("wavegrad-24k")
    for finer in (1, 3):
        net = SpectrumNet(spec, SpectrumConfig(width=8, layers=1, bins=16, finer=finer))
        told = net(spec(torch.from_numpy(speech(0)))[None, :, :9])
        assert told.log_magnitude.shape == (1, spec.n_fft // 2 + 1, 9 * finer)
        assert bool(told.log_magnitude.isfinite().all())
