"""Objective measures of a synthetic waveform against the recording it was made from."""

from __future__ import annotations

import numpy as np
import torch

from scoregen.errors import InputError, MissingExtra

from .files import resample
from .losses import mr_stft
from .mel import MelSpec


def pesq_wb(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Wide-band PESQ (ITU-T P.862.2), MOS-LQO from 1.02 to 4.64, after resampling to 16 kHz.

    Raises:
        MissingExtra: the package pesq is not installed.
        InputError: PESQ finds no speech, or the clip is shorter than a quarter of a second.
    """
    try:
        import pesq
    except ImportError:
        raise MissingExtra("pesq", "metrics") from None
    a, b = (resample(x, sample_rate, 16000) for x in same_length(reference, degraded))
    if len(a) < 4000:
        raise InputError(f"PESQ needs a quarter of a second, got {len(a) / 16000:.3f} s")
    try:
        return float(pesq.pesq(16000, a, b, "wb"))
    except pesq.PesqError as error:
        raise InputError(f"PESQ cannot score this pair ({error})") from None


def stoi(reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), at most 1.

    Raises:
        MissingExtra: the package pystoi is not installed.
    """
    try:
        import pystoi
    except ImportError:
        raise MissingExtra("pystoi", "metrics") from None
    a, b = same_length(reference, degraded)
    return float(pystoi.stoi(a, b, sample_rate))


def mr_stft_distance(reference: np.ndarray, degraded: np.ndarray) -> float:
    """Multi-resolution STFT distance as defined by :func:`scoregen.audio.losses.mr_stft`; 0 is best.

    FFT sizes 2048, 1024, 512, 256; the floor of the logarithm is 1e-3 of a unit, on signals in [-1, 1].
    """
    a, b = (_tensor(x) for x in same_length(reference, degraded))
    return float(mr_stft(b[None], a[None])[0])


def log_mel_l1(reference: np.ndarray, degraded: np.ndarray, spec: MelSpec) -> float:
    """Mean absolute difference of the log-mels, in the spec's units (nats, or hundredths of 100 dB)."""
    a, b = (spec(_tensor(x)) for x in same_length(reference, degraded))
    return float((a - b).abs().mean())


def _tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def same_length(reference: np.ndarray, degraded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as they are.

    Raises:
        InputError: not two one-dimensional signals of equal length: cut or align them first.
    """
    if reference.ndim != 1 or reference.shape != degraded.shape:
        raise InputError(
            f"signals of shapes {reference.shape} and {degraded.shape};"
            " measures need two mono signals of equal length"
        )
    return reference, degraded
