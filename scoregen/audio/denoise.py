"""Noise reduction without a network: the noise from the quietest frames, and a log-spectral estimator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .mel import MelSpec
from .phase import analyse, synthesise

QUIETEST = 0.1
"""Share of frames that the spectrum of the noise is read from."""


def noise_power(spec: MelSpec, wave: Tensor, snr: float | None) -> Tensor:
    """Mean power of the noise in the bins of :func:`~scoregen.audio.phase.analyse`.

    Its spectrum is that of the quietest frames, smoothed over neighbouring bins; its level too, unless the
    ratio of speech to noise is stated.

    Args:
        spec: gives the STFT.
        wave: ``(1, F * hop)``.
        snr: dB, or None.

    Returns:
        ``(n_fft // 2 + 1,)``, positive.
    """
    power = analyse(spec, wave)[0, :, 1:-1].abs().square()
    count = max(1, round(QUIETEST * power.shape[-1]))
    quiet = power[:, power.sum(0).topk(count, largest=False).indices].mean(1)
    kernel = torch.ones(1, 1, 9, dtype=quiet.dtype, device=quiet.device) / 9
    padded = torch.nn.functional.pad(quiet[None, None], (4, 4), mode="reflect")
    noise = torch.nn.functional.conv1d(padded, kernel)[0, 0]
    if snr is not None:
        share = power.mean(1).sum() / (1 + 10 ** (snr / 10))
        noise = noise * share / noise.sum().clamp(min=1e-20)
    return noise.clamp(min=1e-12)


def gains(power: Tensor, noise: Tensor, memory: float = 0.98, least: float = 0.05) -> Tensor:
    """Gains of the log-spectral amplitude estimator with decision-directed a priori ratios.

    Ephraim & Malah, *Speech enhancement using a minimum mean-square error log-spectral amplitude estimator*
    (1985), eq. 20, with the ratio of Ephraim & Malah (1984), eq. 51.

    Args:
        power: of the noisy STFT, ``(n_fft // 2 + 1, F)``.
        noise: mean power of the noise, ``(n_fft // 2 + 1,)``.
        memory: weight of the last frame's estimate.
        least: smallest gain (26 dB), which hides musical noise.

    Returns:
        Factors of the amplitudes, shaped as ``power``, between ``least`` and 1.
    """
    from scipy.special import exp1

    posterior = (power / noise[:, None]).cpu().double().numpy().clip(1e-6, 1e4)
    found, before = np.empty_like(posterior), np.ones(posterior.shape[0])
    for frame in range(posterior.shape[1]):
        now = posterior[:, frame]
        ratio = np.maximum(memory * before + (1 - memory) * np.maximum(now - 1, 0), least**2)
        wiener = ratio / (1 + ratio)
        gain = wiener * np.exp(0.5 * exp1(np.maximum(wiener * now, 1e-8)))
        found[:, frame] = gain.clip(least, 1)
        before = found[:, frame] ** 2 * now
    return torch.from_numpy(found).to(power)


def denoised(spec: MelSpec, wave: Tensor, noise: Tensor) -> Tensor:
    """``wave`` ``(1, F * hop)`` through :func:`gains`."""
    spectrum = analyse(spec, wave)
    return synthesise(spec, spectrum * gains(spectrum[0].abs().square(), noise))
