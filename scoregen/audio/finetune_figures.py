"""Figures of a vocoder on recordings kept out of its fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scoregen.errors import InputError, MissingExtra
from scoregen.hub import Model
from scoregen.training.cache import Cache

from .crops import as_float
from .mel import MelSpec
from .melstream import mel_of
from .metrics import mr_stft_distance, pesq_wb
from .objective import VocoderTask
from .vocoder import Vocoder

SECONDS = 8.0
"""Longer recordings are made again up to here."""

_DRAWS = 2  # noise draws of each development batch


@dataclass(frozen=True)
class Held:
    """A recording kept out.

    Attributes:
        wave: float32 ``(F * hop,)`` at the training level.
        mel: what the vocoder is given, ``(n_mels, F)``.
    """

    wave: np.ndarray
    mel: Tensor


def development(cache: Cache, spec: MelSpec, most: int) -> list[Held]:
    """Recordings of the development part, at most ``most``, with their own mels or those that came along."""
    clips = []
    for i in cache.select(split="dev")[:most].tolist():
        record = cache[i]
        frames = min(len(record["wave"]), int(SECONDS * spec.sample_rate)) // spec.hop
        wave = as_float(record["wave"]).numpy()
        whole = torch.from_numpy(record["mel"].T.copy()) if "mel" in record else mel_of(spec, wave)
        clips.append(Held(wave[: frames * spec.hop], whole[:, :frames].contiguous()))
    return clips


def measure(
    model: Model, task: VocoderTask, clips: list[Held], seed: int, notices: list[str]
) -> dict[str, float]:
    """Loss on the development crops, and how near recordings made again at the default steps come.

    Args:
        model: the model.
        task: of the fine-tuning run, with its development batches.
        clips: from :func:`development`.
        seed: any integer.
        notices: told what was left out.
    """
    vocoder = Vocoder(model)
    with torch.no_grad():
        # Keys that training never uses, so that the choice of the best weights has not seen this noise.
        losses = [
            float(task.loss(model.denoiser, batch.to(vocoder.device), -1000 - _DRAWS * k - draw)["loss"])
            for k, batch in enumerate(task.dev_batches())
            for draw in range(_DRAWS)
        ]
    figures = {"denoising_loss": float(np.mean(losses))}
    distances, scores = [], []
    for number, clip in enumerate(clips):
        made = vocoder.synthesize(clip.mel, seed=seed, sample_id=number, gain=1.0)
        distances.append(mr_stft_distance(clip.wave, made))
        try:
            scores.append(pesq_wb(clip.wave, made, vocoder.sample_rate))
        except MissingExtra as error:
            notice = f"PESQ is left out: {error}"
            if notice not in notices:
                notices.append(notice)
        except InputError:  # no speech in this one
            continue
    if distances:
        figures |= {"clips": float(len(distances)), "mr_stft": float(np.mean(distances))}
    if scores:
        figures |= {"pesq_wb": float(np.mean(scores))}
    return figures
