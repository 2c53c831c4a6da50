"""Run the command line in this process and see what a shell would see."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from scoregen.cli import main


@dataclass
class Done:
    """Exit code and the two streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def scoregen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """``scoregen("conformers", "CCO", stdin="…")``."""

    def run(*args: object, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["scoregen", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
            raise SystemExit(0)
        streams = capsys.readouterr()
        return Done(int(caught.value.code or 0), streams.out, streams.err)

    return run
