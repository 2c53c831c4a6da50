from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from scoregen.audio.files import (
    PIECE,
    Sound,
    check_wave,
    find_inputs,
    fit,
    read_clip,
    read_mel,
    resample,
    resampled,
    split,
    write_clip,
)
from scoregen.audio.mel import MelSpec, raised
from scoregen.errors import InputError

from .helpers import CLIPS, SPEC, mel_of, speech


@pytest.mark.parametrize(("suffix", "error"), [(".wav", 4e-5), (".flac", 4e-5), (".ogg", 0.1)])
def test_write_then_read(tmp_path: Path, suffix: str, error: float) -> None:
    wave = speech(0)
    path = tmp_path / f"a{suffix}"
    write_clip(path, wave, 22_050)
    clip = read_clip(path)
    assert clip.sample_rate == 22_050
    assert clip.notices == ()
    assert len(clip.wave) == len(wave)
    assert np.abs(clip.wave - wave).max() < error
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav", np.array([0.0, 1.5, -1.5], np.float32), 8_000)
    np.testing.assert_allclose(read_clip(tmp_path / "a.wav").wave, [0, 1, -1], atol=1e-4)


def test_stereo_is_mixed_down_with_a_notice(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "s.wav", np.array([[0.5, 0.0], [0.2, 0.4]]), 8_000)
    clip = read_clip(tmp_path / "s.wav")
    np.testing.assert_allclose(clip.wave, [0.25, 0.3], atol=1e-4)
    assert "2 channels" in clip.notices[0]


def flat_share(wave: np.ndarray) -> float:
    """Share of samples in runs of two and more equal ones near full scale, the slow way."""
    rows = wave.tolist()
    near = [
        abs(x) >= 0.99 and ((i > 0 and rows[i - 1] == x) or (i + 1 < len(rows) and rows[i + 1] == x))
        for i, x in enumerate(rows)
    ]
    return sum(near) / len(rows)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "FLOAT"])
def test_clipped_recordings_have_a_notice_with_the_share(tmp_path: Path, subtype: str) -> None:
    wave = np.resize(np.clip(speech(0) * 6, -1, 1), PIECE + 9_000)
    wave[PIECE - 2 : PIECE + 3] = 1  # a run across the pieces that are read
    soundfile.write(tmp_path / "a.wav", wave, 22_050, subtype=subtype)
    clip = read_clip(tmp_path / "a.wav")
    share = flat_share(clip.wave)
    assert share > 0.01
    assert f"clipped ({100 * share:.2g} % of samples" in clip.notices[0]


def test_a_peak_at_full_scale_is_not_clipping(tmp_path: Path) -> None:
    wave = speech(0) / np.abs(speech(0)).max()
    soundfile.write(tmp_path / "a.wav", wave, 22_050)
    assert read_clip(tmp_path / "a.wav").notices == ()


def test_sound_in_pieces_is_the_clip(tmp_path: Path) -> None:
    stereo = np.stack([np.resize(speech(0), 2 * PIECE + 5)] * 2, 1)
    soundfile.write(tmp_path / "a.flac", stereo, 44_100)
    sound = Sound(tmp_path / "a.flac")
    for _ in range(2):
        pieces = list(sound.pieces())
        assert [len(piece) for piece in pieces] == [PIECE, PIECE, 5]
        np.testing.assert_array_equal(np.concatenate(pieces), read_clip(tmp_path / "a.flac").wave)
        assert len(sound.notices) == 1
    assert sound.seconds == pytest.approx((2 * PIECE + 5) / 44_100)


@pytest.mark.parametrize("rates", [(8_000, 22_050), (96_000, 22_050), (22_050, 44_100), (22_050, 22_050)])
def test_resampling_in_pieces_is_that_of_the_whole(rates: tuple[int, int]) -> None:
    wave = np.resize(speech(0), PIECE + 17)
    whole = resample(wave, *rates)
    np.testing.assert_array_equal(np.concatenate(list(resampled(split(wave), *rates))), whole)
    np.testing.assert_array_equal(np.concatenate(list(resampled([wave[:9], wave[9:]], *rates))), whole)


