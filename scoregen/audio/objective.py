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

from .config import VocoderDataConfig, VocoderModelConfig
from .crops import AudioBatch, Crops
from .guided import Guided
from .losses import log_mel_distance, mr_stft
from .matching import scaled
from .phase import faded
from .previews import Previews
from .spectrum import spectrum_loss

PHASE = 0.3
"""Weight of a log-likelihood of phase differences beside the distance of the magnitudes."""


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
    diffusion model. A share ``on_policy`` of them is the noised estimate instead, from where sampling starts:
    its phases are not those of the recording, so only the multi-resolution STFT and mel losses apply, which
    do not see them.

    With ``matching_weight = spectral_weight = mel_weight = 0`` only magnitudes and phase differences are
    trained.
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
        parts: dict[str, Tensor] = {}
        loss = batch.wave.new_zeros(())
        if data.spectrum_weight:
            heads = network.spectrum.heads(batch.mel)
            parts |= spectrum_loss(network.spectrum, heads, batch.wave)
            told = parts["magnitude"] + PHASE * (parts["across"] + parts["up"])
            loss = loss + data.spectrum_weight * told
        if data.matching_weight or data.spectral_weight or data.mel_weight:
            denoised = self._denoising_losses(denoiser, network, batch, step)
            parts |= denoised
            loss = loss + data.matching_weight * denoised["matching"]
            loss = loss + data.spectral_weight * denoised["spectral"] + data.mel_weight * denoised["mel"]
        return {"loss": loss} | {name: value.detach() for name, value in parts.items()}

    def _denoising_losses(
        self, denoiser: Denoiser, network: Guided, batch: AudioBatch, step: int
    ) -> dict[str, Tensor]:
        space = self.prior.space(batch.mel)
        noise = Noise(self.seed, batch.ids)
        with torch.no_grad():
            cond = network.condition(batch.mel, space)
        # Which crops are on policy rotates with the step.
        count = round(self.data.on_policy * len(batch.ids))
        policy = torch.zeros(len(batch.ids), dtype=torch.bool, device=batch.wave.device)
        policy[(torch.arange(count, device=policy.device) * 2 + abs(step)) % len(policy)] = True
        source = batch.wave
        if count:
            source = batch.wave.clone()
            with torch.no_grad():
                guess, _ = network.estimate(cond.rows(policy), noise.white(space, step, stage=1)[policy])
            source[policy] = faded(guess, self.spec.hop // 2)
        state = noised(denoiser.sde, source, space, times=self.times, noise=noise, step=step)
        prediction = denoiser(state.x, state.t, space, cond)
        matching = denoising_error(prediction, batch.wave, space, state, self.weight)[~policy]
        spectral = mr_stft(prediction.x0, batch.wave)
        mel_error = log_mel_distance(prediction.x0, batch.wave, self.spec.sample_rate)
        parts = {
            "matching": matching.mean() if len(matching) else matching.new_zeros(()),
            "spectral": spectral.mean(),
            "mel": mel_error.mean(),
        }
        if count:
            parts["spectral_policy"], parts["mel_policy"] = spectral[policy].mean(), mel_error[policy].mean()
        return parts

    def provenance(self) -> dict[str, Any]:
        """Data conventions, speakers and counts."""
        return self.crops.provenance()
