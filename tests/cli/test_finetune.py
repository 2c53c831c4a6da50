"""``scoregen finetune``, and the commands of its tutorial."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ..molecules.samples import DATA
from ..molecules.test_finetune import SAMPLE, tiny_model

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "finetune.md"


def test_better_is_0_and_worse_is_1_with_a_warning(scoregen, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "tiny")
    common = ("finetune", SAMPLE, "--samples", 0, "--json", "--theory", "dft")
    done = scoregen(*common, "--model", base, "-o", tmp_path / "a", "--steps", 20, "--learning-rate", 3e-3)
    assert done.code == 0
    content = json.loads(done.out)
    assert content["improved"] and content["output"] == str(tmp_path / "a")
    assert "training on" in done.err
    worse = scoregen(
        *common, "--model", tmp_path / "a", "-o", tmp_path / "b", "--steps", 10, "--learning-rate", 0.5
    )
    assert worse.code == 1
    assert "was better than the new model" in worse.err
    assert "did not fall" in (tmp_path / "b" / "README.md").read_text()


def test_bad_input_is_one_line(scoregen, tmp_path: Path) -> None:
    done = scoregen("finetune", tmp_path / "none.sdf", "-o", tmp_path / "m")
    assert done.code == 2
    assert done.err.strip().splitlines()[-1].startswith("error: ") and "no such file" in done.err
    assert not (tmp_path / "m.run").exists()


def test_the_commands_of_the_tutorial_run(scoregen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but from a tiny model and for two steps."""
    base = tiny_model(tmp_path / "tiny")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "molecules").symlink_to(DATA)
    monkeypatch.chdir(tmp_path)
    block = re.search(r"^```sh\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    commands = [shlex.split(line) for line in block[1].replace("\\\n", " ").splitlines() if line.strip()]
    assert [words[:2] for words in commands] == [["scoregen", "finetune"], ["scoregen", "conformers"]]
    first = scoregen(*commands[0][1:], "--model", base, "--steps", 2, "--samples", 0)
    assert first.code in (0, 1), first.err
    second = scoregen(*commands[1][1:])
    assert Path(commands[1][commands[1].index("-o") + 1]).exists(), second.err
