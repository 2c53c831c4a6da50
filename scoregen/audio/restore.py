r"""Damaged recordings restored by the vocoder's own score: gaps, missing treble, noise.

A vocoder's diffusion knows which waveforms fit a mel. A damaged recording gives the mel where the damage is
not, and measured samples y besides. Where the mel is missing it is estimated (:mod:`scoregen.audio.bands`,
:mod:`scoregen.audio.denoise`, linear prediction over a gap), the reverse process starts from an estimate of
the waveform, and every call of the denoiser D is made consistent with what was measured,

.. math::  D ← D + K (y − A D), \qquad K = r^2 Σ A^⊤ (r^2 A Σ A^⊤ + V)^{-1},

ΠGDM (Song et al. 2023) with its covariance :math:`r^2 Σ` of the estimate also in front, which is exact for
Gaussian data. The variants of :mod:`scoregen.core.guidance` that differentiate the network do not apply: half
of this denoiser is synchronisation; no gradient is kept through it. For a gap K is a mask, for a band limit
the projection (with Σ taken as flat), for noise a Wiener gain in the lapped transform, where Σ and V are
diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scoregen.core import DenseSpace, Inpainting
from scoregen.core import Noise as KeyedNoise
from scoregen.core.denoiser import Denoise, Prediction
from scoregen.core.guidance.local import prior_variance
from scoregen.core.sampling import Guide
from scoregen.core.uncertainty import member_noise
from scoregen.errors import InputError

from . import bands as band_statistics
from .bands import Bands
from .damage import Bandwidth, Damage, Gap, Noise, bridge, low_pass
from .denoise import denoised, noise_power
from .drawing import Job, estimate, in_pieces, levelled, spread_of
from .files import check_wave
from .loudness import gain_to_target, scale_mel
from .matching import with_mel_of_wave
from .mel import MelSpec
from .prior import LappedSpace, lapped, unlapped
from .render import DEFAULT_STEPS, LAST, GuidedRenderer
from .vocoder import Vocoder

__all__ = ["Bandwidth", "Consistent", "Damage", "Gap", "Noise", "Restored", "restore"]

SILENCE = 1e-6
"""Peaks below this are digital silence, in which nothing is to be restored."""
LEVELS = {Gap: 0.3, Bandwidth: 0.1, Noise: 1.0}
"""σ of the first step, measured by benchmarks/restore.py --levels."""
CAUTION = 1.0
"""Nats taken off the estimated treble."""
CORRECTIONS = 3
"""Corrections of the drawn treble towards its mel."""
AROUND = 40
"""Frames on either side of a gap that its restoration looks at."""


@dataclass(frozen=True)
class Restored:
    """A restored recording.

    Attributes:
        wave: float32 ``(T,)``, at the input's rate and level.
        spread: how far the draws are apart, root mean square in units of full scale for every 10 ms,
            ``(ceil(T / rate / 0.01),)``; None when only one was drawn.
    """

    wave: np.ndarray
    spread: np.ndarray | None = None


@dataclass(frozen=True)
class Consistent:
    """A guide that moves every estimate towards measured values.

    Args:
        values: y, a state.
        gain: ``(residual, prediction) -> K residual``, linear in the residual.
    """

    values: Tensor
    gain: Callable[[Tensor, Prediction], Tensor]

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap a denoiser."""

        def guided(x: Tensor, t: Tensor) -> Prediction:
            p = denoise(x, t)
            return replace(p, x0=p.x0 + self.gain(self.values - p.x0, p))

        return guided


