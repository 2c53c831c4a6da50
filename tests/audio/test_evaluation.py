from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from scoregen.audio.evaluation import MEASURES, VOICE, evaluate_audio
from scoregen.audio.files import read_clip, write_clip
from scoregen.errors import InputError

from .helpers import CLIPS, SPEECH

pytest.importorskip("pesq")
pytest.importorskip("pystoi")


def test_folders_are_matched_by_name(tmp_path: Path) -> None:
    shutil.copytree(SPEECH / "lj_en", tmp_path / "ref")
    noise = np.random.default_rng(0)
    for path in (tmp_path / "ref").iterdir():
        clip = read_clip(path)
        wave = clip.wave + noise.normal(0, 0.01, len(clip.wave)).astype(np.float32)
        write_clip(tmp_path / "gen" / f"{path.stem}.wav", wave, clip.sample_rate)
    result = evaluate_audio(tmp_path / "gen", tmp_path / "ref")
    assert result["clips"] == 2
    assert result["problems"] == []
    assert 1.1 < result["pesq_wb"] < 4
    assert 0.7 < result["stoi"] < 1
    assert result["mr_stft"] > 0
    assert np.isclose(result["stoi"], np.mean([s["stoi"] for s in result["scores"].values()]))


def test_a_file_against_itself_and_what_cannot_be_scored(tmp_path: Path) -> None:
    perfect = evaluate_audio(CLIPS[0], CLIPS[0])
    assert perfect["pesq_wb"] > 4.6
    assert perfect["mr_stft"] < 1e-5
    clip = read_clip(CLIPS[0])
    write_clip(tmp_path / "short.wav", clip.wave[:9_000], clip.sample_rate)
    result = evaluate_audio(tmp_path / "short.wav", CLIPS[0])
    assert result["clips"] == 0
    assert result["pesq_wb"] is None
    assert "lasts" in result["problems"][0][1]
    (tmp_path / "gen").mkdir()
    with pytest.raises(InputError, match="no file"):
        evaluate_audio(tmp_path / "gen", SPEECH)
    shutil.copy(CLIPS[0], tmp_path / "gen" / "other.flac")
    shutil.copytree(SPEECH / "lj_en", tmp_path / "ref")
    reasons = [reason for _, reason in evaluate_audio(tmp_path / "gen", tmp_path / "ref")["problems"]]
    assert "no reference" in reasons[0]
    assert reasons[1:] == ["nothing was generated for it"] * 2


def test_pitch_and_envelope_are_measured_where_pyworld_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyworld")
    clip = read_clip(CLIPS[0])
    write_clip(tmp_path / "cut.wav", clip.wave[:33_000], clip.sample_rate)
    found = evaluate_audio(tmp_path / "cut.wav", tmp_path / "cut.wav")
    assert set(MEASURES) <= set(found)
    assert (found["mcd"], found["f0_rmse_cents"], found["vuv_f1"], found["notices"]) == (0, 0, 1, [])
    monkeypatch.setitem(sys.modules, "pyworld", None)
    without = evaluate_audio(tmp_path / "cut.wav", tmp_path / "cut.wav")
    assert without["pesq_wb"] == found["pesq_wb"]
    assert all(without[key] is None for key in VOICE)
    assert len(without["notices"]) == 1
    assert "scoregen[metrics]" in without["notices"][0]
    assert without["problems"] == []
