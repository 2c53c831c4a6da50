"""``scoregen restore`` on real files, good and bad."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scoregen.audio.files import read_clip

from .conftest import Result
from .helpers import speech


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips of two rates and a file that is none."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "a.wav", speech(0)[8_000:20_000], 22_050, subtype="PCM_16")
    soundfile.write(tmp_path / "in" / "sub" / "b.flac", speech(1)[8_000:20_001], 16_000, subtype="PCM_16")
    (tmp_path / "in" / "text.wav").write_text("not a recording")
    return tmp_path / "in"


@pytest.fixture
def run(command_line: Callable[..., Result], model: str) -> Callable[..., Result]:
    return lambda *arguments: command_line("restore", *arguments, "--model", model, "--steps", "1")


def pcm(path: Path) -> np.ndarray:
    data: np.ndarray = soundfile.read(path, dtype="int16")[0]
    return data


def test_a_folder_with_one_bad_file(folder: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    out, errors, spread = tmp_path / "out", tmp_path / "errors.csv", tmp_path / "spread.json"
    done = run(
        *(folder, "-o", out, "--gap", "0.2:0.25,0.4:0.41", "--samples", 2),
        *("--spread", spread, "--errors", errors, "--json"),
    )
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert (report["inputs"], len(report["outputs"]), len(report["failures"])) == (3, 2, 1)
    assert report["samples"] == 2
    with open(errors, newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert Path(row["input"]).name == "text.wav"
    assert "Traceback" not in done.stderr
    for name, rate in (("a.wav", 22_050), ("sub/b.flac", 16_000)):
        before, after = pcm(folder / name), pcm(out / name)
        assert read_clip(out / name).sample_rate == rate
        lost = np.zeros(len(before), bool)
        for start, end in ((0.2, 0.25), (0.4, 0.41)):
            lost[round(start * rate) : round(end * rate)] = True
        np.testing.assert_array_equal(after[~lost], before[~lost])
        assert (after[lost] != before[lost]).any()
    stored = json.loads(spread.read_text())
    assert stored["step_s"] == 0.01
    values = np.array(stored["files"][str(out / "a.wav")])
    assert len(values) == -(-12_000 * 100 // 22_050)
    assert set(np.flatnonzero(values)) == {20, 21, 22, 23, 24, 40}


@pytest.mark.parametrize("damage", [("--bandwidth", 3000), ("--snr", 10), ("--snr", "auto")])
def test_treble_and_noise(
    damage: tuple[object, ...], folder: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    first, second = tmp_path / "x.wav", tmp_path / "y.wav"
    done = run(folder / "a.wav", "-o", first, *damage)
    assert done.exit_code == 0, done.stderr
    assert "1 restored" in done.stdout
    assert len(pcm(first)) == 12_000
    assert (pcm(first) != pcm(folder / "a.wav")).any()
    run(folder / "a.wav", "-o", second, *damage)
    assert first.read_bytes() == second.read_bytes()


def test_gaps_by_file(folder: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    listed, out = tmp_path / "gaps.csv", tmp_path / "out"
    listed.write_text("file,start,end\na.wav,0.1,0.12\na.wav,0.3,0.32\nb.flac,9,9.1\n")
    done = run(folder / "a.wav", folder / "sub" / "b.flac", "-o", out, "--gaps", listed)
    assert done.exit_code == 1
    assert "outside the clip of 0.750 s" in done.stderr
    changed = np.flatnonzero(pcm(out / "a.wav") != pcm(folder / "a.wav"))
    assert 0.1 <= changed.min() / 22_050 <= changed.max() / 22_050 < 0.32
    listed.write_text("file,start,end\nother.wav,0.1,0.12\n")
    done = run(folder / "a.wav", "-o", out, "--gaps", listed)
    assert done.exit_code == 1
    assert "no gap is listed for 'a.wav'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "one of --gap"),
        (("--gap", "0.1:0.2", "--snr", "10"), 2, "one of --gap"),
        (("--gap", "0.1"), 2, "START:END"),
        (("--gap", "0.1:0.7"), 2, "words are missing"),
        (("--gap", "7:7.1"), 1, "outside the clip"),
        (("--gaps", "no-such.csv"), 2, "no-such.csv"),
        (("--bandwidth", "12000"), 1, "half the sample rate"),
        (("--bandwidth", "10"), 2, "at least 1000"),
        (("--snr", "loud"), 2, "number of dB"),
        (("--snr", "300"), 2, "-10 to 60"),
        (("--snr", "10", "--spread", "s.json"), 2, "--samples"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: tuple[str, ...], code: int, says: str, folder: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    done = run(folder / "a.wav", "-o", tmp_path / "x.wav", *arguments)
    assert done.exit_code == code
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x.wav").exists()


def test_tables_of_gaps_that_are_none(folder: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    listed = tmp_path / "gaps.csv"
    for text, says in (
        ("a,b\n1,2\n", "columns start and end"),
        ("start,end\n0.1,x\n", "line 2"),
        ("start,end\n0.2,0.1\n", "START < END"),
        ("start,end\n0.1,0.2\n0.15,0.3\n", "overlap"),
    ):
        listed.write_text(text)
        done = run(folder / "a.wav", "-o", tmp_path / "x.wav", "--gaps", listed)
        assert done.exit_code == 2
        assert says in done.stderr
