"""What the sections share: models, the caches they learned from, and the facts that decide every figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from suite.sources import code_sha256, file_sha256
from suite.store import Store

from scoregen.errors import InputError
from scoregen.hub import find_model, from_pretrained, read_config
from scoregen.molecules.conformers import ConformerGenerator
from scoregen.molecules.design.generator import CandidateGenerator

from .options import Options
from .reference import Reference


@dataclass(frozen=True)
class Entry:
    """A model of the run: its folder, and ``model`` as it was asked for."""

    model: str
    folder: Path


class Workbench:
    """Data and models of a run. A model that is not there is told by the sections that need it.

    Args:
        models: shipped names or model folders, at least one.
        caches: prepared caches that they learned from.
        data: SDF files of posed molecules for section ``tasks``.
        conformers: model that gives candidates their 3D shape.
        device: ``cpu`` or ``cuda``.
        store: where finished pieces are kept.

    Raises:
        InputError: no models.
        CacheError: a cache that is none.
    """

    def __init__(
        self,
        models: Sequence[str],
        caches: Sequence[Path] = (),
        data: Sequence[Path] = (),
        conformers: str = "conformer-small",
        device: str = "cpu",
        store: Path | None = None,
    ):
        if not models:
            raise InputError("give at least one model with --models")
        self.entries: dict[str, Entry] = {}
        self.missing: dict[str, str] = {}
        names = [Path(model).name for model in models]
        for model, name in zip(models, names, strict=True):
            label = name if names.count(name) == 1 else "/".join(Path(model).resolve().parts[-2:])
            try:
                self.entries[label] = Entry(model, find_model(model))
            except InputError as error:
                self.missing[label] = str(error)
        self.references = [Reference(cache, store) for cache in caches]
        self.data, self.device, self.conformer_model = list(data), device, conformers
        self.store = Store(store)
        self._generators: dict[str, CandidateGenerator] = {}

    def chosen(self, options: Options, hint: str = "") -> list[str]:
        """Labels of the models that a section runs on; what is missing beside others is told on stderr.

        Args:
            options: of the section.
            hint: models with this in their names come instead of all, if there are any.

        Raises:
            InputError: an unknown label, or all that are chosen are missing.
        """
        labels = [*self.entries, *self.missing]
        for label in options.models:
            if label not in labels:
                raise InputError(f"model '{label}' is not in this run; there are {', '.join(labels)}")
        wanted = options.models or [label for label in labels if hint and hint in label] or labels
        found = [label for label in wanted if label in self.entries]
        absent = [self.missing[label] for label in wanted if label in self.missing]
        if not found:
            raise InputError("; ".join(absent))
        for message in absent:
            print(f"left out: {message}", file=sys.stderr)
        return found

    def generator(self, label: str) -> CandidateGenerator:
        """A model; one that does not say its sizes makes those of its cache."""
        if label not in self._generators:
            entry = self.entries[label]
            model = from_pretrained(entry.folder, "candidates", self.device)
            info = {**model.info, "sizes": self.sizes(label)}
            self._generators[label] = CandidateGenerator(model.denoiser, model.config, label, info)
        return self._generators[label]

    def steps(self, label: str, options: Options) -> int:
        """Network calls of a draw: asked for, or what the model does unasked."""
        return options.steps or int(self.generator(label).config.steps)

    def sizes(self, label: str) -> dict[str, float]:
        """How often a model makes each number of heavy atoms: what it says, else as its cache has them."""
        said = self._info(label).get("sizes")
        return said or {str(n): float(k) for n, k in self.reference(label).sizes.items()}

    def reference(self, label: str) -> Reference:
        """The cache that a model learned from: of the sources it names, or the only one if it names none.

        Raises:
            InputError: not among those given.
        """
        sources = frozenset(self._info(label).get("cache", {}).get("sources", ()))
        fitting = [r for r in self.references if r.sources == sources or not sources]
        if len(fitting) == 1 or (fitting and sources):
            return fitting[0]
        named = f"made from {', '.join(sorted(sources))}" if sources else "it learned from"
        raise InputError(f"model '{label}': give the cache {named} (and no other like it) with --cache")

    def _info(self, label: str) -> dict[str, Any]:
        info: dict[str, Any] = read_config(self.entries[label].folder).get("info", {})
        return info

    @cached_property
    def conformers(self) -> ConformerGenerator:
        """The model that makes shapes."""
        return ConformerGenerator.from_pretrained(self.conformer_model, self.device)

    @cached_property
    def code(self) -> str:
        """Hash of the sources."""
        return code_sha256(("molecules", "core"), ("suite", "candidate_suite"))

    def weights(self, label: str) -> str:
        """Hash of a model's weights and settings."""
        return _weights(self.entries[label].folder)

    @cached_property
    def conformer_weights(self) -> str:
        """Hash of the weights and settings of the model that makes shapes."""
        return _weights(find_model(self.conformer_model))

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Code, models by weights, and data."""
        return {
            "code": self.code,
            "models": {label: self.weights(label) for label in self.entries},
            "caches": {reference.name: reference.sha256 for reference in self.references},
            "data": {path.name: file_sha256(path) for path in self.data if path.is_file()},
            "conformers": self.conformer_weights,
            "device": self.device,
        }

    def facts(self, section: str, label: str) -> dict[str, Any]:
        """What decides a kept piece, but for what a section asks: code, weights, sizes, device."""
        return {
            "section": section,
            "code": self.code,
            "weights": self.weights(label),
            "sizes": self.sizes(label),
            "device": self.device,
        }

    def size_of(self, label: str) -> dict[str, Any]:
        """Parameters of a model and the threads it runs on."""
        parameters = sum(p.numel() for p in self.generator(label).denoiser.parameters())
        return {"parameters": parameters, "threads": torch.get_num_threads()}


def _weights(folder: Path) -> str:
    return "-".join(file_sha256(folder / name) for name in ("model.safetensors", "config.json"))
