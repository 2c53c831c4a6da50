"""Fixtures of the audio tests: the command line and a small model in a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from scoregen.cli import main
from scoregen.hub import save_pretrained

from .helpers import small_vocoder


@dataclass(frozen=True)
class Result:
    """What a command left."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The whole command line, with its exit codes."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["scoregen", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the small vocoder."""
    folder = tmp_path_factory.mktemp("model") / "small"
    vocoder = small_vocoder()
    save_pretrained(folder, "audio", vocoder.config.model_dump(mode="json"), vocoder.denoiser.state_dict())
    return str(folder)
