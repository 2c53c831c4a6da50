"""The errors people meet: one line that names the input and the remedy."""

from __future__ import annotations


class ScoregenError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line, without a traceback."""


class InputError(ScoregenError, ValueError):
    """An input that cannot be used; the message names it and says what to do."""


class MissingExtra(ScoregenError, ImportError):
    """An optional dependency is not installed; the message gives the install command."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed; run: pip install 'scoregen[{extra}]'")
