"""What a kind of data is to the rest of the program.

A modality turns configuration into a denoiser and prepared data into training batches. The training loop,
the model hub and the command line know modalities through this module only; they are found by the
entry-point group ``scoregen.modalities``, so another package can add one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from pydantic import BaseModel
from torch import Tensor

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError

GROUP = "scoregen.modalities"

# Also found when the package runs from a source tree that was never installed.
_SHIPPED = {
    "molecules": "scoregen.molecules.modality:MOLECULES",
    "candidates": "scoregen.molecules.design.modality:CANDIDATES",
    "audio": "scoregen.audio.modality:AUDIO",
}


class Batch(Protocol):
    """A training batch; plugins carry what they like inside."""

    def to(self, device: Any) -> Batch:
        """The batch on another device."""


class Task(Protocol):
    """Training side of a modality: batches that are pure functions of (seed, step), and their loss.

    A task may also show what the model makes: :class:`scoregen.training.previews.Previewing`.
    """

    def batch(self, step: int) -> Any:
        """The CPU batch of a training step; the same for the same seed and step, in any process."""

    def loss(self, denoiser: Denoiser, batch: Any, step: int) -> dict[str, Tensor]:
        """Scalars of a batch; ``"loss"`` is minimised, others are logged. Noise is keyed by ``step``."""

    def dev_batches(self) -> list[Any]:
        """A fixed, small list of held-out batches, evaluated with ``step = index`` and fixed noise."""

    def provenance(self) -> dict[str, Any]:
        """JSON-able facts for the model folder: data conventions, sources, counts."""


@dataclass(frozen=True)
class Modality:
    """One kind of data.

    Args:
        name: key in configurations.
        model_config: pydantic model of the ``model:`` section.
        data_config: pydantic model of the ``data:`` section.
        build: model section → denoiser with fresh weights.
        task: (model section, data section, seed) → training task.
    """

    name: str
    model_config: type[BaseModel]
    data_config: type[BaseModel]
    build: Callable[[Any], Denoiser]
    task: Callable[[Any, Any, int], Task]


def modalities() -> list[str]:
    """Names of all known modalities, sorted."""
    return sorted({*_SHIPPED, *(point.name for point in entry_points(group=GROUP))})


def get_modality(name: str) -> Modality:
    """The modality registered under ``name``; its package is imported only now.

    Raises:
        InputError: no such modality; the message lists the known ones.
    """
    if name in _SHIPPED:
        module, attribute = _SHIPPED[name].split(":")
        modality = getattr(import_module(module), attribute)
    else:
        found = [point for point in entry_points(group=GROUP) if point.name == name]
        if not found:
            raise InputError(f"unknown modality '{name}'; known: {', '.join(modalities())}")
        modality = found[0].load()
    if not isinstance(modality, Modality):
        raise InputError(f"entry point '{name}' is not a scoregen Modality")
    return modality
