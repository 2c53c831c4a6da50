"""One loudness for every clip: recordings differ by 20 dB and more, which a small network need not learn.

The level of a clip is the root mean square of its loudest third of frames, read from the mel spectrogram,
so that a mel from somebody's TTS can be brought to the same level as a waveform. Quiet rooms and long
pauses do not change it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .mel import MelSpec
from .prior import frame_deviation

TARGET_DB = -18.0
"""Level of training clips, dB relative to full scale."""

MAX_GAIN_DB = 40.0
"""Quieter clips are amplified by no more than this: what is left is noise."""


def level_db(spec: MelSpec, mel: Tensor) -> Tensor:
    """Level in dB re full scale: log-mel ``(B, n_mels, F)`` → ``(B,)``."""
    return _level_db(frame_deviation(spec, mel).square())


def gain_to_target(spec: MelSpec, mel: Tensor) -> Tensor:
    """Amplitude factors ``(B,)`` that bring log-mels to :data:`TARGET_DB`."""
    return _gain(level_db(spec, mel))


class Level:
    """The level of log-mels that arrive in pieces: the power of each frame is kept, four bytes.

    Pieces cut at multiples of ``block`` frames give the same bits wherever else they are cut.

    Args:
        spec: the convention.
        block: frames looked at together.
    """

    def __init__(self, spec: MelSpec, block: int):
        self.spec, self.block = spec, block
        self.highest: Tensor | None = None
        self._powers: list[Tensor] = []

    def push(self, mel: Tensor) -> None:
        """Take the next frames, ``(B, n_mels, f)``."""
        for first in range(0, mel.shape[-1], self.block):
            part = mel[..., first : first + self.block]
            self._powers.append(frame_deviation(self.spec, part.contiguous()).square())
            top = part.amax((1, 2))
            self.highest = top if self.highest is None else torch.maximum(self.highest, top)

    def gain(self) -> Tensor:
        """:func:`gain_to_target` of all frames, ``(B,)``; 1 where nothing rises above the floor."""
        assert self.highest is not None
        gain = _gain(_level_db(torch.cat(self._powers, dim=-1)))
        return torch.where(self.highest <= self.spec.lowest + 0.1, 1.0, gain)


def _level_db(power: Tensor) -> Tensor:
    loudest = power.topk(max(1, power.shape[-1] // 3), dim=-1).values
    return 10 * loudest.mean(-1).clamp(min=1e-20).log10()


def _gain(level: Tensor) -> Tensor:
    gain = (TARGET_DB - level).clamp(-MAX_GAIN_DB, MAX_GAIN_DB)
    return torch.as_tensor(10.0 ** (gain / 20))


def scale_mel(spec: MelSpec, mel: Tensor, gain: Tensor) -> Tensor:
    """The log-mel of a waveform multiplied by ``gain`` ``(B,)`` (exact above the convention's floor)."""
    return spec.compress(spec.expand(mel) * gain[:, None, None])
