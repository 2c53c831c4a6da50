"""Training side of the vocoder: crops from a prepared cache, and their loss. No soundfile here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scoregen.core.denoiser import Denoiser
from scoregen.core.losses import denoising_error, noised
from scoregen.core.noise import Noise
from scoregen.core.sde import EDM
from scoregen.core.weighting import EDMWeight, LogNormalTimes
from scoregen.errors import InputError
from scoregen.training.cache import Cache
from scoregen.training.config import Strict

from .estimate import estimate, magnitude_loss
from .frames import FrameNet, FrameNetConfig
from .guided import Guided
from .losses import mr_stft
from .mel import MelSpec, aligned
from .phase import faded
from .prior import Prior
from .wavegrad import WaveGrad, WaveGradConfig

# Stream of the keyed generator that picks crops.
_PICK = 1
# Stages of the keyed noise within a step, beside 0 for the diffusion noise.
_PHASES = 1


class PriorConfig(Strict):
    """Shape of the noise; see :class:`scoregen.audio.prior.Prior`."""

    kind: Literal["spectral", "energy", "identity"] = "spectral"
    floor: float = Field(1e-5, gt=0)
    gains: tuple[float, ...] = (1.0,)


class WaveNetworkConfig(Strict):
    """Sizes of a WaveGrad; see :class:`scoregen.audio.wavegrad.WaveGradConfig`."""

    kind: Literal["wavegrad"] = "wavegrad"
    factors: tuple[int, ...] = (4, 4)
    patch: int = 16
    frame: int = 192
    up: tuple[int, ...] = (192, 96)
    down: tuple[int, ...] = (64, 96)
    up_dilations: tuple[tuple[int, int, int, int], ...] = ((1, 2, 4, 8), (1, 2, 4, 8))
    down_dilations: tuple[int, int, int] = (1, 2, 4)
    whiten: bool = True


class FrameNetworkConfig(Strict):
    """Sizes of a frame-rate network; see :class:`scoregen.audio.frames.FrameNetConfig`."""

    kind: Literal["frames"]
    width: int = 256
    layers: int = 6
    kernel: int = 7
    expansion: int = 3


class VocoderModelConfig(Strict):
    """The ``model:`` section of a vocoder."""

    mel: str | dict[str, Any] = Field("hifigan-22k", description="preset name or a full MelSpec")
    prior: PriorConfig = PriorConfig()
    network: WaveNetworkConfig | FrameNetworkConfig = WaveNetworkConfig()
    magnitude_width: int = Field(256, ge=1)
    trust: float = Field(0.3, gt=0, description="floor of the estimated magnitudes in the Wiener filter")
    sigma_min: float = Field(0.01, gt=0)
    sigma_max: float = Field(20.0, gt=0)
    iterations: int = Field(8, ge=0, description="Griffin-Lim iterations in each network call")
    blend: float = Field(0.02, gt=0, description="noise level at which filter and Griffin-Lim weigh the same")
    init: Literal["noise", "griffinlim"] = Field("griffinlim", description="where the reverse process starts")
    start: float = Field(0.1, gt=0, description="noise level it starts at")

    def spec(self) -> MelSpec:
        """The mel convention."""
        return MelSpec.preset(self.mel) if isinstance(self.mel, str) else MelSpec.from_dict(self.mel)

    def make_prior(self) -> Prior:
        """The noise shape."""
        return Prior.from_dict(self.spec(), self.prior.model_dump())


class VocoderDataConfig(Strict):
    """The ``data:`` section: crops, noise levels and weights of the losses."""

    cache: Path
    frames: int = Field(64, ge=16, description="crop length in mel frames")
    batch: int = Field(4, ge=2)
    log_sigma_mean: float = -1.6
    log_sigma_std: float = Field(0.9, gt=0)
    on_policy: float = Field(0.5, ge=0, le=1, description="share of crops noised from the estimate")
    on_policy_iterations: int = Field(10, ge=0)
    matching_weight: float = Field(1.0, ge=0)
    spectral_weight: float = Field(1.0, ge=0)
    mel_weight: float = Field(0.0, ge=0, description="of the log-mel distance, which phases do not enter")
    magnitude_weight: float = Field(1.0, ge=0, description="0 leaves the magnitude network as it is")
    dev_batches: int = Field(6, ge=1)


def build_denoiser(config: VocoderModelConfig) -> Denoiser:
    """A denoiser with fresh weights.

    Raises:
        InputError: the factors and the patch do not make up the hop.
    """
    spec = config.spec()
    network = Guided(
        spec, _correction(spec, config), config.magnitude_width, config.trust, config.iterations, config.blend
    )
    # Calibrated priors whiten speech to a standard deviation of 1.
    return Denoiser(network, EDM(config.sigma_min, config.sigma_max), sigma_data=1.0)


def _correction(spec: MelSpec, config: VocoderModelConfig) -> WaveGrad | FrameNet:
    sizes = config.network.model_dump(exclude={"kind"})
    if isinstance(config.network, FrameNetworkConfig):
        return FrameNet(spec, FrameNetConfig(**sizes))
    wavegrad = WaveGradConfig(n_mels=spec.n_mels, **sizes)
    if wavegrad.hop != spec.hop:
        raise InputError(
            f"model.network: factors {wavegrad.factors} times patch {wavegrad.patch} make {wavegrad.hop},"
            f" but '{spec.name}' has a hop of {spec.hop}"
        )
    return WaveGrad(wavegrad, extra=2)


@dataclass(frozen=True)
class AudioBatch:
    """Crops, their aligned log-mels, and the keys of their noise.

    Attributes:
        wave: ``(B, F * hop)``, faded at both ends.
        mel: ``(B, n_mels, F)``.
        ids: int64 ``(B,)``.
    """

    wave: Tensor
    mel: Tensor
    ids: Tensor

    def to(self, device: torch.device | str) -> AudioBatch:
        """The batch on another device."""
        return AudioBatch(self.wave.to(device), self.mel.to(device), self.ids.to(device))


class VocoderTask:
    """Denoising score matching on crops, with a spectral loss (see :class:`scoregen.modality.Task`).

    Most crops are noised clean speech, as in any diffusion model. A share ``on_policy`` of them is the noised
    Griffin-Lim estimate instead, from where sampling starts: its phases are not those of the recording,
    so only the multi-resolution STFT loss applies, which does not see them.

    With ``matching_weight = spectral_weight = mel_weight = 0`` only the magnitude network is trained.
    """

    def __init__(self, model: VocoderModelConfig, data: VocoderDataConfig, seed: int):
        self.model, self.data, self.seed = model, data, seed
        self.spec, self.prior = model.spec(), model.make_prior()
        self.cache = Cache(data.cache, "audio")
        if self.cache.info["spec"] != self.spec.to_dict():
            name = self.cache.info["spec"].get("name")
            raise InputError(
                f"{data.cache}: prepared for '{name}', the model wants '{self.spec.name}'; prepare it again"
            )
        lengths = self.cache.lengths("wave") // self.spec.hop
        self.records: dict[str, np.ndarray] = {}
        self.shares: dict[str, np.ndarray] = {}
        for split in ("train", "dev"):
            records = self.cache.select(split=split)
            records = records[lengths[records] >= data.frames]
            self.records[split] = records
            self.shares[split] = np.cumsum(lengths[records] / max(1, lengths[records].sum()))
        if not len(self.records["train"]):
            raise InputError(f"{data.cache}: no training clip of at least {data.frames} frames")
        self.frames = lengths
        self.times = LogNormalTimes(data.log_sigma_mean, data.log_sigma_std)
        self.weight = EDMWeight(1.0)

    def batch(self, step: int) -> AudioBatch:
        """The batch of a training step, a pure function of (seed, step)."""
        return self._crops("train", np.random.default_rng((_PICK, self.seed, step)))

    def dev_batches(self) -> list[AudioBatch]:
        """Fixed crops of held-out clips."""
        if not len(self.records["dev"]):
            return []
        rng = np.random.default_rng((_PICK, 0, 0))
        return [self._crops("dev", rng) for _ in range(self.data.dev_batches)]

    def _crops(self, split: str, rng: np.random.Generator) -> AudioBatch:
        hop, frames = self.spec.hop, self.data.frames
        margin = -(-self.spec.n_fft // hop)
        waves, mels, ids = [], [], []
        for _ in range(self.data.batch):
            place = int(np.searchsorted(self.shares[split], rng.random()))
            record = int(self.records[split][min(place, len(self.records[split]) - 1)])
            first = int(rng.integers(self.frames[record] - frames + 1))
            # The mel of the crop comes from a longer piece, so its edge frames see the true neighbours.
            low = max(0, first - margin)
            piece = self.cache[record]["wave"][low * hop : (first + frames + margin) * hop]
            wave = torch.from_numpy(piece.astype(np.float32) / 32767)
            wave = wave[: len(wave) // hop * hop]
            mel = aligned(self.spec, self.spec(wave), len(wave) // hop)
            mels.append(mel[:, first - low : first - low + frames])
            waves.append(wave[(first - low) * hop : (first - low + frames) * hop])
            ids.append(record * 2**32 + first)
        wave = faded(torch.stack(waves), hop // 2)
        return AudioBatch(wave, torch.stack(mels), torch.tensor(ids))

    def loss(self, denoiser: Denoiser, batch: AudioBatch, step: int) -> dict[str, Tensor]:
        """Score matching, spectral and magnitude losses of a batch."""
        network, data = denoiser.network, self.data
        assert isinstance(network, Guided)
        space = self.prior.space(batch.mel)
        noise = Noise(self.seed, batch.ids)
        with torch.set_grad_enabled(torch.is_grad_enabled() and data.magnitude_weight > 0):
            cond, log_magnitude = network.condition(batch.mel, space)
            magnitude = magnitude_loss(self.spec, log_magnitude, batch.wave)
        if data.matching_weight == data.spectral_weight == data.mel_weight == 0:
            return {"loss": data.magnitude_weight * magnitude, "magnitude": magnitude.detach()}

        # Which crops are on policy rotates with the step.
        count = round(data.on_policy * len(batch.ids))
        policy = torch.zeros(len(batch.ids), dtype=torch.bool, device=batch.wave.device)
        policy[(torch.arange(count, device=policy.device) * 2 + abs(step)) % len(policy)] = True
        source = batch.wave
        if count:
            source = batch.wave.clone()
            with torch.no_grad():
                white = noise.white(space, step, stage=_PHASES)[policy]
                guess = estimate(
                    self.spec,
                    cond.magnitude[policy],
                    cond.target[policy],
                    white,
                    rounds=1,
                    iterations=data.on_policy_iterations,
                )
                source[policy] = faded(guess, self.spec.hop // 2)
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
            + data.magnitude_weight * magnitude,
            "matching": matching_mean,
            "spectral": spectral.mean(),
            "mel": mel_distance,
            "magnitude": magnitude,
        }
        if count:
            values["spectral_policy"] = spectral[policy].mean()
        return {name: value if name == "loss" else value.detach() for name, value in values.items()}

    def provenance(self) -> dict[str, Any]:
        """Data conventions, speakers and counts."""
        hours = sum(self.frames[self.records["train"]]) * self.spec.hop / self.spec.sample_rate / 3600
        return {
            "mel": self.spec.to_dict(),
            "level_db": self.cache.info["level_db"],
            "speakers": self.cache.info["speakers"],
            "held_out_speakers": self.cache.info["held_out_speakers"],
            "training_clips": len(self.records["train"]),
            "training_hours": round(float(hours), 3),
        }
