"""``scoregen mel`` on real files, good and bad."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from scoregen.audio.files import read_clip, resample
from scoregen.audio.mel import PRESETS
from scoregen.audio.melfile import read_mel, write_mel
from scoregen.hub import save_pretrained

from .conftest import Result
from .helpers import CLIPS, SPEC, SPEECH, small_vocoder, speech


@pytest.fixture
def run(command_line: Callable[..., Result]) -> Callable[..., Result]:
    return lambda *arguments, command="mel": command_line(command, *arguments)


def expected(clip: Path, name: str) -> torch.Tensor:
    read = read_clip(clip)
    return PRESETS[name](torch.from_numpy(resample(read.wave, read.sample_rate, PRESETS[name].sample_rate)))


@pytest.mark.parametrize("suffix", ["npy", "pt", "safetensors"])
def test_one_file(tmp_path: Path, run: Callable[..., Result], suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    done = run(CLIPS[0], "-o", out, "--preset", "pwg-24k")
    assert done.exit_code == 0, done.stderr
    mel, spec = read_mel(out)
    assert torch.equal(mel, expected(CLIPS[0], "pwg-24k"))
    assert spec == PRESETS["pwg-24k"]
    assert "1 mels of 'pwg-24k'" in done.stdout


def test_folder_to_folder_mirrors(tmp_path: Path, run: Callable[..., Result]) -> None:
    done = run(SPEECH, "-o", tmp_path / "out", "--format", "safetensors", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["inputs"] == len(report["outputs"]) == len(CLIPS)
    assert report["convention"] == "hifigan-22k"
    assert report["spec"] == SPEC.to_dict()
    for clip in CLIPS:
        made = tmp_path / "out" / clip.relative_to(SPEECH).with_suffix(".safetensors")
        assert torch.equal(read_mel(made)[0], expected(clip, "hifigan-22k"))
    assert report["audio_seconds"] == pytest.approx(
        sum(len(read_clip(clip).wave) // 256 * 256 / 22_050 for clip in CLIPS)
    )


def test_writing_beside_the_recordings_twice(tmp_path: Path, run: Callable[..., Result]) -> None:
    """Mels lie beside their recordings; the second run takes the recordings again, not the mels."""
    soundfile.write(tmp_path / "a.wav", speech(0)[:20_000], 22_050)
    for _ in range(2):
        done = run(tmp_path, "-o", tmp_path)
        assert done.exit_code == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mel.json", "a.npy", "a.wav"]


def test_stereo_other_rates_and_very_short_clips(tmp_path: Path, run: Callable[..., Result]) -> None:
    soundfile.write(tmp_path / "s.wav", np.stack([speech(0)[:9_000]] * 2, axis=1), 16_000)
    soundfile.write(tmp_path / "t.wav", speech(0)[5_000:5_100], 22_050)
    done = run(tmp_path / "s.wav", tmp_path / "t.wav", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "2 channels" in done.stderr
    assert "zeros added" in done.stderr
    assert read_mel(tmp_path / "out/s.npy")[0].shape == (80, int(9_000 / 16_000 * 22_050) // 256)
    assert read_mel(tmp_path / "out/t.npy")[0].shape == (80, 1)


def test_z_norm_there_and_back(tmp_path: Path, run: Callable[..., Result]) -> None:
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps({"mean": np.linspace(-8, -4, 80).tolist(), "std": [2.0] * 80}))
    plain, normed, back = (tmp_path / f"{n}.npy" for n in ("plain", "normed", "back"))
    assert run(CLIPS[0], "-o", plain).exit_code == 0
    assert run(CLIPS[0], "-o", normed, "--stats", stats).exit_code == 0
    mel = read_mel(plain)[0]
    want = (mel.numpy() - np.linspace(-8, -4, 80)[:, None]) / 2
    np.testing.assert_allclose(read_mel(normed)[0], want, atol=1e-5)
    # The file states its norm; without that, the options do.
    assert run(normed, "-o", back).exit_code == 0
    torch.testing.assert_close(read_mel(back)[0], mel, atol=2e-6, rtol=0)
    np.save(tmp_path / "bare.npy", read_mel(normed)[0].numpy())
    done = run(tmp_path / "bare.npy", "-o", back, "--from", "hifigan-22k", "--from-stats", stats)
    assert done.exit_code == 0, done.stderr
    torch.testing.assert_close(read_mel(back)[0], mel, atol=2e-6, rtol=0)
    assert read_mel(back)[1] == SPEC


def test_mels_of_another_convention_convert_or_are_refused(
    tmp_path: Path, run: Callable[..., Result]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("matcha-ljspeech-22k", "tacotron2-22k"):
        write_mel(tmp_path / "in" / f"{name}.pt", expected(CLIPS[0], name), PRESETS[name])
    done = run(tmp_path / "in", "-o", tmp_path / "out", "--from", "matcha-ljspeech-22k")
    assert done.exit_code == 1
    made = read_mel(tmp_path / "out" / "matcha-ljspeech-22k.npy")[0]
    torch.testing.assert_close(made, expected(CLIPS[0], "hifigan-22k"), atol=2e-6, rtol=0)
    assert "states the mel convention 'tacotron2-22k', not 'matcha-ljspeech-22k'" in done.stderr
    done = run(tmp_path / "in" / "tacotron2-22k.pt", "-o", tmp_path / "x.npy")
    assert done.exit_code == 1
    assert "frames centred ≠ uncentred" in done.stderr
    assert "compute the mel again from the recording with: scoregen mel --preset hifigan-22k" in done.stderr
    assert not (tmp_path / "x.npy").exists()
    np.save(tmp_path / "bare.npy", made.numpy())
    done = run(tmp_path / "bare.npy", "-o", tmp_path / "x.npy")
    assert "name it with --from" in done.stderr


def test_the_convention_of_a_model_and_vocode_reads_the_file(
    tmp_path: Path, run: Callable[..., Result]
) -> None:
    vocoder = small_vocoder()
    folder = tmp_path / "model"
    save_pretrained(folder, "audio", vocoder.config.model_dump(mode="json"), vocoder.denoiser.state_dict())
    soundfile.write(tmp_path / "a.wav", speech(0)[:20_000], 22_050)
    done = run(tmp_path / "a.wav", "-o", tmp_path / "a.safetensors", "--model", folder)
    assert done.exit_code == 0, done.stderr
    assert read_mel(tmp_path / "a.safetensors")[1] == vocoder.spec
    sound = tmp_path / "b.wav"
    done = run(tmp_path / "a.safetensors", "-o", sound, "--model", folder, "--steps", 1, command="vocode")
    assert done.exit_code == 0, done.stderr
    assert len(read_clip(sound).wave) == 20_000 // 256 * 256


def test_bad_inputs_are_reported_and_the_rest_goes_on(tmp_path: Path, run: Callable[..., Result]) -> None:
    (tmp_path / "text.wav").write_text("not a recording")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 22_050)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan], np.float32), 22_050, subtype="FLOAT")
    (tmp_path / "hollow").mkdir()
    bad = [tmp_path / name for name in ("text.wav", "empty.wav", "nan.wav", "hollow", "absent.wav")]
    errors, out = tmp_path / "errors.csv", tmp_path / "out"
    done = run(*bad, CLIPS[0], "-o", out, "--errors", errors, "--json")
    assert done.exit_code == 1
    assert sorted(p.name for p in out.iterdir()) == [f"{CLIPS[0].stem}.mel.json", f"{CLIPS[0].stem}.npy"]
    assert len(json.loads(done.stdout)["failures"]) == 5
    with open(errors, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["input"]).name for row in rows} == {path.name for path in bad}
    assert all(row["reason"] for row in rows)
    assert done.stderr.count("failed:") == 5
    assert "Traceback" not in done.stderr


def test_two_inputs_with_one_output_name(tmp_path: Path, run: Callable[..., Result]) -> None:
    for name in ("x.wav", "x.flac"):
        soundfile.write(tmp_path / name, speech(0)[:9_000], 22_050)
    done = run(tmp_path, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "already" in done.stderr


def test_an_input_mel_is_never_overwritten(tmp_path: Path, run: Callable[..., Result]) -> None:
    path = tmp_path / "x.npy"
    write_mel(path, expected(CLIPS[0], "hifigan-22k"), SPEC)
    before = path.read_bytes()
    assert run(path, "-o", tmp_path, "--preset", "matcha-ljspeech-22k").exit_code == 1
    assert path.read_bytes() == before
    assert read_mel(path)[1] == SPEC


def test_the_presets_are_listed(run: Callable[..., Result]) -> None:
    done = run("--list")
    assert done.exit_code == 0
    for name in PRESETS:
        assert f"\n{name} " in done.stdout
    rows = json.loads(run("--list", "--json").stdout)["presets"]
    assert [row["preset"] for row in rows] == list(PRESETS)
    assert all(row["fits"] and row["origin"] for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (CLIPS[0],),
        (CLIPS[0], "-o", "x.wav"),
        (CLIPS[0], "-o", "x.npy", "--format", "pt"),
        (CLIPS[0], "-o", "x", "--format", "h5"),
        (CLIPS[0], CLIPS[1], "-o", "x.npy"),
        (SPEECH, "-o", "x.npy"),
        (CLIPS[0], "-o", "x.npy", "--preset", "nope"),
        (CLIPS[0], "-o", "x.npy", "--preset", "vocos-24k", "--model", "vocoder-fast-22k"),
        (CLIPS[0], "-o", "x.npy", "--stats", "absent.json"),
        (CLIPS[0], "-o", "x.npy", "--from-stats", "absent.json"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[object, ...], run: Callable[..., Result]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.stderr
    assert not Path("x.npy").exists()
