"""A vocoder's network: a denoiser made of learned statistics of speech, and a network that corrects it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scoregen.core import DenseSpace, Space

from . import heap
from .frames import FrameNet
from .matching import mel_gain, with_mel_of_wave
from .mel import MelSpec
from .phase import analyse, faded, outer, synthesise, unit
from .prior import LappedSpace
from .spectrum import SpectrumConfig, SpectrumNet
from .synchrony import Edges, synchronise

CORRECTIONS = 2
"""Mel corrections of a waveform that phases were found for."""

ANCHOR = 0.03
"""How much a cell of the state counts. Cells that overlap share their noise, so each adds little to what the
others have said, and the differences, learned one by one, do not know how certain they are together. By
PESQ."""


@dataclass(frozen=True)
class Condition:
    """What is known beside the noisy waveform, on the grid of the STFT: ``G = F * finer`` frames.

    Attributes:
        mel: aligned log-mel ``(B, n_mels, F)``.
        magnitude: estimated STFT magnitudes, ``(B, K, G)``.
        edges: estimated phase differences, weighted by the magnitudes, in the bins that the mel covers.
        deviation: the prior's standard deviation, ``(B, K, G)``.
    """

    mel: Tensor
    magnitude: Tensor
    edges: Edges
    deviation: Tensor

    def rows(self, chosen: Tensor) -> Condition:
        """That of some waveforms of the batch, by a mask or indices ``(B,)``."""
        edges = Edges(self.edges.across[chosen], self.edges.up[chosen])
        return Condition(self.mel[chosen], self.magnitude[chosen], edges, self.deviation[chosen])


class Guided(nn.Module):
    r"""A denoiser made of learned statistics of speech, and a network that corrects it.

    From the mel a :class:`~scoregen.audio.spectrum.SpectrumNet` tells STFT magnitudes M and how phases move.
    With these, two denoisers need no more learning. At a low noise-to-signal ratio r, the Wiener filter
    :math:`M^2 / (M^2 + r^2 S^2)`, with S the deviation of the prior's noise: it keeps the phases. At a high
    one, the most likely phases given both their differences and the state Y, whose noise lets it speak with
    the certainty :math:`2 M |Y| / (r S)^2` for each cell (:func:`~scoregen.audio.synchrony.synchronise`),
    with the magnitudes M. The network starts as their blend, weighted :math:`r_0^2 : r^2`; a
    :class:`~scoregen.audio.frames.FrameNet` learns what it lacks.

    Args:
        spec: mel convention.
        spectrum: sizes of the network that tells magnitudes and phase differences.
        correction: the network that corrects; None leaves the denoiser as it is.
        trust: floor of M relative to S in the filter, against magnitudes estimated far too low.
        rounds: of the power method, in the estimate from the mel alone.
        iterations: of the power method, in each call.
        blend: the ratio r_0.
    """

    def __init__(
        self,
        spec: MelSpec,
        spectrum: SpectrumConfig,
        correction: FrameNet | None,
        trust: float = 0.3,
        rounds: int = 20,
        iterations: int = 8,
        blend: float = 0.01,
    ):
        super().__init__()
        self.spec, self.trust, self.blend = spec, trust, blend
        self.rounds, self.iterations = rounds, iterations
        self.spectrum = SpectrumNet(spec, spectrum)
        self.grid = self.spectrum.grid
        self.correction = correction

    def halo(self) -> int:
        """Frames on either side that an output sample of one call can depend on (an upper bound)."""
        transform = -(-self.spec.n_fft // self.spec.hop)
        phases = -(-self.iterations // self.spectrum.config.finer)
        learned = 0 if self.correction is None else self.correction.halo()
        return max(learned, phases + 2 * CORRECTIONS * transform) + 3 * transform

    def condition(self, mel: Tensor, space: Space) -> Condition:
        """The condition of aligned log-mels ``(B, n_mels, F)``."""
        told = self.spectrum(mel)
        finer = self.spectrum.config.finer
        magnitude = told.log_magnitude.exp()
        coarse = torch.unflatten(magnitude, -1, (-1, finer)).mean(-1)
        found = self.spec.compress(self.spec.filterbank().to(mel).T @ coarse)
        magnitude = magnitude * mel_gain(self.spec, mel, found).repeat_interleave(finer, -1)
        deviation = _deviation(space, self.spec, magnitude.shape[1], mel.shape[-1])
        return Condition(
            mel,
            magnitude,
            told.edges.weighted(magnitude[:, : self.spectrum.band]),
            deviation.repeat_interleave(finer, -1),
        )

    def estimate(self, cond: Condition, white: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Waveforms that are likely by the mel alone.

        Args:
            cond: their condition.
            white: noise ``(B, F * hop)``; above the band of the mel, speech has its phases.
            known: phases of the first frames, ``(B, band, g)``, which are kept.

        Returns:
            ``(B, F * hop)``, and the phases ``(B, band, G)`` of the band.
        """
        edges, band = cond.edges, self.spectrum.band
        first = heap.phases(cond.magnitude[:, :band], edges.across.angle(), edges.up.angle(), known)
        z = torch.polar(torch.ones_like(first), first)
        kept = 0 if known is None else min(known.shape[-1], z.shape[-1])
        z = synchronise(edges, z, rounds=self.rounds, known=kept)
        above = unit(analyse(self.grid, white)[:, band:, 1:-1])
        return self.waveform(cond, z, above), z.angle()

    def waveform(self, cond: Condition, z: Tensor, above: Tensor) -> Tensor:
        """Waveform with the phase factors ``z`` in the band of the mel and ``above`` it."""
        z = torch.cat((z, above), dim=1)
        wave = synthesise(self.grid, outer(cond.magnitude * z))
        for _ in range(CORRECTIONS):
            wave = with_mel_of_wave(self.spec, wave, cond.mel)
        return wave

    def forward(self, x_in: Tensor, c_noise: Tensor, space: Space, cond: Condition) -> Tensor:
        """Run the network on noisy ``(B, F * hop)``, preconditioned as by EDM with ``sigma_data = 1``."""
        ratio = (4 * c_noise).exp()[:, None]
        norm = (1 + ratio.square()).sqrt()
        state = x_in * norm
        with torch.no_grad():
            classical = self._classical(state, ratio[..., None], cond)
            # The output F for which EDM's skip + c_out F is the classical denoiser.
            start = (classical - state / norm.square()) * norm / ratio
        if self.correction is None:
            return start
        magnitude, deviation = (self._coarse(x) for x in (cond.magnitude, cond.deviation))
        missing = self.correction(
            analyse(self.spec, state),
            analyse(self.spec, classical),
            magnitude,
            ratio[..., None] * deviation,
            c_noise,
        )
        return start + faded(synthesise(self.spec, missing), self.spec.hop // 2) * norm / ratio

    def _coarse(self, x: Tensor) -> Tensor:
        """Geometric means on the mel's frames, the outer ones included: ``(B, K, G)`` → ``(B, K, F + 2)``."""
        finer = self.spectrum.config.finer
        return outer(torch.unflatten((x + 1e-12).log(), -1, (-1, finer)).mean(-1).exp())

    def _classical(self, state: Tensor, ratio: Tensor, cond: Condition) -> Tensor:
        noise = ratio * cond.deviation
        spectrum = analyse(self.grid, state)
        power = cond.magnitude.square() + (self.trust * cond.deviation).square()
        wiener = synthesise(self.grid, outer(power / (power + noise.square())) * spectrum)
        band = self.spectrum.band
        inner, above = spectrum[..., 1:-1].tensor_split((band,), dim=1)
        # On the edges' scale: their certainties are weighted by magnitudes.
        anchor = inner * (2 * ANCHOR * cond.magnitude[:, :band].square() / noise[:, :band].square())
        z = synchronise(cond.edges, unit(inner), rounds=self.iterations, anchor=anchor)
        share = self.blend**2 / (self.blend**2 + ratio[..., 0].square())
        return faded(torch.lerp(self.waveform(cond, z, unit(above)), wiener, share), self.spec.hop // 2)


def _deviation(space: Space, spec: MelSpec, bins: int, frames: int) -> Tensor:
    """Standard deviation of the noise of a space at the mel's frames, on the scale of an STFT."""
    energy = math.sqrt(float(torch.hann_window(spec.win_length).square().sum()))
    if isinstance(space, LappedSpace) and space.spectrum is not None:
        return energy * functional.interpolate(space.spectrum, size=bins, mode="linear").transpose(1, 2)
    assert isinstance(space, DenseSpace)
    like = space.zeros()
    if space.scale is None:
        return energy * like.new_ones(space.size, bins, frames)
    per_frame = space.scale.expand(like.shape).reshape(space.size, frames, spec.hop).mean(-1)
    return energy * per_frame[:, None].expand(-1, bins, -1)
