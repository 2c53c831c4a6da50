"""Figures kept on disk one by one, so that a stopped run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from scoregen.files import atomic_path


class Store:
    """JSON objects in a folder, a file each, found again by the facts that decide them.

    Args:
        folder: made where it is missing; None keeps nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder

    def load(self, facts: dict[str, Any]) -> dict[str, Any] | None:
        """What :meth:`save` kept under the same facts, or None."""
        path = self._path(facts)
        if path is None or not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text())["entry"]
        return found

    def save(self, facts: dict[str, Any], entry: dict[str, Any]) -> None:
        """Keep an entry; a file appears whole or not at all."""
        path = self._path(facts)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"facts": facts, "entry": entry}))

    def _path(self, facts: dict[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        told = json.dumps(facts, sort_keys=True)
        return self.folder / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
