"""A vocoder's network: a classical denoiser, and a network that corrects it.

The correction is a :class:`~scoregen.audio.wavegrad.WaveGrad`, at the rate of the samples, or a
:class:`~scoregen.audio.frames.FrameNet`, at that of the frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scoregen.core import DenseSpace, Space

from .estimate import MagnitudeNet, consistent, scaled, with_mel
from .frames import FrameNet
from .mel import MelSpec
from .phase import analyse, faded, outer, synthesise
from .prior import LappedSpace
from .wavegrad import CLIP, WaveGrad

CORRECTIONS = 2
"""Mel corrections after the Griffin-Lim iterations of a call."""


@dataclass(frozen=True)
class Condition:
    """What the vocoder's network knows beside the noisy waveform.

    Attributes:
        mel: aligned log-mel, scaled, ``(B, n_mels, F)``.
        magnitude: estimated STFT magnitudes, ``(B, n_fft // 2 + 1, F)``.
        deviation: the prior's standard deviation on the STFT's grid, the same shape.
        target: aligned log-mel, not scaled.
        slopes: estimated corrections of the phase slopes, ``(B, 2, n_fft // 2 + 1, F)``, or None.
    """

    mel: Tensor
    magnitude: Tensor
    deviation: Tensor
    target: Tensor
    slopes: Tensor | None = None


class Guided(nn.Module):
    r"""A classical denoiser and a network that corrects it.

    Two denoisers need no training once the STFT magnitudes M of the speech are estimated. At a low
    noise-to-signal ratio r, the Wiener filter :math:`M^2 / (M^2 + r^2 S^2)`, with S the deviation of the
    prior's noise: it keeps the phases. At a high ratio, where the phases of the state mean little, a few
    Griffin-Lim iterations from them, corrected towards the mel: a signal that exists and has about the
    magnitudes M. The network starts as their blend, weighted :math:`r_0^2 : r^2`, and learns what it lacks.
    A WaveGrad sees both, whitened, beside the state; a FrameNet sees the blend's phases.

    Args:
        spec: mel convention.
        wave: the network: a WaveGrad with two extra waveforms, or a FrameNet.
        width: channels of the magnitude network.
        trust: floor of M relative to S in the filter, against magnitudes estimated far too low.
        iterations: of Griffin-Lim in each call.
        blend: the ratio r_0.
        slopes: whether the magnitude network also corrects the slopes of phases.
    """

    def __init__(
        self,
        spec: MelSpec,
        wave: WaveGrad | FrameNet,
        width: int = 256,
        trust: float = 0.3,
        iterations: int = 8,
        blend: float = 0.05,
        slopes: bool = False,
    ):
        super().__init__()
        self.spec, self.trust, self.iterations, self.blend = spec, trust, iterations, blend
        self.magnitude = MagnitudeNet(spec, width, slopes=slopes)
        self.wave = wave

    def halo(self) -> int:
        """Frames on either side that an output sample of one call can depend on (an upper bound)."""
        transform = -(-self.spec.n_fft // self.spec.hop)
        return max(self.wave.halo(), (self.iterations + 2 * CORRECTIONS) * transform) + 3 * transform

    def condition(self, mel: Tensor, space: Space) -> tuple[Condition, Tensor]:
        """The condition of aligned log-mels ``(B, n_mels, F)`` and, for training, the log magnitudes."""
        log_magnitude, slopes = self.magnitude.with_slopes(mel)
        magnitude = with_mel(self.spec, log_magnitude.detach().exp(), mel)
        deviation = torch.full_like(magnitude, 1.0)
        if isinstance(space, LappedSpace) and space.spectrum is not None:
            bins = functional.interpolate(space.spectrum, size=magnitude.shape[1], mode="linear")
            deviation = bins.transpose(1, 2)
        elif isinstance(space, DenseSpace) and space.scale is not None:
            per_frame = (
                space.scale.expand(space.zeros().shape).reshape(space.size, -1, self.spec.hop).mean(-1)
            )
            deviation = per_frame[:, None].expand_as(magnitude)
        energy = float(torch.hann_window(self.spec.win_length).square().sum())
        condition = Condition(scaled(self.spec, mel), magnitude, deviation * math.sqrt(energy), mel, slopes)
        return condition, log_magnitude

    def forward(self, x_in: Tensor, c_noise: Tensor, space: Space, cond: Condition) -> Tensor:
        """Run the network; see :class:`WaveGrad`. The preconditioning is EDM's with ``sigma_data = 1``."""
        ratio = (4 * c_noise).exp()[:, None]
        norm = (1 + ratio.square()).sqrt()
        state = x_in * norm
        half = self.spec.hop // 2
        with torch.no_grad():
            spectrum = analyse(self.spec, state)
            deviation = outer(cond.deviation)
            power = outer(cond.magnitude).square() + (self.trust * deviation).square()
            gain = power / (power + (ratio[..., None] * deviation).square())
            wiener = faded(synthesise(self.spec, gain * spectrum), half)
            rebuilt = consistent(
                self.spec,
                cond.magnitude,
                cond.target,
                state,
                iterations=self.iterations,
                corrections=CORRECTIONS,
            )
            rebuilt = faded(rebuilt, half)
            classical = torch.lerp(rebuilt, wiener, self.blend**2 / (self.blend**2 + ratio.square()))
            # The output F for which EDM's skip + c_out F is the classical denoiser.
            start = (classical - state / norm.square()) * norm / ratio
        if isinstance(self.wave, FrameNet):
            noise = ratio[..., None] * deviation
            missing = self.wave(
                spectrum, analyse(self.spec, classical), outer(cond.magnitude), noise, c_noise
            )
            return start + faded(synthesise(self.spec, missing), half) * norm / ratio
        extra = [faded(space.whiten(x).clamp(-CLIP, CLIP), half) for x in (wiener, rebuilt)]
        correction: Tensor = self.wave(x_in, c_noise, space, (cond.mel, *extra))
        return start + correction
