"""Crops of prepared recordings, drawn by (seed, step) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from scoregen.errors import InputError
from scoregen.training.cache import Cache

from .config import VocoderDataConfig
from .mel import MelSpec, aligned
from .phase import faded

# Stream of the keyed generator that picks crops.
_PICK = 1


@dataclass(frozen=True)
class AudioBatch:
    """Crops, their aligned log-mels, and the keys of their noise.

    Attributes:
        wave: ``(B, F * hop)``, faded at both ends.
        mel: ``(B, n_mels, F)``.
        ids: int64 ``(B,)``.
    """

    wave: Tensor
    mel: Tensor
    ids: Tensor

    def to(self, device: torch.device | str) -> AudioBatch:
        """The batch on another device."""
        return AudioBatch(self.wave.to(device), self.mel.to(device), self.ids.to(device))


class Crops:
    """Random pieces of the recordings of a cache, each as likely as it is long.

    Their mels are computed, or taken from the cache where it holds some (those that a TTS made).

    Args:
        spec: mel convention, that of the cache.
        data: cache, length and number of the crops.
        seed: of the draws.

    Raises:
        InputError: the cache is of another convention, or holds no clip long enough.
    """

    def __init__(self, spec: MelSpec, data: VocoderDataConfig, seed: int):
        self.spec, self.data, self.seed = spec, data, seed
        self.cache = Cache(data.cache, "audio")
        if MelSpec.from_dict(self.cache.info["spec"]) != spec:
            name = self.cache.info["spec"].get("name")
            raise InputError(
                f"{data.cache}: prepared for '{name}', the model wants '{spec.name}'; prepare it again"
            )
        self.frames = self.cache.lengths("wave") // spec.hop
        self.stored = "mel" in self.cache.fields
        self.records: dict[str, np.ndarray] = {}
        self.shares: dict[str, np.ndarray] = {}
        for split in ("train", "dev"):
            records = self.cache.select(split=split)
            records = records[self.frames[records] >= data.frames]
            self.records[split] = records
            self.shares[split] = np.cumsum(self.frames[records] / max(1, self.frames[records].sum()))
        if not len(self.records["train"]):
            raise InputError(f"{data.cache}: no training clip of at least {data.frames} frames")

    def batch(self, step: int) -> AudioBatch:
        """The batch of a training step, a pure function of (seed, step)."""
        return self._draw("train", np.random.default_rng((_PICK, self.seed, step)))

    def dev_batches(self) -> list[AudioBatch]:
        """Fixed crops of held-out clips."""
        if not len(self.records["dev"]):
            return []
        rng = np.random.default_rng((_PICK, 0, 0))
        return [self._draw("dev", rng) for _ in range(self.data.dev_batches)]

    def _draw(self, split: str, rng: np.random.Generator) -> AudioBatch:
        hop, frames = self.spec.hop, self.data.frames
        waves, mels, ids = [], [], []
        for _ in range(self.data.batch):
            place = int(np.searchsorted(self.shares[split], rng.random()))
            record = int(self.records[split][min(place, len(self.records[split]) - 1)])
            first = int(rng.integers(self.frames[record] - frames + 1))
            factor = self._speed(rng) if split == "train" and self.data.speeds else 1.0
            if self.stored:
                wave, mel = self._stored(record, first)
            elif factor == 1.0:
                wave, mel = self._computed(record, first)
            else:
                wave, mel = self._resampled(record, first, factor)
            waves.append(wave)
            mels.append(mel)
            ids.append(record * 2**32 + first)
        wave = faded(torch.stack(waves), hop // 2)
        return AudioBatch(wave, torch.stack(mels), torch.tensor(ids))

    def _computed(self, record: int, first: int) -> tuple[Tensor, Tensor]:
        """Wave ``(frames * hop,)`` and mel ``(n_mels, frames)`` of a crop; the mel comes from a longer piece,
        so its edge frames see the true neighbours."""
        hop, frames = self.spec.hop, self.data.frames
        margin = -(-self.spec.n_fft // hop)
        low = max(0, first - margin)
        wave = as_float(self.cache[record]["wave"][low * hop : (first + frames + margin) * hop])
        wave = wave[: len(wave) // hop * hop]
        mel = aligned(self.spec, self.spec(wave), len(wave) // hop)
        inside = wave[(first - low) * hop : (first - low + frames) * hop]
        return inside, mel[:, first - low : first - low + frames]

    def _speed(self, rng: np.random.Generator) -> float:
        return float(rng.choice(self.data.speeds)) if rng.random() < 0.5 else 1.0

    def _resampled(self, record: int, first: int, factor: float) -> tuple[Tensor, Tensor]:
        """The same of a crop ``factor`` times as long: another speaker's pitch and formants. Past the end of
        the recording it is silent."""
        hop, frames = self.spec.hop, self.data.frames
        margin = -(-self.spec.n_fft // hop)
        ratio = Fraction(factor).limit_denominator(20)
        length = (frames + 2 * margin) * hop
        wave = as_float(self.cache[record]["wave"][first * hop :][: math.ceil(length / ratio) + 1])
        wave = torchaudio.functional.resample(wave, ratio.denominator, ratio.numerator)[:length]
        wave = functional.pad(wave, (0, length - len(wave)))
        mel = aligned(self.spec, self.spec(wave), frames + 2 * margin)
        inside = slice(margin, margin + frames)
        return wave[inside.start * hop : inside.stop * hop], mel[:, inside]

    def _stored(self, record: int, first: int) -> tuple[Tensor, Tensor]:
        """The same with the mel that the cache holds."""
        hop, frames = self.spec.hop, self.data.frames
        held = self.cache[record]
        wave = as_float(held["wave"][first * hop : (first + frames) * hop])
        return wave, stored_mel(self.spec, held["mel"], first, frames)

    def provenance(self) -> dict[str, Any]:
        """Data conventions, speakers and counts."""
        hours = sum(self.frames[self.records["train"]]) * self.spec.hop / self.spec.sample_rate / 3600
        return {
            "mel": self.spec.to_dict(),
            "level_db": self.cache.info["level_db"],
            "speakers": self.cache.info["speakers"],
            "held_out_speakers": self.cache.info["held_out_speakers"],
            "training_clips": len(self.records["train"]),
            "training_hours": round(float(hours), 3),
        }


def as_float(wave: np.ndarray) -> Tensor:
    """Samples as a cache holds them, 16 bits, to full scale ±1."""
    return torch.from_numpy(wave.astype(np.float32) / 32767)


def stored_mel(spec: MelSpec, mel: np.ndarray, first: int, frames: int) -> Tensor:
    """Aligned frames ``(n_mels, frames)``, from ``first`` on, of a mel in a cache, ``(F, n_mels)``."""
    # One more frame, which centred conventions average with the last.
    return aligned(spec, torch.from_numpy(mel[first : first + frames + 1].T.copy()), frames)
