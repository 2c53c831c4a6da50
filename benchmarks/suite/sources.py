"""What a result was made by: code and files as short values to compare."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import scoregen

_PACKAGE = Path(scoregen.__file__).resolve().parent
_BENCHMARKS = Path(__file__).resolve().parents[1]


@cache
def code_sha256(parts: tuple[str, ...], suites: tuple[str, ...]) -> str:
    """Hash of the sources that decide a figure: parts of ``scoregen`` and folders of ``benchmarks``."""
    folders = {part: _PACKAGE / part for part in parts} | {suite: _BENCHMARKS / suite for suite in suites}
    return hash_of(folders)


def hash_of(folders: dict[str, Path]) -> str:
    """Hash of the Python files below folders, by the folders' names here and not by where they lie."""
    found = hashlib.sha256()
    for name, folder in sorted(folders.items()):
        for path in sorted(folder.rglob("*.py")):
            found.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """The first 16 digits of the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
