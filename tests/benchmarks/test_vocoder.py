"""The vocoder benchmark on the shipped clips with a small untrained model: every section, what it says."""

# ruff: noqa: E402
from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from suite.processes import measured
from vocoder_suite import badinput, calls, quality, restore, speed, streaming
from vocoder_suite.clips import Clip, from_cache, from_folders
from vocoder_suite.options import Options
from vocoder_suite.workbench import Workbench

from scoregen.audio.metrics import World
from scoregen.audio.prepare import prepare_audio, split_of
from scoregen.errors import InputError
from scoregen.hub import save_pretrained

from ..audio.helpers import SPEC, SPEECH, small_vocoder, speech

SHORT = Options(clips=1, seconds=0.6, steps=(1,), repeats=1, lengths=5)

WORKER = "vocoder_suite.speed_worker"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "small"
    vocoder = small_vocoder()
    config = vocoder.config.model_dump(mode="json")
    info = {"held_out_speakers": ["lj_en"]}
    save_pretrained(folder, "audio", config, vocoder.denoiser.state_dict(), info)
    return str(folder)


@pytest.fixture
def bench(model: str) -> Workbench:
    return Workbench([model], data=[SPEECH / "lj_en"])


def test_clips_follow_the_split_of_prepare(tmp_path: Path, model: str) -> None:
    bench = Workbench([model], data=[SPEECH])
    clips = bench.clips(0, 0.5)
    assert {(clip.speaker, clip.split) for clip in clips if clip.speaker == "lj_en"} == {("lj_en", "unseen")}
    for clip in clips:
        assert clip.split == "unseen" or split_of(clip.name, 0.03) == "dev"
        assert clip.wave.shape == (SPEC.sample_rate // 2,)
    assert bench.clips(0, 0.5) is clips
    prepare_audio([SPEECH], tmp_path / "cache", holdout_speakers=["lj_en"])
    cached = from_cache(tmp_path / "cache", 0, 0.5)
    assert sorted((c.speaker, c.split) for c in cached) == sorted((c.speaker, c.split) for c in clips)
    # 16 bits apart, they are the same samples.
    for one, other in zip(cached, clips, strict=True):
        np.testing.assert_allclose(one.wave, other.wave, atol=1e-4)


def test_clips_that_were_trained_on_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "voice"
    folder.mkdir()
    names = [f"voice/{k}" for k in range(200)]
    trained, kept = (next(n for n in names if split_of(n, 0.03) == split) for split in ("train", "dev"))
    shutil.copy(SPEECH / "lj_en" / "LJ001-0002.flac", tmp_path / f"{trained}.flac")
    with pytest.raises(InputError, match="kept out of training"):
        from_folders([folder], SPEC, [], 0, 1.0)
    assert from_folders([folder], SPEC, [], 0, 1.0, everything=True)[0].split == "all"
    assert from_folders([folder], SPEC, ["voice"], 0, 1.0)[0].split == "unseen"
    shutil.copy(tmp_path / f"{trained}.flac", tmp_path / f"{kept}.flac")
    found = from_folders([folder], SPEC, [], 0, 1.0)
    assert [(clip.name, clip.split) for clip in found] == [(kept, "dev")]


def test_quality_has_every_method_speaker_and_measure(bench: Workbench, tmp_path: Path) -> None:
    for package in ("pesq", "pystoi", "pyworld"):
        pytest.importorskip(package)
    bench.store.folder = tmp_path / "store"
    options = replace(SHORT, clips=2, iterations=2)
    result = quality.run(bench, options)
    names = ["Griffin-Lim 2", "small, estimate", "small, 1"]
    assert [row["method"] for row in result["rows"]] == names
    for row in result["rows"]:
        assert (row["speaker"], row["split"], row["clips"]) == ("lj_en", "unseen", 2)
        for key in quality.MEASURES:
            assert set(row[key]) == {"mean", "interval", "clips"}
        low, high = row["mr_stft"]["interval"]
        assert 0 < low <= row["mr_stft"]["mean"] <= high
        assert row["mcd"]["mean"] > 0.5
    assert len(list((tmp_path / "store").iterdir())) == 2 * len(names)
    # A run with the store makes nothing again: it has the very times of the first.
    assert quality.run(bench, options) == result
    quality.show(result)


def test_a_method_that_gives_the_recording_has_the_best_scores() -> None:
    for package in ("pesq", "pystoi", "pyworld"):
        pytest.importorskip(package)
    wave = speech(0)[: 80 * SPEC.hop]
    clip = Clip("a", "s", "dev", wave, SPEC.sample_rate)
    analysis: list[World] = []
    made = quality.score(clip, quality.Method("copy", SPEC, lambda mel: wave, {}), analysis)
    assert (made["mcd"], made["f0_rmse_cents"], made["vuv_error"], made["log_mel_l1"]) == (0, 0, 0, 0)
    assert made["pesq_wb"] > 4.6
    assert len(analysis) == 1
    silent = quality.score(clip, quality.Method("none", SPEC, lambda mel: 0 * wave, {}), analysis)
    assert silent["f0_rmse_hz"] is None
    assert silent["vuv_error"] > 0.1


def test_summary_counts_what_could_be_told() -> None:
    entries = [dict.fromkeys(quality.MEASURES, value) for value in (1.0, 3.0)]
    entries.append(dict.fromkeys(quality.MEASURES))
    row = quality.summary(entries, 0)["pesq_wb"]
    assert (row["mean"], row["clips"]) == (2, 2)
    assert row["interval"] == (1, 3)


def test_streaming_is_the_whole_and_lengths_are_kept(bench: Workbench) -> None:
    result = streaming.run(bench, SHORT)
    row, lengths = result["rows"]
    for name in (*SHORT.chunks, "ragged"):
        assert row[f"difference_{name}"] <= 1e-5
    assert (lengths["lengths"], lengths["wrong_lengths"]) == (5, 0)
    streaming.show(result)


def test_streaming_sees_a_seam_and_a_wrong_length(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = bench.vocoders["small"]
    whole = vocoder.stream

    def seam(*arguments: object, **options: object) -> object:
        made = np.concatenate(list(whole(*arguments, **options)))
        made[100] += 0.01
        yield made

    monkeypatch.setattr(vocoder, "stream", seam)
    mels = [SPEC(torch.from_numpy(speech(0)[: 20 * SPEC.hop]))]
    found = streaming.differences(vocoder, mels, 1, replace(SHORT, chunks=(7,)))
    assert all(value == pytest.approx(0.01, rel=1e-3) for value in found.values())
    monkeypatch.setattr(vocoder, "stream", lambda *a, **k: iter([np.zeros(3, np.float32)]))
    assert streaming.differences(vocoder, mels, 1, replace(SHORT, chunks=(7,)))["difference_7"] is None
    monkeypatch.setattr(vocoder, "resynthesize", lambda wave, *a, **k: wave[:-1])
    assert streaming.lengths(vocoder, speech(0), 22_050, 4, 0)["wrong_lengths"] == 4


def test_restore_has_the_simple_methods_beside_ours(bench: Workbench) -> None:
    pytest.importorskip("pesq")
    result = restore.run(bench, replace(SHORT, seconds=1.5, damages=("50 ms gaps",)))
    names = [row["method"] for row in result["rows"]]
    assert names == ["zeros", "straight line", "linear prediction", "small, 1"]
    assert all(row["clips"] == 1 and row["lsd_db"] > 0 for row in result["rows"])
    restore.show(result)


def test_bad_input_is_told_file_by_file(bench: Workbench) -> None:
    result = badinput.run(bench, SHORT)
    wrong = [(row["case"], row["line"]) for row in result["rows"] if not row["right"]]
    assert not wrong
    assert {row["expected"] for row in result["rows"]} == {"served", "refused"}
    refused = [row["line"] for row in result["rows"] if row["expected"] == "refused"]
    assert all(line.startswith("failed: ") and str(Path.home()) not in line for line in refused)
    badinput.show(result)


def test_calls_and_memory_come_from_fresh_processes(model: str, tmp_path: Path) -> None:
    path = SPEECH / "lj_en" / "LJ001-0002.flac"
    common = {"method": "m", "threads": 1, "model": model, "sound": str(path), "seconds": 0.3, "repeats": 1}
    made = measured(WORKER, {**common, "kind": "synthesis", "steps": 1}, 600)
    assert made["times_real_time"] == pytest.approx(1 / made["seconds_per_second"])
    held = measured(WORKER, {**common, "kind": "memory", "steps": 1, "minutes": 0.02}, 600)
    assert held["audio_seconds"] == pytest.approx(1.2, abs=1e-3)
    assert held["length_exact"]
    assert held["peak_mb"] >= held["loaded_mb"] > 50
    assert "error" in measured(WORKER, {**common, "kind": "call", "peer": "nothing-of-that-name"}, 600)


def test_a_call_is_one_call_of_the_network() -> None:
    vocoder = small_vocoder()
    count = []
    vocoder.denoiser.network.register_forward_hook(lambda *_: count.append(1))
    call, seconds = calls.ours(vocoder, 0.5)
    assert seconds == pytest.approx(0.5, abs=SPEC.hop / SPEC.sample_rate)
    out = call()
    assert out.shape == (1, round(seconds * SPEC.sample_rate))
    assert torch.isfinite(out).all()
    assert len(count) == 1
    vocoder.denoiser.network._forward_hooks.clear()


def test_speed_names_what_is_missing_and_compares_with_lmnt(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def figures(module: str, task: dict, timeout: float) -> dict:
        asked.append(task)
        return {"seconds_per_second": 0.5 if task.get("peer") else 0.2, "peak_mb": 1.0}

    monkeypatch.setattr(speed, "measured", figures)
    monkeypatch.setattr(speed, "find_spec", lambda name: None if name == "vocos" else object())
    result = speed.run(bench, replace(SHORT, threads=(1, 2), minutes=(0.1,)))
    assert result["missing"] == ["vocos"]
    assert [task["threads"] for task in asked if task["kind"] == "call"] == [1, 1, 1, 2, 2, 2]
    found = {row["method"]: row["to_lmnt"] for row in result["rows"] if "to_lmnt" in row}
    assert found == {"lmnt wavegrad": 1, f"{calls.FULL}, random weights": 0.4, "small": 0.4}
    speed.show(result)
