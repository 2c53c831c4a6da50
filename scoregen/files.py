"""Outputs that appear whole or not at all: temporary sibling, fsync, rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError


def spared(outputs: Iterable[Path], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse outputs that would overwrite an input, or cannot be written because a folder has their name.

    Args:
        outputs: files to be written.
        inputs: files that are read; what is no file is passed over.

    Raises:
        InputError: one is both, or is a folder.
    """
    read = {Path(source).resolve(): source for source in inputs if os.path.isfile(source)}
    for target in outputs:
        if (source := read.get(target.resolve())) is not None:
            raise InputError(f"{source} would be overwritten; choose another name for the output")
        if target.is_dir():
            raise InputError(f"{target} is a folder; choose another name for the output")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); on success it becomes ``path``.

    On any error the temporary file is removed and an existing ``path`` stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it replaces ``path``.

    On any error the temporary folder is removed and an existing ``path`` stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield temporary
        # Temporary folders, and the files some writers make, are readable by their owner alone.
        for child in (temporary, *temporary.rglob("*")):
            child.chmod((0o777 if child.is_dir() else 0o666) & ~_umask())
            _sync(child)
        if target.exists():
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-old-"))
            target.replace(old / target.name)
            temporary.replace(target)
            shutil.rmtree(old)
        else:
            temporary.replace(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _sync(path: Path) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
