"""What a result was made by: the code and the data, as short values to compare."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import scoregen

_PACKAGE = Path(scoregen.__file__).resolve().parent
_SUITE = Path(__file__).resolve().parent


@cache
def code_sha256() -> str:
    """Hash of the sources that decide a figure: ``scoregen.molecules``, ``scoregen.core`` and this suite."""
    return hash_of({"molecules": _PACKAGE / "molecules", "core": _PACKAGE / "core", "suite": _SUITE})


def hash_of(folders: dict[str, Path]) -> str:
    """Hash of the Python files below folders, by the folders' names here and not by where they lie."""
    found = hashlib.sha256()
    for name, folder in sorted(folders.items()):
        for path in sorted(folder.rglob("*.py")):
            found.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def data_bytes(folder: Path) -> int:
    """Size of the files in a data folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
