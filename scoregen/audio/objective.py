"""Training side of the vocoder: the losses of crops from a prepared cache. No soundfile here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scoregen.core.denoiser import Denoiser
from scoregen.core.losses import denoising_error, noised
from scoregen.core.noise import Noise
from scoregen.core.sde import SDE
from scoregen.core.weighting import EDMWeight, LogNormalTimes
from scoregen.training.previews import Picture, Sound

from . import heap
from .config import VocoderDataConfig, VocoderModelConfig
from .crops import AudioBatch, Crops
from .estimate import estimate, magnitude_loss, scaled
from .guided import Condition, Guided
from .losses import mr_stft
from .mel import aligned
from .phase import analyse, faded, outer, synthesise
from .previews import Previews

# Stages of the keyed noise within a step, beside 0 for the diffusion noise.
_PHASES = 1


@dataclass(frozen=True)
class ChainTimes:
    """Levels between those of a DDPM chain (WaveGrad, algorithm 1): a step at random, √ᾱ uniform between its
    ends. In the time of :class:`scoregen.core.ddpm.DDPM` that is uniform over the whole chain."""

    def __call__(self, uniform: Tensor, sde: SDE) -> Tensor:
        """``(B,)`` uniforms in (0, 1] to ``(B,)`` float64 times."""
        return uniform.to(torch.float64) * sde.t_max


class VocoderTask:
    """Denoising of crops (see :class:`scoregen.modality.Task`).

    A model with a chain is trained as WaveGrad was: mean absolute error of the predicted noise (section 3).
    The others by denoising score matching with spectral losses: most crops are noised clean speech, as in any
    diffusion model. A share ``on_policy`` of them is the noised Griffin-Lim estimate instead, from where
    sampling starts: its phases are not those of the recording, so only the multi-resolution STFT and mel
    losses apply, which do not see them.

    With ``matching_weight = spectral_weight = mel_weight = 0`` only the magnitude network is trained.
    """

    def __init__(self, model: VocoderModelConfig, data: VocoderDataConfig, seed: int):
        self.model, self.data, self.seed = model, data, seed
        self.spec, self.prior = model.spec(), model.make_prior()
        self.crops = Crops(self.spec, data, seed)
        self.times = LogNormalTimes(data.log_sigma_mean, data.log_sigma_std)
        self.weight = EDMWeight(1.0)
        self.shown = Previews(self.crops.cache, model)

    def batch(self, step: int) -> AudioBatch:
        """The batch of a training step, a pure function of (seed, step)."""
        return self.crops.batch(step)

    def dev_batches(self) -> list[AudioBatch]:
        """Fixed crops of held-out clips."""
        return self.crops.dev_batches()

    def previews(self, denoiser: Denoiser) -> list[Sound | Picture]:
        """Held-out clips and what the model makes of their mels."""
        return self.shown(denoiser)

    def loss(self, denoiser: Denoiser, batch: AudioBatch, step: int) -> dict[str, Tensor]:
        """Loss of a batch, and its parts."""
        if self.model.chain is not None:
            return {"loss": self._noise_error(denoiser, batch, step)}
        return self._guided_loss(denoiser, batch, step)

    def _noise_error(self, denoiser: Denoiser, batch: AudioBatch, step: int) -> Tensor:
        space = self.prior.space(batch.mel)
        noise = Noise(self.seed, batch.ids)
        state = noised(denoiser.sde, batch.wave, space, times=ChainTimes(), noise=noise, step=step)
        prediction = denoiser(state.x, state.t, space, scaled(self.spec, batch.mel))
        drawn = noise.normal(space, step).to(state.x)
        return space.whiten(prediction.eps - drawn).abs().mean()

    def _guided_loss(self, denoiser: Denoiser, batch: AudioBatch, step: int) -> dict[str, Tensor]:
        network, data = denoiser.network, self.data
        assert isinstance(network, Guided)
        space = self.prior.space(batch.mel)
        noise = Noise(self.seed, batch.ids)
        with torch.set_grad_enabled(torch.is_grad_enabled() and data.magnitude_weight > 0):
            cond, log_magnitude = network.condition(batch.mel, space)
            magnitude = magnitude_loss(self.spec, log_magnitude, batch.wave)
            slope = self._slope_error(cond, log_magnitude, batch.wave)
        fixed = data.magnitude_weight * magnitude + data.slope_weight * slope
        parts = {"magnitude": magnitude.detach()} | ({} if cond.slopes is None else {"slope": slope.detach()})
        if data.matching_weight == data.spectral_weight == data.mel_weight == 0:
            return {"loss": fixed, **parts}

        # Which crops are on policy rotates with the step.
        count = round(data.on_policy * len(batch.ids))
        policy = torch.zeros(len(batch.ids), dtype=torch.bool, device=batch.wave.device)
        policy[(torch.arange(count, device=policy.device) * 2 + abs(step)) % len(policy)] = True
        source = batch.wave
        if count:
            source = batch.wave.clone()
            with torch.no_grad():
                source[policy] = self._guess(cond, noise.white(space, step, stage=_PHASES), policy)
        state = noised(denoiser.sde, source, space, times=self.times, noise=noise, step=step)
        prediction = denoiser(state.x, state.t, space, cond)
        matching = denoising_error(prediction, batch.wave, space, state, self.weight)
        spectral = mr_stft(prediction.x0, batch.wave)
        frames = batch.mel.shape[-1]
        mel_error = aligned(self.spec, self.spec(prediction.x0), frames) - batch.mel
        # The outermost frames see the reflected edges of the crop.
        mel_distance = mel_error[..., 2:-2].abs().mean()
        clean = ~policy
        matching_mean = matching[clean].mean() if bool(clean.any()) else matching.new_zeros(())
        values = {
            "loss": data.matching_weight * matching_mean
            + data.spectral_weight * spectral.mean()
            + data.mel_weight * mel_distance
            + fixed,
            "matching": matching_mean,
            "spectral": spectral.mean(),
            "mel": mel_distance,
            **parts,
        }
        if count:
            values["spectral_policy"] = spectral[policy].mean()
        return {name: value if name == "loss" else value.detach() for name, value in values.items()}

    def _slope_error(self, cond: Condition, log_magnitude: Tensor, wave: Tensor) -> Tensor:
        """Error of the phase slopes, 1 for slopes at random; the outermost frames see the crop's edges."""
        if cond.slopes is None:
            return log_magnitude.new_zeros(())
        per_frame, per_bin = heap.slopes(self.spec, log_magnitude.detach())
        inner = slice(2, -2)
        spectrum = analyse(self.spec, wave)[..., 1:-1][..., inner]
        across, up = per_frame + cond.slopes[:, 0], per_bin + cond.slopes[:, 1]
        return heap.slope_loss(spectrum, across[..., inner], up[..., inner])

    def _guess(self, cond: Condition, white: Tensor, rows: Tensor) -> Tensor:
        """The classical estimate of some crops, by a few iterations: from where sampling starts."""
        magnitude, first = cond.magnitude[rows], white[rows]
        if self.model.phases == "heap":
            slopes = None if cond.slopes is None else cond.slopes[rows]
            phases = heap.phases(self.spec, magnitude, correction=slopes)
            first = synthesise(self.spec, outer(torch.polar(magnitude, phases)))
        iterations = self.data.on_policy_iterations
        guess = estimate(self.spec, magnitude, cond.target[rows], first, rounds=1, iterations=iterations)
        return faded(guess, self.spec.hop // 2)

    def provenance(self) -> dict[str, Any]:
        """Data conventions, speakers and counts."""
        return self.crops.provenance()
