from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scoregen.audio.files import read_clip, resample
from scoregen.audio.loudness import TARGET_DB, level_db
from scoregen.audio.prepare import prepare_audio, split_of
from scoregen.errors import InputError
from scoregen.training.cache import Cache

from .helpers import CLIPS, SPEC, SPEECH, mel_of


def test_prepare_the_shipped_speech(tmp_path: Path) -> None:
    shutil.copytree(SPEECH, tmp_path / "speech")
    (tmp_path / "speech" / "lj_en" / "broken.wav").write_text("no sound")
    soundfile.write(tmp_path / "speech" / "lj_en" / "silent.wav", np.zeros(9_000), 22_050)
    stereo = resample(read_clip(CLIPS[0]).wave, 22_050, 16_000)
    (tmp_path / "speech" / "other").mkdir()
    soundfile.write(tmp_path / "speech" / "other" / "stereo.wav", np.stack((stereo, stereo), 1), 16_000)
    calls = []
    report = prepare_audio(
        [tmp_path / "speech"],
        tmp_path / "cache",
        dev_fraction=0.5,
        holdout_speakers=["lj_en"],
        progress=lambda *at: calls.append(at),
    )
    assert calls[-1] == (8, 8)
    assert {Path(name).name: reason for name, reason in report.failed}.keys() == {"broken.wav", "silent.wav"}
    assert len(report.notices) == 1
    cache = Cache(tmp_path / "cache", "audio")
    assert cache.info["spec"] == SPEC.to_dict()
    assert cache.info["held_out_speakers"] == ["lj_en"]
    assert len(cache) == 6 == sum(report.clips.values())
    assert {cache.facts[i]["name"] for i in cache.select(split="unseen")} == {"LJ001-0002", "LJ001-0008"}
    for i, facts in enumerate(cache.facts):
        wave = cache[i]["wave"]
        assert wave.dtype == np.int16
        assert abs(int(wave.max())) <= 32_767 * 0.991
        whole = wave[: len(wave) // SPEC.hop * SPEC.hop].astype(np.float32) / 32_767
        assert abs(float(level_db(SPEC, mel_of(whole)[None])) - TARGET_DB) < 1
        assert facts["speaker"] in {"kathleen_en", "lj_en", "nathalie_nl", "other"}
    resampled = cache.select(speaker="other")[0]
    assert abs(cache.lengths("wave")[resampled] - len(read_clip(CLIPS[0]).wave)) <= 2


def test_split_depends_on_the_name_alone_and_has_the_share_asked() -> None:
    names = [f"speaker/clip-{i}" for i in range(4_000)]
    splits = [split_of(name, 0.1) for name in names]
    assert abs(splits.count("dev") / 4_000 - 0.1) < 0.02
    assert splits == [split_of(name, 0.1) for name in names]
    assert {split_of(name, 0.0) for name in names} == {"train"}


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody"):
        prepare_audio([SPEECH], tmp_path / "c", holdout_speakers=["nobody"])
    with pytest.raises(InputError, match="no mel convention"):
        prepare_audio([SPEECH], tmp_path / "c", spec="cd-quality")
    (tmp_path / "bad.wav").write_text("no")
    with pytest.raises(InputError, match="no usable clip"):
        prepare_audio([tmp_path / "bad.wav"], tmp_path / "c")
    assert not (tmp_path / "c").exists()
