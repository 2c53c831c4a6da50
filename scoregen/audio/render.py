"""From mels to waveforms, one window at a time: how a guided model and a WaveGrad with a chain run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from scoregen.core import Noise, karras_grid, sample
from scoregen.core.ddpm import DDPM
from scoregen.core.denoiser import Denoiser, Prediction
from scoregen.core.solvers import solver_by_name
from scoregen.core.space import Space

from .config import VocoderModelConfig
from .guided import Guided
from .matching import scaled
from .phase import faded
from .wavegrad import WaveGrad

DEFAULT_STEPS = 4
"""Network calls where nothing else is asked for."""

LAST = 0.05
"""Noise level of the last call: speech at 16 bits hides it, and the network still has something to remove."""


@dataclass(frozen=True)
class Start:
    """Where the reverse process starts.

    Attributes:
        kind: ``"estimate"``: what is likely by the mel alone, noised to ``level``; ``"noise"``: pure noise.
        level: σ/α of the first step.
    """

    kind: Literal["estimate", "noise"]
    level: float


@dataclass(frozen=True)
class Rendered:
    """Waveforms ``(B, F * hop)``, and the phases ``(B, band, F * finer)`` that their estimate began with, if
    it had any.

    A window that overlaps an earlier one continues its phases (``known``), so that both agree.
    """

    wave: Tensor
    phases: Tensor | None = None


class Renderer(Protocol):
    """Makes waveforms at the training level of loudness."""

    def halo(self, steps: int, start: Start) -> int:
        """Frames on either side that a sample of the output can depend on (an upper bound)."""

    def render(
        self, mels: Tensor, noise: Noise, steps: int, start: Start, known: Tensor | None = None
    ) -> Rendered:
        """Waveforms of aligned log-mels ``(B, n_mels, F)``, given the phases of the first frames or none."""


class GuidedRenderer:
    """A guided denoiser (:mod:`scoregen.audio.guided`), from the estimate or from noise.

    Args:
        denoiser: of a :class:`~scoregen.audio.guided.Guided` network.
        config: of the model.
    """

    def __init__(self, denoiser: Denoiser, config: VocoderModelConfig):
        assert isinstance(denoiser.network, Guided)
        self.denoiser, self.network = denoiser, denoiser.network
        self.spec, self.prior, self.config = config.spec(), config.make_prior(), config

    def halo(self, steps: int, start: Start) -> int:
        """Frames on either side that a sample of the output can depend on (an upper bound).

        The differences that phases are integrated from are local; their sum is carried on
        (:class:`Rendered`).
        """
        network = self.network
        rounds = -(-network.rounds // network.spectrum.config.finer) if start.kind == "estimate" else 0
        return steps * network.halo() + rounds + network.spectrum.halo()

    @torch.no_grad()
    def render(
        self, mels: Tensor, noise: Noise, steps: int, start: Start, known: Tensor | None = None
    ) -> Rendered:
        """Waveforms of aligned log-mels ``(B, n_mels, F)``, given the phases of the first frames or none."""
        space = self.prior.space(mels)
        condition = self.network.condition(mels, space)
        guess: Tensor | None = None
        phases: Tensor | None = None
        if start.kind == "estimate":
            guess, phases = self.network.estimate(condition, _white(space, noise), known)
            guess = faded(guess, self.spec.hop // 2)
        sde = self.denoiser.sde
        low = min(LAST, start.level / 2)
        grid = karras_grid(sde, steps, sigma_max=start.level, sigma_min=low, rho=3.0)
        denoise = _at(self.denoiser, space, condition)
        wave = sample(
            denoise, sde, space, solver=solver_by_name("dpmpp-2m"), grid=grid, noise=noise, start=guess
        )
        return Rendered(wave, phases)

    @torch.no_grad()
    def estimate(self, mels: Tensor, noise: Noise) -> Tensor:
        """The estimate that the reverse process starts from, ``(B, n_mels, F)`` → ``(B, F * hop)``."""
        space = self.prior.space(mels)
        return self.network.estimate(self.network.condition(mels, space), _white(space, noise))[0]


class ChainRenderer:
    """WaveGrad's ancestral sampling of a DDPM chain (Chen et al. 2021, algorithm 2).

    The network knows √ᾱ and not the number of the step, so it may be sampled along another chain than it was
    trained on: with as many steps as the configuration has a schedule for, along that one; with another
    number along as many levels of the training chain, evenly spaced.

    Args:
        denoiser: of a :class:`~scoregen.audio.wavegrad.WaveGrad`.
        config: of the model, with a chain.
    """

    def __init__(self, denoiser: Denoiser, config: VocoderModelConfig):
        assert isinstance(denoiser.network, WaveGrad)
        assert config.chain is not None
        self.denoiser, self.network, self.chain = denoiser, denoiser.network, config.chain
        self.spec, self.prior = config.spec(), config.make_prior()

    def halo(self, steps: int, start: Start) -> int:
        """Frames on either side that a sample of the output can depend on (an upper bound)."""
        return steps * (self.network.halo() + (2 if self.prior.kind == "spectral" else 0))

    def render(
        self, mels: Tensor, noise: Noise, steps: int, start: Start, known: Tensor | None = None
    ) -> Rendered:
        """Waveforms of aligned log-mels ``(B, n_mels, F)``; ``start`` and ``known`` are not used."""
        betas = self.chain.schedules.get(steps)
        return Rendered(self.along(DDPM(betas) if betas else self.chain.process(), mels, noise, steps))

    @torch.no_grad()
    def along(self, process: DDPM, mels: Tensor, noise: Noise, steps: int | None = None) -> Tensor:
        """Waveforms ``(B, F * hop)`` along a chain; all its steps unless fewer are asked for."""
        space = self.prior.space(mels)
        denoiser = Denoiser(self.network, process, parametrisation="eps")
        grid = process.grid(min(steps, len(process.betas)) if steps else None)
        denoise = _at(denoiser, space, scaled(self.spec, mels))
        solver = solver_by_name("ddpm", variance="small")  # the paper's
        return sample(denoise, process, space, solver=solver, grid=grid, noise=noise)


def renderer(denoiser: Denoiser, config: VocoderModelConfig) -> GuidedRenderer | ChainRenderer:
    """The renderer of a model."""
    return (GuidedRenderer if config.chain is None else ChainRenderer)(denoiser, config)


def _white(space: Space, noise: Noise) -> Tensor:
    """Noise of the estimate, apart from that of the process."""
    return noise.white(space, -1, stage=1)


def _at(denoiser: Denoiser, space: Space, condition: object) -> Callable[[Tensor, Tensor], Prediction]:
    def denoise(x: Tensor, t: Tensor) -> Prediction:
        prediction: Prediction = denoiser(x, t, space, condition)
        return prediction

    return denoise