def wiener(space: DenseSpace, variance: Tensor) -> Callable[[Tensor, Prediction], Tensor]:
    """The gain ``r² Σ (r² Σ + V)^{−1}`` of a noise V that is diagonal where the prior's is.

    Args:
        space: of the prior, ``(B, F * hop)``.
        variance: of the noise: of the lapped transform's coefficients, ``(hop,)``; a prior of another kind
            takes their mean.
    """

    def gain(residual: Tensor, prediction: Prediction) -> Tensor:
        r2 = prior_variance(prediction, 1.0)
        if isinstance(space, LappedSpace) and space.spectrum is not None:
            power = r2[..., None] * space.spectrum.square()
            return unlapped(power / (power + variance) * lapped(residual, space.spectrum.shape[-1]))
        scale = 1.0 if space.scale is None else space.scale
        return residual * (r2 * scale**2 / (r2 * scale**2 + variance.mean()))

    return gain


def restore(
    vocoder: Vocoder,
    wave: Tensor | np.ndarray,
    rate: int,
    damage: Damage,
    *,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    samples: int = 1,
    level: float | None = None,
    bands: Bands | None = None,
    caution: float = CAUTION,
    source: str = "waveform",
) -> Restored:
    """Restore a recording.

    Outside gaps the samples are the input's, bit for bit; below a band limit the input's to float32 rounding.

    Args:
        vocoder: a guided vocoder (not a WaveGrad chain).
        wave: mono ``(T,)``, float in [-1, 1] or integer.
        rate: Hz.
        damage: what is wrong with it.
        steps: network calls a draw.
        seed: of the noise; the same seed gives the same result.
        samples: draws; the first is returned, two or more give the spread.
        level: σ where the reverse process starts; a measured default when omitted.
        bands: statistics for a band limit; the shipped ones when omitted.
        caution: nats taken off the estimated treble.
        source: how error messages name the input.

    Returns:
        The recording, of the same length, rate and level.

    Raises:
        InputError: no waveform, a damage that does not fit it, ``steps < 1`` or ``samples < 1``, or a model
            without an estimate to start from.
    """
    if steps < 1 or samples < 1:
        raise InputError(f"steps and samples must be at least 1, got {steps} and {samples}")
    if not isinstance(vocoder.renderer, GuidedRenderer):
        raise InputError(f"model '{vocoder.name}' starts from noise; restoring needs a guided vocoder")
    level = LEVELS[type(damage)] if level is None else level
    if not LAST <= level <= vocoder.denoiser.sde.t_max:
        raise InputError(f"level {level:g}: need {LAST:g} to {vocoder.denoiser.sde.t_max:g}")
    given = check_wave(wave, source)
    job = Job(vocoder, vocoder.renderer, given, rate, steps, level)
    if isinstance(damage, Gap):
        make = _gaps(job, damage.samples(len(given), rate, source))
    elif isinstance(damage, Bandwidth):
        damage.check(rate, source)
        make = _treble(job, damage.hz, bands or band_statistics.shipped(), caution)
    else:
        make = _noise(job, damage.snr)
    noise = KeyedNoise(seed, torch.zeros(1, dtype=torch.int64))
    drawn = [make(member_noise(noise, member)) for member in range(samples)]
    return Restored(drawn[0], None if samples == 1 else spread_of(drawn, rate))


