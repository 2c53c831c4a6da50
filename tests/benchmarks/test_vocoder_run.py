"""A run of the vocoder benchmark: what is kept, what is done again, and what stops."""

# ruff: noqa: E402
from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import vocoder
from suite.options import overrides, updated
from suite.runner import Keeping, Section, run_sections
from suite.sources import code_sha256
from suite.store import Store
from vocoder_suite.options import Options
from vocoder_suite.registry import REGISTRY
from vocoder_suite.workbench import Workbench

from scoregen.errors import InputError, MissingExtra


@dataclass(frozen=True)
class Toy:
    """Options of the sections of these tests."""

    number: int = 1


def _missing(bench: object, options: Toy) -> dict[str, Any]:
    raise MissingExtra("pyworld", "metrics")


def sections(calls: list[int]) -> dict[str, Section[Any, Toy]]:
    def run(bench: object, options: Toy) -> dict[str, Any]:
        calls.append(options.number)
        return {"rows": [options.number]}

    return {
        "bad": Section(Toy(), _missing, lambda result: None),
        "good": Section(Toy(), run, lambda result: None),
    }


def test_sections_are_kept_by_settings_and_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []
    registry, path = sections(calls), tmp_path / "out.json"

    def run(number: int, code: str, **keeping: bool) -> tuple[list[str], str]:
        plan = {"bad": Toy(), "good": Toy(number)}
        failed = run_sections("toy", registry, plan, None, {"code": code, "w": 1}, Keeping(path, **keeping))
        return failed, capsys.readouterr().err

    failed, said = run(1, "a")
    assert failed == ["bad"]
    assert "error: section bad: pyworld is not installed" in said
    first = json.loads(path.read_text())
    assert list(first["sections"]) == ["good"]
    assert first["benchmark"] == "toy"
    assert first["sections"]["good"]["settings"] == {"code": "a", "w": 1, "number": 1}
    assert "done before" in run(1, "a", resume=True)[1]
    assert calls == [1]
    assert "done before, by other code" in run(1, "b", resume_any=True)[1]
    assert calls == [1]
    assert "the code has changed" in run(1, "b", resume=True)[1]
    run(2, "b", resume=True)
    run(2, "b")
    assert calls == [1, 1, 2, 2]


def test_entries_come_back_by_their_facts(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    facts = {"clip": "x", "steps": 1}
    assert store.load(facts) is None
    store.save(facts, {"pesq": 3.0, "none": None})
    assert store.load(dict(reversed(facts.items()))) == {"pesq": 3.0, "none": None}
    assert store.load({**facts, "steps": 2}) is None
    nothing = Store(None)
    nothing.save(facts, {})
    assert nothing.load(facts) is None


def test_options_of_one_section() -> None:
    found = overrides(
        ["quality.steps=1,6", "speed.minutes=0.5", "quality.clips=3", "restore.damages=10 dB noise"],
        list(REGISTRY),
        Options,
    )
    assert found["quality"] == {"steps": (1, 6), "clips": 3}
    assert found["speed"] == {"minutes": (0.5,)}
    assert found["restore"] == {"damages": ("10 dB noise",)}
    assert updated(Options(), {"clips": 2, "seed": None}) == Options(clips=2)
    for text in ("quality.nothing=1", "nothing.clips=1", "quality.clips", "quality.clips=many"):
        with pytest.raises(InputError, match="--set"):
            overrides([text], list(REGISTRY), Options)
    with pytest.raises(InputError, match="at least"):
        Options(steps=(0,))


def test_the_hash_follows_the_parts_it_is_of() -> None:
    whole = code_sha256(("audio", "core"), ("suite", "vocoder_suite"))
    assert whole == code_sha256(("audio", "core"), ("suite", "vocoder_suite"))
    assert whole != code_sha256(("audio",), ("suite", "vocoder_suite"))


def test_a_run_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the shipped model: lengths alone, since every figure has its test elsewhere."""
    out = tmp_path / "out.json"
    flags = ["--sections", "streaming", "--clips", "1", "--seconds", "0.5", "--json", str(out), "--resume"]
    special = ["--set", "streaming.steps=1", "streaming.lengths=2", "streaming.chunks=20"]
    monkeypatch.setattr(sys, "argv", ["vocoder.py", "--data", str(ROOT / "data/speech"), *flags, *special])
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped:
            vocoder.main()
        assert stopped.value.code == 0
    assert "done before" in capsys.readouterr().err
    held = json.loads(out.read_text())["sections"]["streaming"]
    assert held["settings"]["steps"] == [1]
    assert list(held["settings"]["models"]) == ["vocoder-fast-22k"]
    assert held["rows"][0]["difference_20"] <= 1e-5
    assert held["rows"][1]["wrong_lengths"] == 0


def test_no_such_model_and_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["vocoder.py", "--models", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"error: model .*config\.json"):
        vocoder.main()
    with pytest.raises(InputError, match="--models"):
        Workbench([])
