"""Objective measures of a synthetic waveform against the recording it was made from."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter

from scoregen.errors import InputError, MissingExtra

from .files import resample
from .losses import mr_stft
from .mel import MelSpec

WORLD_RATE = 22_050
"""Hz that WORLD works at here, whatever the rate of the clips, so that figures of all models compare."""

FRAME_MS = 5.0
F0_FLOOR, F0_CEILING = 71.0, 800.0
"""Settings of DIO, StoneMask and CheapTrick: WORLD's defaults, written down so that they stay."""

ORDER, ALL_PASS = 24, 0.455
"""Order of the mel-cepstrum, and the all-pass constant that comes nearest to the mel scale at 22.05 kHz."""

SPEECH_DB = 50.0
"""Frames of the reference this far below its loudest are pauses, and their spectrum is noise."""

FLOOR = 2.0**-30 / 12
"""Power of what rounding to 16 bits adds: bands emptier than that are equally empty to WORLD's envelope here.
CheapTrick gives white noise its variance. Without a floor, a mel that ends at 8 kHz would decide the MCD."""

_DB = 10 * math.sqrt(2) / math.log(10)


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
    except (pesq.PesqError, ValueError) as error:  # ValueError: NaN inside, of a silent signal
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


@dataclass(frozen=True)
class World:
    """What WORLD (Morise et al. 2016) sees in a clip, a frame every 5 ms.

    Attributes:
        f0: Hz, 0 where unvoiced, ``(F,)``.
        cepstrum: mel-cepstrum of the spectral envelope, natural logarithm of amplitude, ``(F, 25)``.
        level_db: level of each frame, to an unknown constant, ``(F,)``.
    """

    f0: np.ndarray
    cepstrum: np.ndarray
    level_db: np.ndarray


@dataclass(frozen=True)
class VoiceScores:
    """How a voice differs from the recording; None where no frame tells.

    Attributes:
        mcd: mel-cepstral distortion, dB.
        f0_rmse_hz, f0_rmse_cents: root mean square error of F0 over frames that are voiced in both.
        vuv_error: share of frames voiced in one and not in the other.
        vuv_f1: F1 of the voiced frames, those of the recording being the truth.
    """

    mcd: float | None
    f0_rmse_hz: float | None
    f0_rmse_cents: float | None
    vuv_error: float
    vuv_f1: float | None

    def as_dict(self) -> dict[str, float | None]:
        """The scores by name."""
        return asdict(self)


def world(wave: np.ndarray, sample_rate: int) -> World:
    """Analyse a clip with pyworld, after resampling to 22.05 kHz.

    F0 by DIO and StoneMask (71 to 800 Hz, a frame every 5 ms), the envelope by CheapTrick.

    Raises:
        MissingExtra: the package pyworld is not installed.
        InputError: not mono, or shorter than a tenth of a second.
    """
    pyworld = _pyworld()
    if wave.ndim != 1:
        raise InputError(f"signal of shape {wave.shape}; WORLD needs a mono signal")
    if len(wave) < sample_rate / 10:
        raise InputError(f"WORLD needs a tenth of a second, got {len(wave) / sample_rate:.3f} s")
    x = np.ascontiguousarray(resample(wave, sample_rate, WORLD_RATE), np.float64)
    pitch = {"f0_floor": F0_FLOOR, "f0_ceil": F0_CEILING, "frame_period": FRAME_MS}
    rough, times = pyworld.dio(x, WORLD_RATE, **pitch)
    f0 = pyworld.stonemask(x, rough, times, WORLD_RATE)
    power = pyworld.cheaptrick(x, f0, times, WORLD_RATE, f0_floor=F0_FLOOR)
    power = np.maximum(power, FLOOR)
    return World(f0, mel_cepstrum(power), 10 * np.log10(power.mean(1)))


