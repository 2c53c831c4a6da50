"""The record of a run: ``log.jsonl`` (the same bytes for the same run) and TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from scoregen.files import atomic_path

from .previews import Picture, Sound


class RunLog:
    """Append scalars by step.

    ``log.jsonl`` holds nothing that depends on the clock, so a resumed run leaves the same file as an
    undisturbed one; speeds go to TensorBoard only.

    Args:
        run: the run's folder.
        step: entries after this step are dropped (they were written after the checkpoint resumed from).
    """

    def __init__(self, run: Path, step: int = 0):
        self.path = run / "log.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        with atomic_path(self.path) as target:
            target.write_text("".join(line + "\n" for line in kept))
        self._stream = open(self.path, "a")  # noqa: SIM115
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        self._shown: set[str] = set()

    def _lines(self) -> list[str]:
        # A killed process may leave a torn last line.
        if not self.path.exists():
            return []
        text = self.path.read_text()
        return text[: text.rfind("\n") + 1].splitlines()

    def write(self, step: int, **values: Any) -> None:
        """Record scalars in the log and on the board."""
        self._stream.write(json.dumps({"step": step, **values}) + "\n")
        self._stream.flush()
        self.board(step, **values)

    def board(self, step: int, **values: float) -> None:
        """Record scalars on the board only."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def show(self, step: int, previews: Iterable[Sound | Picture]) -> None:
        """Put sounds and pictures on the board; fixed ones once in the life of this object."""
        for preview in previews:
            if preview.fixed and preview.tag in self._shown:
                continue
            self._shown.add(preview.tag)
            if isinstance(preview, Sound):
                wave = np.nan_to_num(preview.wave, posinf=1.0, neginf=-1.0).clip(-1, 1)
                self._board.add_audio(preview.tag, wave, step, preview.sample_rate)
            else:
                self._board.add_image(preview.tag, preview.pixels, step, dataformats="HWC")

    def sync(self) -> None:
        """Force the log to disk; called before a checkpoint so that the log never lags behind it."""
        self._board.flush()
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close both."""
        self._stream.close()
        self._board.close()
