"""What a result was made by: the code and the data, as short values to compare."""

from __future__ import annotations

from pathlib import Path

from suite import sources as suite_sources


def code_sha256() -> str:
    """Hash of the sources that decide a figure: ``scoregen.molecules``, ``scoregen.core`` and this suite."""
    return suite_sources.code_sha256(("molecules", "core"), ("suite", "conformer_suite"))


def data_bytes(folder: Path) -> int:
    """Size of the files in a data folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
