"""A run of the conformer benchmark: what is kept, what is done again, and what stops."""

# ruff: noqa: E402
from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import conformers
from common import provenance, write_json
from conformer_suite import workbench
from suite import sources


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of the benchmark without a model."""
    monkeypatch.setattr(sys, "argv", ["conformers.py", "--model", "none", *arguments])
    with pytest.raises(SystemExit) as stopped:
        conformers.main()
    return stopped.value.code


def test_a_section_done_before_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"

    def run(limit: int) -> tuple[dict, str]:
        arguments = ("--sections", "stereo", "--limit", str(limit), "--json", str(out), "--resume")
        assert run_main(monkeypatch, *arguments) == 0
        return json.loads(out.read_text())["sections"]["stereo"], capsys.readouterr().err

    first, _ = run(3)
    assert [row["records"] for row in first["rows"]] == [3, 3]
    again, log = run(3)
    assert again == first
    assert "done before" in log
    other, log = run(2)
    assert other["molecules"] == 2
    assert "done before" not in log


def test_a_section_done_by_other_code_is_run_again_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"

    def run(*flags: str) -> tuple[dict, str]:
        fixed = ("--sections", "stereo", "--limit", "1", "--data", str(tmp_path / "data"), "--json", str(out))
        assert run_main(monkeypatch, *fixed, *flags) == 0
        return json.loads(out.read_text())["sections"]["stereo"], capsys.readouterr().err

    first, _ = run()
    assert first["versions"]["rdkit"]
    assert first["settings"]["data_bytes"] == 0
    monkeypatch.setattr(workbench, "code_sha256", lambda: "other")
    kept, log = run("--resume-any")
    assert kept == first
    assert "done before, by other code" in log
    again, log = run("--resume")
    assert again["settings"] == {**first["settings"], "code": "other"}
    assert "the code has changed, so again; --resume-any" in log
    # Other data is another result, whatever was told.
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pack.sdf").write_text("1234")
    other, _ = run("--resume-any")
    assert other["settings"]["data_bytes"] == 4


def test_the_hash_of_code_follows_content_and_names_not_places(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "sub/a.py").write_text("x = 1")
    one, two = (sources.hash_of({"core": tmp_path / place}) for place in ("one", "two"))
    assert one == two
    (tmp_path / "two/notes.txt").write_text("no code")
    assert sources.hash_of({"core": tmp_path / "two"}) == one
    (tmp_path / "two/sub/a.py").write_text("x = 2")
    assert sources.hash_of({"core": tmp_path / "two"}) != one
    (tmp_path / "one/sub/a.py").rename(tmp_path / "one/a.py")
    assert sources.hash_of({"core": tmp_path / "one"}) != one


def test_the_command_kept_names_no_folders_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = str(Path.cwd() / "benchmarks/conformers.py")
    outside = "/somewhere/on/this/packs/molecules"
    arguments = ["--data", outside, f"--json={outside}", "--set", "pdb.count=5", "data/x", "--init", "auto"]
    monkeypatch.setattr(sys, "argv", [inside, *arguments])
    assert provenance()["command"] == (
        "python benchmarks/conformers.py --data packs/molecules --json=packs/molecules "
        "--set pdb.count=5 data/x --init auto"
    )


def test_a_section_that_cannot_run_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    arguments = ("--data", str(tmp_path), "--sections", "qm9", "stereo", "--limit", "1", "--json", str(out))
    assert run_main(monkeypatch, *arguments) == 1
    assert "error: section qm9" in capsys.readouterr().err
    assert list(json.loads(out.read_text())["sections"]) == ["stereo"]


def test_json_is_strict_where_a_number_is_not_finite(tmp_path: Path) -> None:
    write_json(tmp_path / "out.json", {"ratio": math.nan, "levels": [0.5, math.inf, -math.inf]})
    read = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
    assert (read["ratio"], read["levels"]) == (None, [0.5, None, None])
