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
    power = frame_deviation(spec, mel).square()
    loudest = power.topk(max(1, power.shape[-1] // 3), dim=-1).values
    return 10 * loudest.mean(-1).clamp(min=1e-20).log10()


def gain_to_target(spec: MelSpec, mel: Tensor) -> Tensor:
    """Amplitude factors ``(B,)`` that bring log-mels to :data:`TARGET_DB`."""
    gain = (TARGET_DB - level_db(spec, mel)).clamp(-MAX_GAIN_DB, MAX_GAIN_DB)
    return torch.as_tensor(10.0 ** (gain / 20))


def scale_mel(spec: MelSpec, mel: Tensor, gain: Tensor) -> Tensor:
    """The log-mel of a waveform multiplied by ``gain`` ``(B,)`` (exact above the convention's floor)."""
    return spec.compress(spec.expand(mel) * gain[:, None, None])
