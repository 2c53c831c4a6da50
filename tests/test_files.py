"""Outputs appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from scoregen.files import atomic_folder, atomic_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.sdf"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.suffix == ".sdf"
        assert temporary.parent == target.parent
    assert target.read_text() == "whole"
    assert names(target.parent) == ["out.sdf"]


def test_an_error_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.sdf"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.sdf"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "cache"
    for content in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / content).write_text(content)
            assert not (target / content).exists()
    assert names(target) == ["second"]
    assert names(tmp_path) == ["cache"]


def test_an_error_leaves_the_folder_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "cache"
    with atomic_folder(target) as temporary:
        (temporary / "kept").write_text("kept")
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as temporary:
        (temporary / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(target) == ["kept"]
    assert names(tmp_path) == ["cache"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    """Not those of the temporary file, which only its owner may read."""
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("x")
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "inside").write_text("x")
            (temporary / "inside").chmod(0o600)
    finally:
        os.umask(before)
    for path, mode in (("file", 0o666), ("folder", 0o777), ("folder/inside", 0o666)):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == mode & ~umask
