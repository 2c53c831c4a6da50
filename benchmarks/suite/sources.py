"""What a result was made by: code and files as short values to compare."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from conformer_suite.sources import hash_of

import scoregen

_PACKAGE = Path(scoregen.__file__).resolve().parent
_BENCHMARKS = Path(__file__).resolve().parents[1]


@cache
def code_sha256(parts: tuple[str, ...], suites: tuple[str, ...]) -> str:
    """Hash of the sources that decide a figure: parts of ``scoregen`` and folders of ``benchmarks``."""
    folders = {part: _PACKAGE / part for part in parts} | {suite: _BENCHMARKS / suite for suite in suites}
    return hash_of(folders)


def file_sha256(path: Path) -> str:
    """The first 16 digits of the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