@pytest.mark.parametrize("name", ["hifigan-22k", "pwg-22k", "coqui-22k", "matcha-ljspeech-22k", "nemo-22k"])
def test_up_to_a_nat_below_the_floor_is_raised(tmp_path: Path, name: str) -> None:
    spec = MelSpec.preset(name)
    mel = spec(torch.from_numpy(speech(0) * 0.01))
    floor = torch.full_like(mel, spec.lowest)
    nat = {"ln": 1.0, "log10": 0.4343, "db01": 0.08686}[spec.log] / float(torch.as_tensor(spec.std))
    assert raised(spec, mel)[1] == 0
    assert raised(spec, mel)[0] is mel
    low = torch.where(torch.arange(mel.shape[1]) < 5, floor - 0.95 * nat, mel)
    lifted, count = raised(spec, low)
    assert count == int((low < floor - 0.02 * nat).sum()) > 0
    torch.testing.assert_close(lifted, torch.maximum(low, floor), atol=1e-6, rtol=1e-6)
    spec.check(lifted)
    notices: list[str] = []
    np.save(tmp_path / "low.npy", low.numpy())
    assert torch.equal(read_mel(tmp_path / "low.npy", spec, notices), lifted)
    assert "low.npy" in notices[0]
    np.save(tmp_path / "lower.npy", (low - 0.2 * nat).numpy())
    with pytest.raises(InputError, match="floor"):
        read_mel(tmp_path / "lower.npy", spec)


def bad_files(folder: Path) -> dict[str, Path]:
    """Files that are no recordings, by the reason expected."""
    (folder / "text.wav").write_text("this is not a recording")
    (folder / "truncated.flac").write_bytes(CLIPS[0].read_bytes()[:40])
    soundfile.write(folder / "empty.wav", np.zeros(0), 22_050)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan], np.float32), 22_050, subtype="FLOAT")
    return {
        "not readable": folder / "text.wav",
        "give a WAV": folder / "truncated.flac",
        "length 0": folder / "empty.wav",
        "NaN": folder / "nan.wav",
        "no such file": folder / "absent.wav",
    }


def test_bad_sound_files_name_themselves_and_the_reason(tmp_path: Path) -> None:
    for reason, path in bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_clip(path)
        assert reason in str(caught.value)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mp3"):
        write_clip(tmp_path / "a.mp3", speech(0), 22_050)
    with pytest.raises(InputError, match="Hz"):
        write_clip(tmp_path / "a.wav", speech(0), -1)
    assert not list(tmp_path.iterdir())


def test_resample_keeps_a_tone_and_fit_the_length() -> None:
    t = np.arange(22_050) / 22_050
    tone = np.sin(2 * np.pi * 440 * t).astype(np.float32)
    up = resample(tone, 22_050, 48_000)
    want = np.sin(2 * np.pi * 440 * np.arange(len(up)) / 48_000)
    assert np.abs(up - want)[2000:-2000].max() < 1e-3
    assert fit(up, 10).shape == (10,)
    assert fit(up[:5], 8)[5:].tolist() == [0, 0, 0]


def test_integer_waveforms_are_scaled() -> None:
    np.testing.assert_allclose(check_wave(np.array([-32768, 16384], np.int16)), [-1, 0.5])


def test_mels_of_every_kind(tmp_path: Path) -> None:
    mel = mel_of(speech(0))
    np.save(tmp_path / "a.npy", mel.numpy().astype(np.float64))
    np.save(tmp_path / "b.npy", mel[None].numpy())
    torch.save(mel, tmp_path / "c.pt")
    torch.save({"mel": mel, "spec": SPEC.to_dict()}, tmp_path / "d.pt")
    torch.save({"mel": mel, "spec": "hifigan-22k"}, tmp_path / "e.pt")
    for path in tmp_path.iterdir():
        torch.testing.assert_close(read_mel(path, SPEC), mel)


class Dangerous:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_bad_mels(tmp_path: Path) -> None:
    mel = mel_of(speech(0))
    np.save(tmp_path / "transposed.npy", mel.T.numpy())
    np.save(tmp_path / "integer.npy", np.zeros((80, 5), np.int64))
    np.save(tmp_path / "object.npy", np.array([Dangerous()], object), allow_pickle=True)
    torch.save(Dangerous(), tmp_path / "pickle.pt")
    (tmp_path / "text.npy").write_text("no array")
    torch.save({"mel": mel, "spec": MelSpec.preset("vocos-24k").to_dict()}, tmp_path / "vocos.pt")
    torch.save({"other": mel}, tmp_path / "dict.pt")
    np.save(tmp_path / "flat.npy", mel[0].numpy())
    reasons = {
        "transposed.npy": "transposed",
        "integer.npy": "floating-point",
        "object.npy": "not readable",
        "pickle.pt": "not readable",
        "text.npy": "not readable",
        "vocos.pt": "vocos-24k",
        "dict.pt": "'mel'",
        "flat.npy": "shape",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason) as caught:
            read_mel(tmp_path / name, SPEC)
        assert name in str(caught.value)


def test_find_inputs(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("b.wav", "deep/a.FLAC", "notes.txt"):
        (tmp_path / "in" / name).touch()
    found = find_inputs([tmp_path / "in", tmp_path / "x.wav"], (".wav", ".flac"))
    assert [str(relative) for _, relative in found] == ["b.wav", "deep/a.FLAC", "x.wav"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no file with suffix"):
        find_inputs([tmp_path / "none"], (".wav",))
