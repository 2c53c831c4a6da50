"""Long files: the samples of the short way, in memory that does not grow."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio.files import PIECE, Sound, read_mel, split
from scoregen.audio.longform import MelFile, Recording, measure, vocode_mel, vocode_sound
from scoregen.audio.loudness import Level, gain_to_target
from scoregen.audio.mel import PRESETS, MelSpec
from scoregen.audio.melfile import write_mel
from scoregen.audio.melstream import FRAMES, MelStream, covering, mel_of
from scoregen.errors import InputError

from .helpers import SPEC, small_vocoder, speech

OPTIONS = {"steps": 1, "seed": 2, "block": 64}


def ragged(wave: np.ndarray, seed: int, largest: int = 4_000) -> list[np.ndarray]:
    """``wave`` cut at random places, now and then twice at the same."""
    draw, pieces, first = random.Random(seed), [], 0
    while first < len(wave):
        size = draw.choice([0, 1, draw.randint(1, largest)])
        pieces.append(wave[first : first + size])
        first += size
    return pieces


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(PRESETS)),
    st.integers(0, 30_000),
    st.sampled_from([1, 3, 64]),
    st.integers(0, 2**31),
)
def test_mel_stream_equals_the_whole(name: str, samples: int, block: int, seed: int) -> None:
    spec, wave = MelSpec.preset(name), speech(0)[5_000 : 5_000 + samples]
    stream = MelStream(spec, block)
    made = [stream.push(piece) for piece in ragged(wave, seed)]
    assert all(piece.shape[1] % block == 0 for piece in made)
    together = torch.cat([*made, stream.close()], dim=-1)
    assert torch.equal(together, mel_of(spec, wave, block))
    padded = np.pad(wave, (0, max(0, spec.n_fft - samples)))
    whole = spec(torch.from_numpy(padded))[:, : max(spec.frames(samples), 1)]
    torch.testing.assert_close(spec.expand(together), spec.expand(whole), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["hifigan-22k", "vocos-24k"])
@pytest.mark.parametrize("samples", [0, 1, 255, 256, 257, 2_048, 9_000])
def test_covering_blocks_just_cover(name: str, samples: int) -> None:
    spec = MelSpec.preset(name)
    made = list(covering(spec, ragged(speech(0)[:samples], 0)))
    assert sum(mel.shape[1] for mel in made) == max(-(-samples // 256), 8)


def test_level_of_pieces_is_that_of_the_whole() -> None:
    mel = SPEC(torch.from_numpy(speech(1)))[None, :, : 2 * FRAMES]
    whole, pieces = Level(SPEC, FRAMES), Level(SPEC, FRAMES)
    whole.push(mel)
    for part in mel.split(FRAMES, dim=-1):
        pieces.push(part)
    assert float(pieces.gain()) == float(whole.gain())
    torch.testing.assert_close(whole.gain(), gain_to_target(SPEC, mel))


@pytest.mark.parametrize("index", [0, 2, 4])
def test_streamed_sound_equals_the_whole(tmp_path: Path, index: int) -> None:
    wave = speech(index, level=False)[: 55_000 + index]
    soundfile.write(tmp_path / "a.wav", wave, 22_050, subtype="FLOAT")
    _, pieces = vocode_sound(small_vocoder(), Sound(tmp_path / "a.wav"), **OPTIONS)
    made = list(pieces)
    assert len(made) >= 2
    whole = small_vocoder().resynthesize(wave, 22_050, **OPTIONS)
    assert whole.any()
    np.testing.assert_allclose(np.concatenate(made), whole, atol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
def test_streamed_sound_of_other_rates(tmp_path: Path, rate: int) -> None:
    wave = speech(3)[: rate + 7]
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    _, pieces = vocode_sound(small_vocoder(), Sound(tmp_path / "a.wav"), **OPTIONS)
    whole = small_vocoder().resynthesize(wave, rate, **OPTIONS)
    # soxr gives the same bits for any pieces; were it not so, synchronisation would amplify it.
    np.testing.assert_allclose(np.concatenate(list(pieces)), whole, atol=1e-5)


@pytest.mark.parametrize("suffix", [".npy", ".pt", ".safetensors"])
def test_streamed_mels_equal_the_whole(tmp_path: Path, suffix: str) -> None:
    mel = SPEC(torch.from_numpy(np.tile(speech(0), 2)))[:, : FRAMES + 30]
    path = tmp_path / f"a{suffix}"
    write_mel(path, mel, SPEC)
    made = np.concatenate(list(vocode_mel(small_vocoder(), MelFile(path, SPEC), **OPTIONS)))
    np.testing.assert_array_equal(made, small_vocoder().synthesize(mel, **OPTIONS))


def test_slices_of_a_mel_file_are_converted_and_mapped(tmp_path: Path) -> None:
    matcha = MelSpec.preset("matcha-ljspeech-22k")
    mel = matcha(torch.from_numpy(np.tile(speech(0), 2)))
    write_mel(tmp_path / "a.npy", mel, matcha)
    file = MelFile(tmp_path / "a.npy", SPEC)
    slices = list(file.slices())
    assert max(part.shape[1] for part in slices) == FRAMES
    assert torch.equal(torch.cat(slices, dim=-1), read_mel(tmp_path / "a.npy", SPEC))
    with pytest.raises(InputError, match="no exact way"):
        list(MelFile(tmp_path / "a.npy", MelSpec.preset("pwg-22k")).slices())


def test_memory_of_a_recording_does_not_grow() -> None:
    """An hour of pieces: none is kept beyond the next block."""
    rate, held = 22_050, 0
    stream = MelStream(SPEC, FRAMES)
    for piece in (np.full(PIECE, 0.01, np.float32) for _ in range(40)):
        stream.push(piece)
        held = max(held, len(stream._held) + len(stream._tail))
    assert held < FRAMES * SPEC.hop + 2 * SPEC.n_fft + PIECE < 10 * rate


def test_dc_offset_is_measured_and_removed() -> None:
    wave = speech(0)[:30_000]
    assert measure(split(wave)) == (30_000, 0.0)
    count, offset = measure(split(wave + np.float32(0.1)))
    assert (count, round(offset, 2)) == (30_000, 0.1)
    assert measure(split(wave[:500] + np.float32(0.1)))[1] == 0.0  # too short to tell
    plain = small_vocoder().resynthesize(wave, 22_050, **OPTIONS)
    shifted = small_vocoder().resynthesize(wave + np.float32(0.1), 22_050, **OPTIONS)
    assert abs(shifted.std() / plain.std() - 1) < 0.02
    assert not small_vocoder().resynthesize(np.full(9_000, 0.1, np.float32), 22_050, steps=1).any()


def test_silence_and_an_empty_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(70_001), 16_000)
    recording, pieces = vocode_sound(small_vocoder(), Sound(tmp_path / "a.wav"), **OPTIONS)
    made = np.concatenate(list(pieces))
    assert recording.silent
    assert made.shape == (70_001,)
    assert not made.any()
    soundfile.write(tmp_path / "b.wav", np.zeros(0), 16_000)
    with pytest.raises(InputError, match=r"b\.wav.*length 0"):
        vocode_sound(small_vocoder(), Sound(tmp_path / "b.wav"), **OPTIONS)


def test_a_recording_may_be_read_again() -> None:
    wave = speech(0)[:20_000]
    recording = Recording(lambda: split(wave), 22_050, SPEC)
    first, second = (torch.cat(list(recording.mels()), dim=-1) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (80, 79)
