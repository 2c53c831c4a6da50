"""``scoregen vocode`` on real files, good and bad."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from scoregen.audio import pipeline
from scoregen.audio.files import read_clip
from scoregen.audio.mel import PRESETS
from scoregen.audio.melfile import write_mel

from .conftest import Result
from .helpers import CLIPS, SPEC, SPEECH, mel_of, speech


@pytest.fixture
def run(command_line: Callable[..., Result]) -> Callable[..., Result]:
    return lambda *arguments: command_line("vocode", *arguments)


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
        (CLIPS[0], "-o", "x.wav", "--stream", "--block", "0"),
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


def test_streamed_files_are_the_same(tmp_path: Path, model: str, run: Callable[..., Result]) -> None:
    mel = SPEC(torch.from_numpy(speech(0)))[:, :150]
    write_mel(tmp_path / "m.safetensors", mel, SPEC)
    soundfile.write(tmp_path / "high.flac", speech(0)[:40_001], 48_000)
    soundfile.write(tmp_path / "low.wav", speech(1)[:30_000], 22_050)
    inputs = (tmp_path / "low.wav", tmp_path / "m.safetensors", tmp_path / "high.flac")
    options = ("--model", model, "--steps", 1, "--block", 64, "--json")
    whole = run(*inputs, "-o", tmp_path / "whole", *options)
    streamed = run(*inputs, "-o", tmp_path / "streamed", *options, "--stream")
    assert (whole.exit_code, streamed.exit_code) == (0, 0), streamed.stderr
    for name in ("low.wav", "m.wav", "high.flac"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes()
    report = json.loads(streamed.stdout)
    assert report["streamed"] == 3
    assert report["latency"] == pytest.approx((64 + 32) * 256 / 22_050)
    assert (json.loads(whole.stdout)["streamed"], json.loads(whole.stdout)["latency"]) == (0, None)


def test_long_files_stream_of_themselves(
    tmp_path: Path, model: str, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "LONG", 1.0)
    soundfile.write(tmp_path / "x.wav", speech(0)[:30_000], 22_050)
    done = run(tmp_path / "x.wav", "-o", tmp_path / "out.wav", "--model", model, "--steps", 1)
    assert done.exit_code == 0, done.stderr
    assert "x.wav: 0 minutes long, so it is streamed" in done.stderr
    assert "latency" in done.stdout
    assert len(read_clip(tmp_path / "out.wav").wave) == 30_000


KINDS = [
    ("8k.wav", 8_000, {}),
    ("96k.wav", 96_000, {"subtype": "PCM_24"}),
    ("bits.wav", 22_050, {"subtype": "PCM_U8"}),
    ("float.wav", 44_100, {"subtype": "FLOAT"}),
    ("double.wav", 11_025, {"subtype": "DOUBLE"}),
    ("a.flac", 32_000, {"subtype": "PCM_24"}),
    ("a.ogg", 24_000, {}),
]


@pytest.mark.parametrize("flags", [(), ("--stream",)], ids=["whole", "stream"])
def test_every_kind_of_recording(
    tmp_path: Path, model: str, run: Callable[..., Result], flags: tuple[str, ...]
) -> None:
    wave = speech(0)[8_000:16_000]
    for name, rate, options in KINDS:
        soundfile.write(tmp_path / name, wave, rate, **options)
    for channels in (2, 6):
        soundfile.write(tmp_path / f"{channels}.wav", np.stack([wave] * channels, 1), 22_050)
    out = tmp_path / "out"
    done = run(tmp_path, "-o", out, "--model", model, "--steps", 1, *flags)
    assert done.exit_code == 0, done.stderr
    for name, rate in [kind[:2] for kind in KINDS] + [("2.wav", 22_050), ("6.wav", 22_050)]:
        made = read_clip(out / name)
        assert (made.sample_rate, len(made.wave)) == (rate, 8_000), name
        assert 0.3 < made.wave.std() / read_clip(tmp_path / name).wave.std() < 3, name
    assert "note: 2.wav: 2 channels mixed down to one" in done.stderr
    assert "note: 6.wav: 6 channels mixed down to one" in done.stderr


@pytest.mark.parametrize("flags", [(), ("--stream",)], ids=["whole", "stream"])
def test_awkward_recordings(
    tmp_path: Path, model: str, run: Callable[..., Result], flags: tuple[str, ...]
) -> None:
    wave = speech(0)[8_000:16_000]
    waves = {
        "loud": np.clip(wave * 8, -1, 1),
        "over": wave * 8,
        "silence": np.zeros(5_000),
        "shifted": wave * 0.5 + 0.2,
        "quiet": wave / 3_000,
        **{f"short{n}": wave[2_000 : 2_000 + n] for n in (1, 2, 100, 256, 257)},
    }
    for name, samples in waves.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 22_050, subtype="FLOAT")
    out = tmp_path / "out"
    done = run(tmp_path, "-o", out, "--model", model, "--steps", 1, *flags)
    assert done.exit_code == 0, done.stderr
    made = {name: read_clip(out / f"{name}.wav").wave for name in waves}
    assert all(len(made[name]) == len(samples) for name, samples in waves.items())
    assert not made["silence"].any()
    assert 0.3 < made["quiet"].std() / waves["quiet"].std() < 3
    assert 0.3 < made["shifted"].std() / waves["shifted"].std() < 3
    assert abs(made["shifted"].mean()) < 0.01
    share = 100 * float((np.abs(wave * 8) >= 1).mean())
    assert f"note: loud.wav: the recording is clipped ({share:.2g} % of samples" in done.stderr
    assert f"note: over.wav: the recording is clipped ({share:.2g} % of samples" in done.stderr
    assert "note: shifted.wav: DC offset of 0.2 removed" in done.stderr
    assert done.stderr.count("note:") == 3


@pytest.mark.parametrize("flags", [(), ("--stream",)], ids=["whole", "stream"])
def test_a_folder_with_every_bad_file(
    tmp_path: Path, model: str, run: Callable[..., Result], flags: tuple[str, ...]
) -> None:
    folder, wave = tmp_path / "in", speech(0)[:9_000]
    mel = SPEC(torch.from_numpy(wave))
    folder.mkdir()
    soundfile.write(folder / "good.wav", wave, 22_050)
    for value in ("nan", "inf"):
        broken = wave.copy()
        broken[7_000] = float(value)
        soundfile.write(folder / f"{value}.wav", broken, 22_050, subtype="FLOAT")
    soundfile.write(folder / "empty.wav", np.zeros(0), 22_050)
    (folder / "text.wav").write_text("not a recording")
    np.save(folder / "bands.npy", mel[:79].numpy())
    np.save(folder / "frames.npy", mel[:, :0].numpy())
    np.save(folder / "values.npy", mel.numpy() - 6)
    vocos = PRESETS["vocos-24k"]
    write_mel(folder / "stated.npy", vocos(torch.from_numpy(wave)), vocos)
    reasons = {
        "nan.wav": "NaN or infinite",
        "inf.wav": "NaN or infinite",
        "empty.wav": "length 0",
        "text.wav": "not readable as sound",
        "bands.npy": "needs (80, frames)",
        "frames.npy": "no frames",
        "values.npy": "floor",
        "stated.npy": "no exact way from mel convention 'vocos-24k'",
    }
    errors = tmp_path / "errors.csv"
    done = run(folder, "-o", tmp_path / "out", "--model", model, "--steps", 1, "--errors", errors, *flags)
    assert done.exit_code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.wav"]
    with open(errors, newline="") as stream:
        rows = {Path(row["input"]).name: row["reason"] for row in csv.DictReader(stream)}
    assert rows.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in rows[name], name
    lines = done.stderr.splitlines()
    assert len(lines) == len(reasons)
    assert all(line.startswith("failed: ") for line in lines)


def test_mels_and_sound_of_one_name(tmp_path: Path, model: str, run: Callable[..., Result]) -> None:
    folder, mel = tmp_path / "in", mel_of(speech(0))
    folder.mkdir()
    soundfile.write(folder / "a.wav", speech(0)[:9_000], 22_050)
    np.save(folder / "a.npy", mel[:, :20].numpy())
    np.save(folder / "b.npy", mel[:, :21].numpy())
    torch.save(mel[:, :22], folder / "b.pt")
    np.save(folder / "c.npy", mel[:, :23].numpy())
    done = run(folder, "-o", tmp_path / "out", "--model", model, "--steps", 1)
    assert done.exit_code == 0, done.stderr
    lengths = {path.name: len(read_clip(path).wave) for path in (tmp_path / "out").iterdir()}
    assert lengths == {
        "a.wav": 9_000,
        "a.npy.wav": 20 * 256,
        "b.npy.wav": 21 * 256,
        "b.pt.wav": 22 * 256,
        "c.wav": 23 * 256,
    }


@pytest.mark.parametrize("flags", [(), ("--stream",)], ids=["whole", "stream"])
def test_undershot_floors_are_raised(
    tmp_path: Path, model: str, run: Callable[..., Result], flags: tuple[str, ...]
) -> None:
    mel = SPEC(torch.from_numpy(speech(0)[:9_000] * 0.05))
    low = mel.clone()
    low[:, :4] = SPEC.lowest - 0.9
    few = mel.clone()
    few[:2, 0] = SPEC.lowest - 0.9
    for name, values in {"low": low, "few": few, "lower": low - 0.2}.items():
        np.save(tmp_path / f"{name}.npy", values.numpy())
    np.save(tmp_path / "raised.npy", low.clamp(min=SPEC.lowest).numpy())
    done = run(tmp_path, "-o", tmp_path / "out", "--model", model, "--steps", 1, *flags)
    assert done.exit_code == 1
    assert done.stderr.count("failed:") == 1
    assert "lower.npy" in next(line for line in done.stderr.splitlines() if line.startswith("failed:"))
    assert done.stderr.count("note:") == 1
    assert "low.npy: 11 % of the values lie below the convention's floor" in done.stderr
    out = tmp_path / "out"
    assert (out / "low.wav").read_bytes() == (out / "raised.wav").read_bytes()


def test_nowhere_to_write_is_one_line(
    tmp_path: Path, model: str, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--model", model, "--steps", 1)
    (tmp_path / "file").touch()
    done = run(CLIPS[0], CLIPS[1], "-o", tmp_path / "file" / "out", *options)
    assert done.exit_code == 2
    assert "a file, where a folder is needed" in done.stderr
    monkeypatch.setattr("os.access", lambda path, mode: False)
    done = run(CLIPS[0], CLIPS[1], "-o", tmp_path / "locked" / "out", *options)
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        f"error: {tmp_path}: no permission to write there; choose another folder"
    ]
