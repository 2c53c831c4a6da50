"""``prepare``, ``train``, ``models`` and ``evaluate`` on real files."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from scoregen import modality
from scoregen.cli.train import parse_time
from scoregen.errors import InputError
from scoregen.training.cache import Cache

from ..training.toy import write_cache

DATA = Path(__file__).resolve().parents[2] / "data"
SAMPLE = DATA / "molecules" / "qm9_xtb_sample.sdf"


def clips() -> list[Path]:
    return sorted((DATA / "speech").rglob("*.flac"))


# --------------------------------------------------------------------------------------------------- prepare


def test_prepare_molecules(scoregen, tmp_path: Path) -> None:
    done = scoregen("prepare", "molecules", SAMPLE, "-o", tmp_path / "cache", "--json")
    assert done.code == 0
    content = json.loads(done.out)
    cache = Cache(tmp_path / "cache", "molecules")
    assert len(cache) == content["records"] == 104
    assert cache[0]["x"].shape[1] == 3


def test_prepare_audio_reports_what_it_leaves_out(scoregen, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not sound")
    done = scoregen("prepare", "audio", clips()[0], bad, "-o", tmp_path / "cache")
    assert done.code == 1
    assert "bad.wav: " in done.err
    assert len(Cache(tmp_path / "cache", "audio")) == 1


# ----------------------------------------------------------------------------------------------------- train


@pytest.fixture
def run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(modality._SHIPPED, "toy", "tests.training.toy:TOY")
    values = {
        "modality": "toy",
        "run": str(tmp_path / "run"),
        "data": {"cache": str(write_cache(tmp_path / "cache"))},
        "train": {"steps": 6, "log_every": 1, "eval_every": 3, "threads": 1, "device": "cpu"},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def steps(folder: Path) -> list[int]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "loss" in line]


def test_train_resume_and_override(scoregen, run_file: Path, tmp_path: Path) -> None:
    done = scoregen("train", run_file, "--set", "train.steps=4")
    assert done.code == 0
    assert done.out.strip().endswith("best")
    assert steps(tmp_path / "run") == [1, 2, 3, 4]
    again = scoregen("train", run_file)
    assert again.code == 2
    assert "holds a run already; pass --resume" in again.err
    assert scoregen("train", run_file, "--resume").code == 0
    assert steps(tmp_path / "run") == [1, 2, 3, 4, 5, 6]


def test_train_stops_in_time(scoregen, run_file: Path, tmp_path: Path) -> None:
    done = scoregen(
        "train", run_file, "--max-time", "0.2s", "--set", "data.pause=0.1", "--set", "train.steps=1000"
    )
    assert done.code == 0
    assert 0 < steps(tmp_path / "run")[-1] < 20


def test_a_diverged_run_exits_with_one(scoregen, run_file: Path) -> None:
    done = scoregen("train", run_file, "--set", "data.poison=2")
    assert done.code == 1
    assert "error: loss is nan at step 2" in done.err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("0.5d", 43200)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "1w", "-3m", "1h 30m", "0", "abc"])
def test_bad_times(text: str) -> None:
    with pytest.raises(InputError, match="--max-time"):
        parse_time(text)


# ---------------------------------------------------------------------------------------------------- models


def test_models_are_listed(scoregen) -> None:
    done = scoregen("models", "list", "--json")
    rows = {row["name"]: row for row in json.loads(done.out)["models"]}
    assert rows["conformer-small"]["modality"] == "molecules"
    assert rows["vocoder-fast-22k"]["modality"] == "audio"
    assert all(row["parameters"] > 1000 for row in rows.values())
    assert scoregen("models").out == scoregen("models", "list").out != ""


def test_a_model_card_is_shown(scoregen) -> None:
    card = scoregen("models", "show", "conformer-small")
    assert "conformer-small" in card.out
    assert "No model card was written" not in card.out
    facts = json.loads(scoregen("models", "show", "conformer-small", "--json").out)
    assert facts["info"]["training"]["steps"] > 0


# -------------------------------------------------------------------------------------------------- evaluate


def test_an_ensemble_covers_itself(scoregen) -> None:
    done = scoregen("evaluate", "conformers", SAMPLE, "--reference", SAMPLE, "--json")
    content = json.loads(done.out)
    assert done.code == 0
    assert (content["molecules"], content["conformers"], content["failures"]) == (22, 104, 0)
    assert content["amr_r"] == pytest.approx(0.0, abs=1e-4)
    assert content["cov_p_0.1"] == 1.0


def test_missing_molecules_count_as_failures(scoregen, tmp_path: Path) -> None:
    blocks = SAMPLE.read_text().split("$$$$\n")
    first = blocks[0].splitlines()[0]
    part = tmp_path / "part.sdf"
    part.write_text("".join(b + "$$$$\n" for b in blocks if b and b.splitlines()[0] == first))
    done = scoregen("evaluate", "conformers", part, "--reference", SAMPLE, "--json")
    content = json.loads(done.out)
    assert done.code == 1
    assert content["failures"] == 21
    assert content["cov_r_0.5"] == pytest.approx(1 / 22)
    other = json.loads(scoregen("evaluate", "conformers", SAMPLE, "--reference", part, "--json").out)
    assert len(other["problems"]) == 21
    assert "not among the references" in other["problems"][0][1]


def test_audio_against_itself_and_against_noise(scoregen, tmp_path: Path) -> None:
    pytest.importorskip("pesq", reason="the metrics extra is not installed")
    wave, rate = soundfile.read(clips()[0], dtype="float32")
    for name in ("same", "noisy", "reference"):
        (tmp_path / name).mkdir()
    noise = np.random.default_rng(0).normal(0, 0.02, len(wave)).astype(np.float32)
    for name, sound in (("same", wave), ("noisy", wave + noise), ("reference", wave)):
        soundfile.write(tmp_path / name / "a.wav", sound, rate)
    soundfile.write(tmp_path / "noisy" / "extra.wav", wave, rate)
    same = json.loads(
        scoregen("evaluate", "audio", tmp_path / "same", "--reference", tmp_path / "reference", "--json").out
    )
    assert same["pesq_wb"] > 4.6
    assert same["stoi"] > 0.999
    assert same["mr_stft"] == pytest.approx(0.0, abs=1e-4)
    done = scoregen("evaluate", "audio", tmp_path / "noisy", "--reference", tmp_path / "reference", "--json")
    noisy = json.loads(done.out)
    assert done.code == 1
    assert noisy["pesq_wb"] < same["pesq_wb"] - 0.5
    assert noisy["mr_stft"] > 0.1
    assert len(noisy["problems"]) == 1
    assert "extra.wav" in noisy["problems"][0][0]
    assert "no reference named 'extra'" in noisy["problems"][0][1]


def test_a_missing_recording_is_reported(scoregen, tmp_path: Path) -> None:
    done = scoregen("evaluate", "audio", tmp_path / "no.wav", "--reference", tmp_path / "no.wav")
    assert done.code == 1
    assert "no.wav: no such file" in done.err
