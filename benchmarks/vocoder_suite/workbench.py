"""What the sections share: the clips, the models, and the facts that decide every figure."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from suite.sources import code_sha256, file_sha256
from suite.store import Store

from scoregen.audio.vocoder import Vocoder
from scoregen.errors import InputError
from scoregen.hub import find_model

from .clips import Clip, from_cache, from_folders


class Workbench:
    """Data and models of a run.

    Args:
        models: shipped names or model folders, at least one.
        cache: prepared cache; None reads ``data``.
        data: folders of recordings.
        unseen: speakers that no model was trained on, beside those that the models' cards name.
        everything: use clips that were trained on too, for trials.
        store: where the scores of every method and clip are kept.

    Raises:
        InputError: no models.
    """

    def __init__(
        self,
        models: list[str],
        *,
        cache: Path | None = None,
        data: list[Path] | None = None,
        unseen: list[str] | None = None,
        everything: bool = False,
        store: Path | None = None,
    ):
        if not models:
            raise InputError("give at least one model with --models")
        self.models, self.cache, self.data = models, cache, data or []
        self.unseen, self.everything = unseen or [], everything
        self.store = Store(store)
        self._clips: dict[tuple[int, float], list[Clip]] = {}

    @cached_property
    def vocoders(self) -> dict[str, Vocoder]:
        """The models by the label of their rows: folder names, with the folder above where equal."""
        labels = [Path(model).name for model in self.models]
        if len(set(labels)) < len(labels):
            labels = ["/".join(find_model(model).resolve().parts[-2:]) for model in self.models]
        pairs = zip(labels, self.models, strict=True)
        return {label: Vocoder.from_pretrained(model) for label, model in pairs}

    @cached_property
    def weights(self) -> dict[str, str]:
        """Hash of each model's weights and settings, by label."""
        pairs = zip(self.vocoders, map(find_model, self.models), strict=True)
        return {
            label: "-".join(file_sha256(path / name) for name in ("model.safetensors", "config.json"))
            for label, path in pairs
        }

    @cached_property
    def code(self) -> str:
        """Hash of the sources."""
        return code_sha256(("audio", "core"), ("suite", "vocoder_suite"))

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Code, models by weights, and data."""
        data = [self.cache.name] if self.cache else sorted(path.name for path in self.data)
        size = self._data_bytes()
        facts = {"models": self.weights, "data": data, "data_bytes": size, "unseen": sorted(self.unseen)}
        return {"code": self.code, **facts, "everything": self.everything}

    def clips(self, per_speaker: int, seconds: float) -> list[Clip]:
        """Recordings for the sections; the same list object for the same question."""
        key = per_speaker, seconds
        if key not in self._clips:
            self._clips[key] = self._read(per_speaker, seconds)
        return self._clips[key]

    def _read(self, per_speaker: int, seconds: float) -> list[Clip]:
        if self.cache is not None:
            return from_cache(self.cache, per_speaker, seconds)
        vocoders = list(self.vocoders.values())
        # Unseen is a speaker that every model held out: for the others its clips were trained on.
        held = set.intersection(*(set(v.info.get("held_out_speakers", ())) for v in vocoders))
        spec = vocoders[0].spec
        return from_folders(self.data, spec, held | set(self.unseen), per_speaker, seconds, self.everything)

    def _data_bytes(self) -> int:
        folders = [self.cache] if self.cache else self.data
        files = (path for folder in folders for path in folder.rglob("*"))
        return sum(path.stat().st_size for path in files if path.is_file())
