"""Streams: the same samples as the whole, whatever the pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio.config import build_denoiser
from scoregen.audio.mel import MelSpec
from scoregen.audio.prior import Prior
from scoregen.audio.render import Rendered, Start
from scoregen.audio.stream import CONTEXT, PAD, Stream
from scoregen.audio.vocoder import Vocoder
from scoregen.errors import InputError
from scoregen.hub import Model

from .helpers import SPEC, mel_of, small_config, small_vocoder, speech

STARTS = [Start("estimate", 0.2), Start("noise", 5.0)]


def pieces(mel: torch.Tensor, sizes: list[int]) -> Iterator[torch.Tensor]:
    """``mel`` cut into pieces of the given sizes, the last size again and again."""
    first, number = 0, 0
    while first < mel.shape[-1]:
        size = sizes[min(number, len(sizes) - 1)]
        yield mel[:, first : first + size]
        first, number = first + size, number + 1


@lru_cache
def long_mel() -> torch.Tensor:
    return mel_of(np.concatenate([speech(i) for i in range(2)]))


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("sizes", [[10], [37], [100], [1, 300, 2, 64, 5]])
def test_a_stream_equals_the_whole(start: Start, sizes: list[int]) -> None:
    vocoder, mel = small_vocoder(), long_mel()
    whole = vocoder.synthesize(mel, steps=2, seed=4, start=start, block=64)
    gain = float(vocoder.gain(mel[None]))
    made = list(vocoder.stream(pieces(mel, sizes), steps=2, seed=4, start=start, block=64, gain=gain))
    assert len(made) > 3
    np.testing.assert_array_equal(np.concatenate(made), whole)


def test_phases_are_carried_from_block_to_block() -> None:
    vocoder, mel = small_vocoder(), long_mel()
    gain = float(vocoder.gain(mel[None]))
    made = np.concatenate(list(vocoder.stream(pieces(mel, [23]), steps=1, block=48, gain=gain)))
    np.testing.assert_array_equal(made, vocoder.synthesize(mel, steps=1, block=48))
    # Phases started anew in each block would cancel at their seams: the level there stays that of the whole.
    whole = vocoder.synthesize(mel, steps=1, block=10_000)
    seams = [48 * k * SPEC.hop - PAD * SPEC.hop for k in range(1, mel.shape[1] // 48)]
    loud = [np.abs(made[s - 128 : s + 128]).mean() / np.abs(whole[s - 128 : s + 128]).mean() for s in seams]
    assert 0.8 < np.median(loud) < 1.25
    jumps = [abs(made[s] - made[s - 1]) for s in seams]
    assert np.median(jumps) < 3 * np.median(np.abs(np.diff(made)))


def test_blocks_have_the_spectrum_of_the_whole() -> None:
    """Phases come from one tree over all cells of a window, so samples differ where blocks do."""
    vocoder, mel = small_vocoder(), long_mel()
    whole, made = (vocoder.synthesize(mel, steps=2, block=block) for block in (10_000, 50))
    a, b = (mel_of(wave) for wave in (whole, made))
    assert float((a - b).abs().mean()) < 0.3 * float((a - mel).abs().mean())


def test_blocks_do_not_show_where_nothing_is_summed() -> None:
    vocoder, mel, start = small_vocoder(), long_mel(), STARTS[1]
    whole = vocoder.synthesize(mel, steps=2, start=start, block=10_000)
    error = vocoder.synthesize(mel, steps=2, start=start, block=50) - whole
    # Synchronisation amplifies last bits; 16 bits resolve 3e-5.
    assert np.abs(error).max() < 1e-2 * np.abs(whole).max()
    assert np.sqrt((error**2).mean()) < 1e-3 * np.sqrt((whole**2).mean())


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 90), st.integers(1, 70), st.integers(0, 2**31))
def test_lengths_are_exact(frames: int, block: int, seed: int) -> None:
    draw = random.Random(seed)
    mel = long_mel()[:, 40 : 40 + frames]
    sizes = [draw.randint(0, 20) for _ in range(10)] + [15]
    made = list(small_vocoder().stream(pieces(mel, sizes), steps=1, block=block, start=STARTS[1]))
    assert sum(len(piece) for piece in made) == frames * SPEC.hop


class Counting:
    """A renderer that gives zeros and notes the windows asked for."""

    def __init__(self, hop: int) -> None:
        self.hop, self.windows = hop, []

    def halo(self, steps: int, start: Start) -> int:
        return 1_000

    def render(self, mels: torch.Tensor, noise: object, steps: int, start: Start, known: None) -> Rendered:
        self.windows.append(mels.shape[-1])
        return Rendered(torch.zeros(mels.shape[0], mels.shape[-1] * self.hop))


def counted(spec: MelSpec, block: int) -> tuple[Stream, Counting]:
    renderer = Counting(spec.hop)
    options = {"seed": 0, "steps": 1, "start": STARTS[1], "block": block}
    return Stream(renderer, spec, torch.zeros(1, dtype=torch.int64), torch.device("cpu"), **options), renderer  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["hifigan-22k", "vocos-24k"])
def test_a_thousand_random_lengths_are_exact(name: str) -> None:
    spec, draw = MelSpec.preset(name), random.Random(0)
    for _ in range(1_000):
        stream, _ = counted(spec, draw.randint(1, 60))
        frames = left = draw.randint(0, 200)
        made = 0
        while left:
            size = min(left, draw.randint(1, 50))
            made += stream.push(torch.full((1, spec.n_mels, size), -3.0)).shape[1]
            left -= size
        made += stream.close().shape[1]
        assert made == frames * spec.hop


def test_memory_and_windows_stay_bounded() -> None:
    stream, renderer = counted(SPEC, 100)
    for _ in range(2_000):
        stream.push(torch.full((1, 80, 37), -3.0))
        assert stream._frames.shape[-1] <= 100 + 2 * CONTEXT + 37 + PAD
    assert max(renderer.windows) <= 100 + 2 * CONTEXT
    assert len(renderer.windows) == (2_000 * 37 + PAD - CONTEXT) // 100


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 80), st.integers(1, 50))
def test_no_sample_waits_longer_than_the_latency(block: int, size: int) -> None:
    stream, _ = counted(SPEC, block)
    known = made = 0
    for _ in range(20):
        known += size
        made += stream.push(torch.full((1, 80, size), -3.0)).shape[1]
        assert (
            known * SPEC.hop - made
            <= (stream.latency + (size * SPEC.hop) / SPEC.sample_rate) * SPEC.sample_rate
        )


def test_silence_within_a_stream_is_silent() -> None:
    mel = long_mel()[:, :80]
    quiet = torch.full((80, 200), SPEC.lowest)
    made = np.concatenate(list(small_vocoder().stream([mel, quiet, mel], steps=1, block=32)))
    assert not made[(80 + 80) * SPEC.hop : (80 + 120) * SPEC.hop].any()
    assert made[: 40 * SPEC.hop].any()
    assert made[-40 * SPEC.hop :].any()


def test_centred_conventions_stream_too() -> None:
    spec = MelSpec.preset("vocos-24k")
    gains = Prior(spec).calibrated([speech(0)]).to_dict()
    torch.manual_seed(0)
    config = small_config(mel="vocos-24k", prior=gains)
    vocoder = Vocoder(Model("centred", "audio", config, build_denoiser(config).eval()))
    mel = spec(torch.from_numpy(speech(0)))[:, :150]
    gain = float(vocoder.gain(mel[None]))
    made = np.concatenate(list(vocoder.stream(pieces(mel, [7]), steps=1, block=40, gain=gain)))
    np.testing.assert_array_equal(made, vocoder.synthesize(mel, steps=1, block=40))


def test_bad_pieces_are_named() -> None:
    vocoder, mel = small_vocoder(), long_mel()[:, :20]
    with pytest.raises(InputError, match=r"live, piece 1: shape"):
        list(vocoder.stream([mel, mel[:40]], source="live"))
    with pytest.raises(InputError, match="NaN"):
        list(vocoder.stream([mel, mel * float("nan")]))
    with pytest.raises(InputError, match="block must be"):
        list(vocoder.stream([mel], block=0))
    stream, _ = counted(SPEC, 10)
    stream.close()
    with pytest.raises(InputError, match="closed"):
        stream.push(mel[None])
