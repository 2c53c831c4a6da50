"""``scoregen finetune``, and the commands of its tutorial."""

import json
import re
import shlex
from pathlib import Path

import pytest

from scoregen.hub import save_pretrained

from ..audio.helpers import SPEECH, small_vocoder
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


def tutorial(number: int) -> list[list[str]]:
    """The words of the commands in a block of the tutorial."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for line in blocks[number].replace("\\\n", " ").splitlines() if line.strip()]


def test_the_commands_of_the_tutorial_run(scoregen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but from a tiny model and for two steps."""
    base = tiny_model(tmp_path / "tiny")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "molecules").symlink_to(DATA)
    monkeypatch.chdir(tmp_path)
    commands = tutorial(0)
    assert [words[:2] for words in commands] == [["scoregen", "finetune"], ["scoregen", "conformers"]]
    first = scoregen(*commands[0][1:], "--model", base, "--steps", 2, "--samples", 0)
    assert first.code in (0, 1), first.err
    second = scoregen(*commands[1][1:])
    assert Path(commands[1][commands[1].index("-o") + 1]).exists(), second.err


def test_the_commands_for_a_vocoder_run(scoregen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but from a small model and for one step."""
    vocoder = small_vocoder()
    info = {"training": {"data": {"frames": 16, "batch": 2, "dev_batches": 1}}}
    values = vocoder.config.model_dump(mode="json")
    save_pretrained(tmp_path / "small", "audio", values, vocoder.denoiser.state_dict(), info)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "speech").symlink_to(SPEECH)
    monkeypatch.chdir(tmp_path)
    commands = tutorial(1)
    assert [words[:2] for words in commands] == [["scoregen", "finetune"], ["scoregen", "vocode"]]
    first = scoregen(*commands[0][1:], "--model", tmp_path / "small", "--steps", 1, "--samples", 0)
    assert first.code in (0, 1), first.err
    assert "4 recordings" in first.out and "| denoising loss |" in first.out
    second = scoregen(*commands[1][1:], "--steps", 1)
    assert second.code == 0 and (tmp_path / "my-voice.wav").exists(), second.err


def test_each_kind_refuses_the_options_of_the_other(scoregen, tmp_path: Path) -> None:
    sound = ("finetune", SPEECH, "-o", tmp_path / "m")
    for extra, message in (
        (("--model", "vocoder-fast-22k", "--replay", tmp_path), "--replay: not for 'vocoder-fast-22k'"),
        (("--mels", tmp_path), "--mels: not for 'conformer-small', a model of modality 'molecules'"),
        ((), "for recordings pass --model vocoder-fast-22k"),
        (("--model", "nobody"), "model 'nobody' not found"),
    ):
        done = scoregen(*sound, *extra)
        assert done.code == 2 and message in done.err.strip().splitlines()[-1]
    assert not (tmp_path / "m.run").exists()
