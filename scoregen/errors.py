"""The errors people meet: one line that names the input and the remedy."""

from __future__ import annotations

from collections.abc import Iterable


class ScoregenError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line, without a traceback."""


class InputError(ScoregenError, ValueError):
    """An input that cannot be used; the message names it and says what to do."""


class MissingExtra(ScoregenError, ImportError):
    """An optional dependency is not installed; the message gives the install command."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed; run: pip install 'scoregen[{extra}]'")


def require(checks: Iterable[tuple[bool, str]]) -> None:
    """Raise :class:`InputError` with the message of the first check that does not hold."""
    for good, message in checks:
        if not good:
            raise InputError(message)