def _gaps(job: Job, gaps: list[tuple[int, int]]) -> Callable[[KeyedNoise], np.ndarray]:
    """Inpainting, gap by gap; what lies further away than :data:`AROUND` frames is not looked at."""
    spec, hop = job.spec, job.spec.hop
    wave = job.blocks(bridge(job.given, gaps, job.rate))
    spans = [
        (first * spec.sample_rate // job.rate, -(-last * spec.sample_rate // job.rate))
        for first, last in gaps
    ]
    mel = _bridged_mel(spec, job.mel(wave), spans)
    gain = gain_to_target(spec, mel)
    mel = scale_mel(spec, mel, gain)
    unknown = torch.zeros_like(wave, dtype=torch.bool)
    for first, last in spans:
        unknown[:, first:last] = True

    def make(noise: KeyedNoise) -> np.ndarray:
        out, filled = job.given.copy(), wave.clone()
        for first, last in spans:
            low, high = max(0, first // hop - AROUND), min(mel.shape[-1], last // hop + 1 + AROUND)
            inside = slice(low * hop, high * hop)
            start = wave[:, inside] * gain
            known = ~unknown[:, inside]

            def inpaint(space: DenseSpace, known: Tensor = known, start: Tensor = start) -> Guide:
                return Inpainting(known.to(space.device), start.to(space.device), space, iterations=0)

            made = job.draw(mel[..., low:high], start, inpaint, noise, low) / gain
            filled[:, first:last] = made[:, first - low * hop : last - low * hop]
        restored = job.back(filled)
        for first, last in gaps:
            out[first:last] = restored[first:last]
        return out

    return make


def _bridged_mel(spec: MelSpec, mel: Tensor, spans: list[tuple[int, int]]) -> Tensor:
    """The mel of a bridged wave; linear prediction fades, so it is kept above half the frames' at the sides.

    ``mel`` is ``(1, n_mels, F)``; between the sides its values are interpolated linearly.
    """
    out, reach = mel.clone(), spec.n_fft // 2
    for first, last in spans:
        left = max(0, (first - reach) // spec.hop - 1)
        right = min(mel.shape[-1] - 1, (last + reach) // spec.hop + 1)
        if right - left < 2:
            continue
        share = torch.arange(1, right - left) / (right - left)
        between = torch.lerp(mel[..., left, None], mel[..., right, None], share)
        kept = torch.maximum(spec.expand(out[..., left + 1 : right]), spec.expand(between) / 2)
        out[..., left + 1 : right] = spec.compress(kept)
    return out


def _treble(job: Job, hz: float, bands: Bands, caution: float) -> Callable[[KeyedNoise], np.ndarray]:
    """The low band as measured, the rest drawn."""
    spec, given = job.spec, torch.from_numpy(job.given).double()
    low = low_pass(given, job.rate, hz)
    wave = job.blocks(low.float().numpy())
    mel, gain = levelled(job, wave)
    mel = bands.extended(spec, mel, hz, caution)

    def make(noise: KeyedNoise) -> np.ndarray:
        if float(wave.abs().max()) < SILENCE:
            return job.given.copy()
        guess = estimate(job, mel, noise)
        # The estimate's phases are its own; its treble is all that is used.
        start = wave * gain + guess - low_pass(guess, spec.sample_rate, hz)

        def keep(space: DenseSpace, at: slice) -> Guide:
            values = (wave[:, at] * gain).to(space.device)
            return Consistent(values, lambda residual, _: low_pass(residual, spec.sample_rate, hz))

        drawn = in_pieces(job, mel, start, keep, noise)
        # What the sharp edge of the band leaks into cells where the prior expects next to nothing may be
        # taken for treble; the mel says how much there is.
        for _ in range(CORRECTIONS):
            drawn = with_mel_of_wave(spec, drawn, mel)
        made = torch.from_numpy(job.back(drawn / gain)).double()
        return (low + made - low_pass(made, job.rate, hz)).float().numpy()

    return make


def _noise(job: Job, snr: float | None) -> Callable[[KeyedNoise], np.ndarray]:
    """Samples of the clean waveform given the noisy one, whose noise is Gaussian of known spectrum."""
    spec = job.spec
    wave = job.blocks(job.given)
    power = noise_power(spec, wave, snr)
    clean = denoised(spec, wave, power)
    mel, gain = levelled(job, clean)
    energy = float(torch.hann_window(spec.win_length).square().sum())
    variance = torch.nn.functional.interpolate((power / energy)[None, None], size=spec.hop, mode="linear")[
        0, 0
    ]

    def make(noise: KeyedNoise) -> np.ndarray:
        if float(wave.abs().max()) < SILENCE:
            return job.given.copy()

        def follow(space: DenseSpace, at: slice) -> Guide:
            values = (wave[:, at] * gain).to(space.device)
            return Consistent(values, wiener(space, (variance * gain**2).to(space.device)))

        return job.back(in_pieces(job, mel, clean * gain, follow, noise) / gain)

    return make
