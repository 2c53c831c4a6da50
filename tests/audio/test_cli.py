"""``scoregen vocode`` on real files, good and bad."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from scoregen.audio.files import read_clip
from scoregen.cli import main
from scoregen.hub import save_pretrained

from .helpers import CLIPS, SPEECH, mel_of, small_vocoder, speech


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "small"
    vocoder = small_vocoder()
    save_pretrained(folder, "audio", vocoder.config.model_dump(mode="json"), vocoder.denoiser.state_dict())
    return str(folder)


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The whole command line, with its exit codes."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["scoregen", "vocode", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        return Result(code, *capfd.readouterr())

    return call


def test_one_file(tmp_path: Path, model: str, run: Callable[..., Result]) -> None:
    out = tmp_path / "out.wav"
    done = run(CLIPS[0], "-o", out, "--model", model, "--steps", 1)
    assert done.exit_code == 0, done.stderr
    assert len(read_clip(out).wave) == len(read_clip(CLIPS[0]).wave)
    assert "1 waveforms" in done.stdout
    again = tmp_path / "again.wav"
    run(CLIPS[0], "-o", again, "--model", model, "--steps", 1)
    assert again.read_bytes() == out.read_bytes()


def test_folder_to_folder_keeps_names_lengths_and_rates(
    tmp_path: Path, model: str, run: Callable[..., Result]
) -> None:
    done = run(SPEECH, "-o", tmp_path / "out", "--model", model, "--steps", 1, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["inputs"] == len(report["outputs"]) == len(CLIPS)
    assert report["audio_seconds"] > 10
    for clip in CLIPS:
        made = read_clip(tmp_path / "out" / clip.relative_to(SPEECH))
        assert len(made.wave) == len(read_clip(clip).wave)
    # A file gets the noise it would get alone.
    run(CLIPS[3], "-o", tmp_path / "alone.flac", "--model", model, "--steps", 1)
    alone = read_clip(tmp_path / "alone.flac").wave
    np.testing.assert_array_equal(alone, read_clip(tmp_path / "out" / CLIPS[3].relative_to(SPEECH)).wave)


def test_mels_and_another_sample_rate(tmp_path: Path, model: str, run: Callable[..., Result]) -> None:
    mel = mel_of(speech(0))[:, :30]
    np.save(tmp_path / "m.npy", mel.numpy())
    torch.save({"mel": mel, "spec": "hifigan-22k"}, tmp_path / "n.pt")
    soundfile.write(tmp_path / "low.ogg", speech(0)[:16_001], 16_000)
    out = tmp_path / "out"
    done = run(
        tmp_path / "m.npy", tmp_path / "n.pt", tmp_path / "low.ogg", "-o", out, "--model", model, "--steps", 1
    )
    assert done.exit_code == 0, done.stderr
    assert len(read_clip(out / "m.wav").wave) == 30 * 256
    assert (out / "m.wav").read_bytes() == (out / "n.wav").read_bytes()
    made = read_clip(out / "low.ogg")
    assert (made.sample_rate, len(made.wave)) == (16_000, 16_001)


def test_bad_inputs_are_reported_and_the_rest_goes_on(
    tmp_path: Path, model: str, run: Callable[..., Result]
) -> None:
    (tmp_path / "text.wav").write_text("not a recording")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 22_050)
    np.save(tmp_path / "wrong.npy", mel_of(speech(0)).numpy() - 6)
    (tmp_path / "hollow").mkdir()
    bad = [tmp_path / name for name in ("text.wav", "empty.wav", "wrong.npy", "hollow", "absent.wav")]
    errors, out = tmp_path / "errors.csv", tmp_path / "out"
    done = run(*bad, CLIPS[0], "-o", out, "--model", model, "--steps", 1, "--errors", errors, "--json")
    assert done.exit_code == 1
    assert [p.name for p in out.iterdir()] == [CLIPS[0].name]
    report = json.loads(done.stdout)
    assert report["inputs"] == 6
    assert len(report["failures"]) == 5
    with open(errors, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["input"]).name for row in rows} == {path.name for path in bad}
    assert all(row["reason"] for row in rows)
    assert done.stderr.count("failed:") == 5
    assert "Traceback" not in done.stderr


def test_two_inputs_with_one_output_name(tmp_path: Path, model: str, run: Callable[..., Result]) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "x.wav", speech(0)[:9_000], 22_050)
    done = run(
        tmp_path / "a/x.wav", tmp_path / "b/x.wav", "-o", tmp_path / "out", "--model", model, "--steps", 1
    )
    assert done.exit_code == 1
    assert "already" in done.stderr


def test_an_input_is_never_overwritten(tmp_path: Path, model: str, run: Callable[..., Result]) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, speech(0)[:9_000], 22_050)
    before = path.read_bytes()
    assert run(path, "-o", tmp_path, "--model", model, "--steps", 1).exit_code == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        (CLIPS[0],),
        (CLIPS[0], "-o", "x.mp3"),
        (CLIPS[0], CLIPS[1], "-o", "x.wav"),
        (SPEECH, "-o", "x.wav"),
        (CLIPS[0], "-o", "x.wav", "--steps", "0"),
        (CLIPS[0], "-o", "x.wav", "--model", "no-such-model"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: tuple[object, ...], model: str, run: Callable[..., Result]
) -> None:
    if "--model" not in arguments:
        arguments = (*arguments, "--model", model)
    done = run(*arguments)
    assert done.exit_code == 2
    assert not Path("x.wav").exists()
