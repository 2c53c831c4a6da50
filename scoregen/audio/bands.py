r"""What the low bands of speech say about the high ones: one Gaussian, conditioned on what is known.

Log-mel frames, each beside the frames a little before and after it, have a mean and a covariance C. Given the
bands below a limit, at all three times, the bands above it are expected at

.. math::  μ_h + C_{hl} (C_{ll} + λ)^{-1} (l − μ_l),

a ridge regression for whatever limit is asked, from one set of numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scoregen.errors import InputError
from scoregen.files import atomic_path

from .mel import MelSpec, aligned

SHIFT = 3
"""Frames before and after."""
RIDGE = 0.01
"""λ, nats squared."""
SHIPPED = Path(__file__).with_name("bands.npz")


@dataclass(frozen=True)
class Bands:
    """Statistics of the log-mels of speech at the training level.

    Attributes:
        mel: name of the convention they are of.
        mean: ``(3 n_mels,)``: the frame, the one before, the one after.
        covariance: ``(3 n_mels, 3 n_mels)``.
    """

    mel: str
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def fit(cls, waves: Iterable[np.ndarray], spec: MelSpec) -> Bands:
        """From clips ``(T,)`` at the convention's rate, at the training level.

        Raises:
            InputError: less than a minute of speech.
        """
        rows = [
            neighbours(aligned(spec, spec(torch.from_numpy(w)))).double().numpy()
            for w in waves
            if len(w) > spec.n_fft
        ]
        if sum(r.shape[1] for r in rows) * spec.hop < 60 * spec.sample_rate:
            raise InputError("bands: need a minute of speech at least")
        data = np.concatenate(rows, axis=1)
        return cls(spec.name, data.mean(1), np.cov(data))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as ``.npz``, the covariance by its upper triangle in float32."""
        upper = self.covariance[np.triu_indices(len(self.mean))].astype(np.float32)
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(
                stream, mel=np.array(self.mel), mean=self.mean.astype(np.float32), upper=upper
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bands:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: missing or not such a file.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                mean, upper = held["mean"].astype(np.float64), held["upper"].astype(np.float64)
                covariance = np.zeros((len(mean), len(mean)))
                covariance[np.triu_indices(len(mean))] = upper
                name = str(held["mel"])
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path}: holds no band statistics ({error})") from None
        return cls(name, mean, covariance + np.triu(covariance, 1).T)

    def known(self, spec: MelSpec, hz: float) -> np.ndarray:
        """Whether a band lies below ``hz`` altogether, bool ``(n_mels,)``."""
        bins = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1)
        above = (spec.filterbank().numpy()[bins > hz] > 0).sum(0)
        return np.asarray(above == 0)

    def extended(self, spec: MelSpec, mel: Tensor, hz: float, caution: float = 0.0) -> Tensor:
        """A log-mel whose bands above ``hz`` are replaced by what the others let expect.

        Args:
            spec: the convention, by natural logarithm.
            mel: aligned, at the training level, ``(1, n_mels, F)``.
            hz: the band limit.
            caution: nats subtracted from the estimate: too much treble disturbs more than too little.

        Raises:
            InputError: these statistics are of another convention.
        """
        if self.mel != spec.name:
            raise InputError(f"band statistics are of '{self.mel}', the model of '{spec.name}'; fit others")
        known = self.known(spec, hz)
        if known.all():
            return mel
        low = np.flatnonzero(np.tile(known, 3))
        high = np.flatnonzero(~known)
        inner = self.covariance[np.ix_(low, low)] + RIDGE * np.eye(len(low))
        weight = np.linalg.solve(inner, self.covariance[np.ix_(low, high)])
        given = neighbours(mel[0]).double().cpu().numpy()[low] - self.mean[low, None]
        estimate = self.mean[high, None] + weight.T @ given - caution
        out = mel.clone()
        out[0, torch.from_numpy(high)] = torch.from_numpy(estimate).to(mel)
        return out.clamp(min=spec.lowest)


@cache
def shipped() -> Bands:
    """Statistics of the shipped vocoder's training clips, convention ``hifigan-22k``."""
    return Bands.load(SHIPPED)


def neighbours(mel: Tensor) -> Tensor:
    """Frames beside those :data:`SHIFT` before and after: ``(n_mels, F)`` → ``(3 n_mels, F)``."""
    frames = mel.shape[-1]
    at = torch.arange(frames, device=mel.device)
    shifts = (mel[:, (at + shift).clamp(0, frames - 1)] for shift in (0, -SHIFT, SHIFT))
    return torch.cat(tuple(shifts))
