"""Recordings and mels of a TTS: which belong together, and crops that take both at one place and level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from scoregen.audio.config import VocoderDataConfig
from scoregen.audio.crops import Crops
from scoregen.audio.files import find_inputs
from scoregen.audio.mel import MelSpec, aligned
from scoregen.audio.melfile import write_mel
from scoregen.audio.pairs import match, paired
from scoregen.audio.prepare import prepare_audio
from scoregen.errors import InputError
from scoregen.training.cache import Cache

from .helpers import CLIPS, SPEC, speech


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_pairs_are_found_by_path_and_else_by_an_only_name(tmp_path: Path) -> None:
    sound = touch(tmp_path / "sound", "x/a.wav", "y/a.flac", "y/b.1.wav", "y/c.wav")
    mels = touch(tmp_path / "mels", "x/a.npy", "y/a.wav.npy", "b.1.pt", "d.npy", "c.npy", "c.pt")
    pairs, lost = match(find_inputs([sound], (".wav", ".flac")), mels)
    shown = {str(a.relative_to(sound)): str(b.relative_to(mels)) for a, b in pairs.items()}
    assert shown == {"x/a.wav": "x/a.npy", "y/a.flac": "y/a.wav.npy", "y/b.1.wav": "b.1.pt"}
    reasons = {Path(name).name: reason for name, reason in lost}
    assert reasons.keys() == {"c.npy", "c.pt", "d.npy"}
    assert reasons["d.npy"] == "no recording of that name" and "several" in reasons["c.npy"]


def test_no_pair_at_all_is_one_line(tmp_path: Path) -> None:
    sound, mels = touch(tmp_path / "sound", "a.wav"), touch(tmp_path / "mels", "b.npy")
    with pytest.raises(InputError, match="no mel has the name of a recording"):
        match(find_inputs([sound], (".wav",)), mels)
    with pytest.raises(InputError, match="no file with suffix"):
        match(find_inputs([sound], (".wav",)), touch(tmp_path / "nothing", "a.txt"))


@pytest.mark.parametrize("preset", ["hifigan-22k", "vocos-24k"])
def test_both_are_cut_to_the_frames_they_share(preset: str) -> None:
    spec = MelSpec.preset(preset)
    wave = speech()[: 50 * spec.hop + 100]
    mel = spec(torch.from_numpy(wave))
    extra = int(spec.centre)
    for given, frames in ((mel, 50), (mel[:, :-1], 49), (mel[:, :-2], 48)):
        cut, kept = paired(wave, given, spec, "a.npy")
        assert len(cut) == frames * spec.hop and kept.shape[1] == frames + extra
    longer = torch.cat((mel, mel[:, -1:], mel[:, -1:]), dim=1)
    assert paired(wave, longer, spec, "a.npy")[1].shape[1] == 50 + extra
    with pytest.raises(InputError, match=r"^a.npy has \d+ frames, the recording \d+: make the mel teacher"):
        paired(wave, mel[:, :-3], spec, "a.npy")


def test_mels_that_are_not_of_the_recording_are_refused() -> None:
    wave = speech()[: 100 * SPEC.hop]
    mel = SPEC(torch.from_numpy(wave))
    with pytest.raises(InputError, match="12 dB louder than the recording"):
        paired(wave, mel + 12 / 20 * np.log(10), SPEC, "a.npy")
    with pytest.raises(InputError, match="does not follow the recording"):
        paired(wave, mel.flip(1), SPEC, "a.npy")


def write(folder: Path, kind: str, mel: torch.Tensor, spec: MelSpec) -> Path:
    folder.mkdir()
    write_mel(folder / f"a{kind}", mel, spec)
    return folder / f"a{kind}"


def test_another_convention_is_converted_or_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(level=False), SPEC.sample_rate)
    mel = SPEC(torch.from_numpy(speech(level=False)))
    z = SPEC.normed(-5.0, 2.0)
    ours = prepare_audio(
        [tmp_path / "a.wav"], tmp_path / "one", mels=write(tmp_path / "m1", ".npy", mel, SPEC)
    )
    theirs = write(tmp_path / "m2", ".safetensors", (mel + 5) / 2, z)
    assert not prepare_audio([tmp_path / "a.wav"], tmp_path / "two", mels=theirs).failed and not ours.failed
    one, two = Cache(tmp_path / "one")[0], Cache(tmp_path / "two")[0]
    np.testing.assert_array_equal(one["wave"], two["wave"])
    np.testing.assert_allclose(one["mel"], two["mel"], atol=1e-4)
    vocos = MelSpec.preset("vocos-24k")
    other = write(tmp_path / "m3", ".pt", vocos(torch.from_numpy(speech())), vocos)
    with pytest.raises(InputError, match="no exact way from mel convention 'vocos-24k' to 'hifigan-22k'"):
        prepare_audio([tmp_path / "a.wav"], tmp_path / "three", mels=other)


@pytest.mark.parametrize("preset", ["hifigan-22k", "vocos-24k"])
def test_crops_take_the_stored_mel_where_they_take_the_wave(tmp_path: Path, preset: str) -> None:
    """Mels of the recordings themselves: stored or computed, crops are the same."""
    spec = MelSpec.preset(preset)
    (tmp_path / "mels").mkdir()
    for number, clip in enumerate(CLIPS[:2]):
        wave = speech(number, level=False)
        soundfile.write(tmp_path / f"{clip.stem}.wav", wave, spec.sample_rate, subtype="FLOAT")
        write_mel(tmp_path / "mels" / f"{clip.stem}.npy", spec(torch.from_numpy(wave)), spec)
    sound = sorted(tmp_path.glob("*.wav"))
    prepare_audio(sound, tmp_path / "own", spec=spec, dev_fraction=0)
    done = prepare_audio(sound, tmp_path / "tts", spec=spec, dev_fraction=0, mels=tmp_path / "mels")
    assert done.clips == {"train": 2} and not done.failed
    one, two = (
        Crops(spec, VocoderDataConfig(cache=tmp_path / name, frames=32, batch=4), 0)
        for name in ("own", "tts")
    )
    assert two.stored and not one.stored
    for step in range(3):
        a, b = one.batch(step), two.batch(step)
        torch.testing.assert_close(a.wave, b.wave)
        assert torch.equal(a.ids, b.ids)
        # Above what rounding to 16 bits and the floor of a quiet recording leave.
        loud = a.mel > -5
        assert loud.float().mean() > 0.2
        torch.testing.assert_close(a.mel[loud], b.mel[loud], atol=5e-2, rtol=0)


def test_a_crop_at_the_very_end_has_all_its_frames(tmp_path: Path) -> None:
    spec = MelSpec.preset("vocos-24k")
    wave = speech()[: 40 * spec.hop]
    soundfile.write(tmp_path / "a.wav", wave, spec.sample_rate, subtype="FLOAT")
    mel = spec(torch.from_numpy(wave))
    prepare_audio(
        [tmp_path / "a.wav"],
        tmp_path / "cache",
        spec=spec,
        dev_fraction=0,
        mels=write(tmp_path / "mels", ".npy", mel[:, :-1], spec),
    )
    crops = Crops(spec, VocoderDataConfig(cache=tmp_path / "cache", frames=39, batch=2), 0)
    batch = crops.batch(0)
    assert batch.mel.shape == (2, 100, 39) and batch.wave.shape == (2, 39 * spec.hop)
    held = torch.from_numpy(crops.cache[0]["mel"].T.copy())
    torch.testing.assert_close(batch.mel[0], aligned(spec, held, 39))
