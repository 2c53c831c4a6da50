"""Mels as a TTS makes them of recordings, for tests: the recording's own, blurred."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from scoregen.audio.files import read_clip
from scoregen.audio.mel import MelSpec
from scoregen.audio.melfile import write_mel

from .helpers import SPEC


def blurred(mel: Tensor) -> Tensor:
    """Averages over three bands and three frames: a TTS that is trained on squared errors blurs."""
    padded = torch.nn.functional.pad(mel[None, None], (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 3, stride=1)[0, 0]


def write_pairs(recordings: Path, folder: Path, spec: MelSpec = SPEC) -> Path:
    """A blurred mel ``NAME.npy`` beside each ``NAME.wav``, in a folder of their own."""
    folder.mkdir()
    for path in sorted(recordings.glob("*.wav")):
        write_mel(folder / f"{path.stem}.npy", blurred(spec(torch.from_numpy(read_clip(path).wave))), spec)
    return folder