def mel_cepstrum(power: np.ndarray, order: int = ORDER, all_pass: float = ALL_PASS) -> np.ndarray:
    r"""Mel-cepstra ``(F, order + 1)`` of power spectral envelopes ``(F, n_fft // 2 + 1)``.

    The cepstrum of the minimum-phase spectrum, ``log|H(ω)| = Σ_n c_n cos(ωn)``, on the axis of an all-pass
    (Oppenheim & Johnson 1972; Tokuda et al. 1994)::

        log|H(ω)| = Σ_m c̃_m cos(m ω̃),   ω̃ = ω + 2 arctan(α sin ω / (1 − α cos ω))

    Since ``z^-1 = (z̃^-1 + α) / (1 + α z̃^-1)``, coefficient n of the plain cepstrum goes to the n-th power of
    that all-pass, whose first ``order + 1`` taps are exact however many are left out.
    """
    logarithm = np.log(power)
    bins = power.shape[-1]
    plain = np.fft.irfft(logarithm, axis=-1)[..., :bins]
    # Of log power: halved it is of amplitude, and a minimum phase folds the other half onto it.
    plain[..., 0] /= 2
    plain[..., -1] /= 2
    return np.asarray(plain @ _warping(bins, order, all_pass))


def mel_cepstral_distortion(reference: World, degraded: World) -> float | None:
    r"""MCD in dB: ``10 √2 / ln 10 · mean_t ‖c̃_1…24 − c̃'_1…24‖`` (Kubichek 1993), without c̃_0, the level.

    Frames are paired by time, not warped: a vocoder keeps it. Pauses, frames of the reference more than 50 dB
    below its loudest, are left out; envelopes have :data:`FLOOR`. By Parseval's theorem the figure of a frame
    is the root mean square difference in dB of the two smoothed envelopes on the mel-like axis, empty bands
    above a mel included. Those of other implementations do not compare: they differ in the analysis,
    the order, the constant, the pauses, the floor and the warping of time.
    """
    count = _paired(reference, degraded)
    speech = reference.level_db[:count] > reference.level_db[:count].max() - SPEECH_DB
    difference = (reference.cepstrum[:count] - degraded.cepstrum[:count])[speech, 1:]
    return float(_DB * np.linalg.norm(difference, axis=1).mean()) if len(difference) else None


def voice_scores(reference: World, degraded: World) -> VoiceScores:
    """MCD, F0 error and voicing of two clips of equal length.

    Raises:
        InputError: they differ in length by more than a frame.
    """
    count = _paired(reference, degraded)
    a, b = reference.f0[:count], degraded.f0[:count]
    both, either = (a > 0) & (b > 0), (a > 0) | (b > 0)
    wrong = int((either & ~both).sum())
    voiced = int(both.sum())
    hertz = cents = None
    if voiced:
        hertz = float(np.sqrt(np.mean((a[both] - b[both]) ** 2)))
        cents = float(1200 * np.sqrt(np.mean(np.log2(b[both] / a[both]) ** 2)))
    f1 = 2 * voiced / (2 * voiced + wrong) if wrong or voiced else None
    return VoiceScores(mel_cepstral_distortion(reference, degraded), hertz, cents, wrong / count, f1)


def _paired(reference: World, degraded: World) -> int:
    counts = len(reference.f0), len(degraded.f0)
    if abs(counts[0] - counts[1]) > 1:
        raise InputError(f"clips of {counts[0]} and {counts[1]} frames; measures need equal lengths")
    return min(counts)


def _pyworld() -> Any:
    try:
        with warnings.catch_warnings():  # that pkg_resources will go one day is nothing to a user
            warnings.simplefilter("ignore")
            import pyworld
    except ImportError:
        raise MissingExtra("pyworld", "metrics") from None
    return pyworld


@cache
def _warping(bins: int, order: int, all_pass: float) -> np.ndarray:
    """Row n: taps 0 … order of the n-th power of the all-pass, ``(bins, order + 1)``."""
    rows = np.zeros((bins, order + 1))
    rows[0, 0] = 1.0
    for n in range(1, bins):
        rows[n] = lfilter([all_pass, 1.0], [1.0, all_pass], rows[n - 1])
    return rows


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
