"""What a task may show of a model while it is trained: sounds and pictures, for the log.

The loop asks for them and knows nothing else of them; :class:`Previewing` tasks offer them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scoregen.core.denoiser import Denoiser


@dataclass(frozen=True)
class Sound:
    """A sound.

    Attributes:
        tag: its name in the log.
        wave: float ``(T,)``, full scale at ±1.
        sample_rate: Hz.
        fixed: the same at every step, so logged once.
    """

    tag: str
    wave: np.ndarray
    sample_rate: int
    fixed: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        tag: its name in the log.
        pixels: uint8 ``(height, width, 3)``.
        fixed: the same at every step, so logged once.
    """

    tag: str
    pixels: np.ndarray
    fixed: bool = False


@runtime_checkable
class Previewing(Protocol):
    """A :class:`scoregen.modality.Task` that has something to show at every evaluation."""

    def previews(self, denoiser: Denoiser) -> Sequence[Sound | Picture]:
        """What the model makes now, of the same held-out data each time; empty where nothing is held out.

        Called without gradients, with the averaged weights, in evaluation mode. It must leave the global
        random state alone: a resumed run repeats an undisturbed one bit by bit.
        """
