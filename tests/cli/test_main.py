"""The command line as a whole: help, versions, errors, and how little it imports before it must."""

import subprocess
import sys
from pathlib import Path

import pytest

from scoregen import __version__

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["conformers", "design", "vocode", "prepare", "train", "evaluate", "models", "demo"]


def test_it_runs_without_installing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "cli.py", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(path for path in sys.path if "site-packages" in path)},
        check=False,
    )
    assert done.stdout.strip() == f"scoregen {__version__}", done.stderr


def test_help_imports_nothing_heavy() -> None:
    """``scoregen --help`` answers at once because torch, RDKit and their like wait for the command."""
    code = (
        "import sys, scoregen.cli\n"
        "print(sorted({'torch', 'rdkit', 'numpy', 'lightning', 'matplotlib', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command(scoregen) -> None:
    done = scoregen("--help")
    assert done.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(scoregen, command: str) -> None:
    done = scoregen(command, "--help")
    assert done.code == 0
    assert "Usage: " in done.out


@pytest.mark.parametrize(
    "args",
    [
        ["unknown"],
        ["conformers"],
        ["conformers", "CCO", "--bogus"],
        ["conformers", "CCO", "-n", "many"],
        ["vocode", "a.wav"],
        ["prepare", "molecules"],
        ["train"],
        ["evaluate", "conformers", "a.sdf"],
        ["models", "hide"],
    ],
)
def test_wrong_usage_exits_with_two(scoregen, args: list[str]) -> None:
    done = scoregen(*args)
    assert done.code == 2
    assert "error" in done.err.lower() or "Usage" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["conformers", "CCO", "-n", "0"], "-n must be at least 1"),
        (["conformers", "CCO", "--relax", "xtb9"], "--relax 'xtb9' is not one of"),
        (["conformers", "CCO", "--init", "magic"], "--init 'magic' is not one of"),
        (["conformers", "CCO", "--model", "no-such-model"], "model 'no-such-model' not found"),
        (["conformers", "CCO", "--device", "tpu"], "--device 'tpu'"),
        (["vocode", "a.wav", "-o", "b.wav", "--model", "no-such-model"], "model 'no-such-model' not found"),
        (
            ["prepare", "video", "a.mp4", "-o", "cache"],
            "cannot prepare 'video'; known: molecules, candidates, audio",
        ),
        (["prepare", "molecules", "none.sdf", "-o", "cache"], "none.sdf"),
        (["prepare", "audio", "x.wav", "-o", "c", "--max-records", "3"], "--max-records is for molecules"),
        (["train", "none.yaml"], "none.yaml: no such configuration file"),
        (["train", "none.yaml", "--max-time", "soon"], "--max-time 'soon'"),
        (["evaluate", "conformers", "no.sdf", "--reference", "no.sdf"], "no.sdf: no such file"),
        (["models", "show", "no-such-model"], "not found"),
        (["demo", "--conformer-model", "no-such-model"], "not found"),
    ],
)
def test_errors_are_one_line(scoregen, tmp_path: Path, monkeypatch, args: list[str], reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = scoregen(*args)
    assert done.code in (1, 2)
    assert reason in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []
