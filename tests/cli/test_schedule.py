"""``scoregen schedule``: clips and a WaveGrad in, a schedule that ``vocode`` uses out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scoregen.audio.config import VocoderModelConfig, build_denoiser
from scoregen.audio.files import read_clip
from scoregen.audio.mel import MelSpec
from scoregen.audio.vocoder import Vocoder
from scoregen.hub import save_pretrained

SPEECH = Path(__file__).parents[2] / "data" / "speech"
CLIPS = sorted(SPEECH.rglob("*.flac"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small random WaveGrad."""
    network = {"factors": [4, 4], "patch": 16, "frame": 4, "up": [4, 4], "down": [4, 4], "whiten": False}
    values = {"network": network, "chain": {"steps": 20, "last": 0.3}, "prior": {"kind": "identity"}}
    config = VocoderModelConfig.model_validate(values)
    torch.manual_seed(0)
    denoiser = build_denoiser(config)
    torch.nn.init.normal_(denoiser.network.last.weight, 0, 0.02)
    save_pretrained(tmp_path / "model", "audio", config.model_dump(mode="json"), denoiser.state_dict())
    return tmp_path / "model"


def test_a_schedule_is_found_stored_and_used(
    tmp_path: Path, model: Path, scoregen: Callable[..., Any]
) -> None:
    before = tmp_path / "before.wav"
    assert scoregen("vocode", CLIPS[0], "-o", before, "--model", model, "--steps", 3).code == 0
    out = tmp_path / "schedule.json"
    arguments = ("schedule", model, CLIPS[0], CLIPS[2], "--steps", 3, "--budget", 5, "--seed", 1)
    done = scoregen(*arguments, "-o", out, "--into", model, "--json")
    assert done.code == 0, done.err
    report, written = json.loads(done.out), json.loads(out.read_text())
    assert report["betas"] == written["betas"] == report["best"][0]["betas"]
    assert (report["clips"], report["tried"], report["steps"], report["failures"]) == (2, 5, 3, [])
    errors = [row["log_mel_mse"] for row in report["best"]]
    assert errors == sorted(errors)
    assert errors[0] == report["log_mel_mse"]

    stored = json.loads((model / "config.json").read_text())["model"]["chain"]["schedules"]
    assert stored == {"3": report["betas"]}
    after = tmp_path / "after.wav"
    assert scoregen("vocode", CLIPS[0], "-o", after, "--model", model, "--steps", 3).code == 0
    np.testing.assert_allclose(
        read_clip(after).wave,
        Vocoder.from_pretrained(model).resynthesize(*_wave(CLIPS[0]), steps=3),
        atol=1e-4,
    )
    # The random network's best schedule may be the one it had; a schedule at all is what was stored.
    assert tuple(report["betas"]) == Vocoder.from_pretrained(model).config.chain.schedules[3]


def _wave(path: Path) -> tuple[np.ndarray, int]:
    clip = read_clip(path)
    return clip.wave, clip.sample_rate


def test_the_table_and_a_folder_with_a_bad_file(
    tmp_path: Path, model: Path, scoregen: Callable[..., Any]
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.flac").write_bytes(CLIPS[0].read_bytes())
    (clips / "b.wav").write_text("not a recording")
    np.save(
        clips / "c.npy", MelSpec.preset("hifigan-22k")(torch.from_numpy(read_clip(CLIPS[1]).wave)).numpy()
    )
    done = scoregen("schedule", model, clips, "--steps", 2, "--budget", 4, "--top", 3)
    assert done.code == 1
    assert done.err.count("failed:") == 1
    assert "b.wav" in done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["log-mel", "MSE", "β"]
    rows = [[float(number) for number in line.split()] for line in lines[1:4]]
    assert [len(row) for row in rows] == [3, 3, 3]
    assert rows[0][0] <= rows[1][0] <= rows[2][0]
    assert "4 schedules on 2 clips" in lines[4]
    assert json.loads((model / "config.json").read_text())["model"]["chain"]["schedules"] == {}


def test_wrong_usage_is_one_line(tmp_path: Path, model: Path, scoregen: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.wav").write_text("not a recording")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((model, CLIPS[0], "--steps", 0), "--steps 0"),
        ((model, CLIPS[0], "--steps", 21), "20 steps"),
        ((model, CLIPS[0], "--budget", 0), "--budget 0"),
        ((model, tmp_path / "empty"), "no file with suffix"),
        ((model, tmp_path / "text.wav"), "none of the inputs"),
        (("vocoder-fast-22k", CLIPS[0]), "no chain"),
        ((model, CLIPS[0], "--steps", 1, "--budget", 1, "--into", tmp_path / "empty"), "config.json"),
    ]
    for arguments, message in cases:
        done = scoregen("schedule", *arguments)
        assert done.code == 2, arguments
        last = done.err.strip().splitlines()[-1]
        assert last.startswith("error:")
        assert message in last
        assert "Traceback" not in done.err
