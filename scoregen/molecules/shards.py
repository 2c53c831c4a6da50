"""Parts of a long job: small files beside the output that a later run with the same work can use.

A *shard* is a finished part with a marker, a JSON file that names the work it came from. The marker is
written last and both appear whole, so a job killed at any time loses only the shards it was making.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scoregen.files import atomic_path


def shard_folder(out: Path) -> Path:
    """Where the shards of ``out`` are kept until it is whole: ``.NAME.partial`` beside it."""
    return out.parent / f".{out.name}.partial"


def fingerprint(lines: Iterable[str]) -> str:
    """Key of everything that decides what a shard holds."""
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def finished(shard: Path, key: str) -> dict[str, Any] | None:
    """Marker of a shard that an earlier run finished for the same work, else None."""
    try:
        content = json.loads(_marker(shard).read_text())
    except (OSError, ValueError):
        return None
    return content if content.get("key") == key and shard.exists() else None


def finish(shard: Path, key: str, content: dict[str, Any]) -> dict[str, Any]:
    """Mark a written shard as finished; returns the marker."""
    marker = {"key": key, **content}
    with atomic_path(_marker(shard)) as target:
        target.write_text(json.dumps(marker))
    return marker


def join(shards: Sequence[Path], out: Path) -> None:
    """Concatenate shards into ``out``, which appears whole. Gzip members, like SDF records, may simply follow
    each other.
    """
    with atomic_path(out) as target, open(target, "wb") as whole:
        for shard in shards:
            with open(shard, "rb") as part:
                shutil.copyfileobj(part, whole)


def _marker(shard: Path) -> Path:
    return shard.with_name(shard.name + ".json")
