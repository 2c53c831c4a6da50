"""Sections of a vocoder's configuration, and the denoiser that they describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from scoregen.core.ddpm import DDPM, linear_betas
from scoregen.core.denoiser import Denoiser
from scoregen.core.sde import EDM
from scoregen.errors import InputError
from scoregen.training.config import Strict

from .frames import FrameNet, FrameNetConfig
from .guided import Guided
from .mel import MelSpec
from .prior import Prior
from .spectrum import SpectrumConfig
from .wavegrad import WaveGrad, WaveGradConfig


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


class SpectrumNetworkConfig(Strict):
    """Sizes of what tells magnitudes and phase differences; see
    :class:`scoregen.audio.spectrum.SpectrumConfig`."""

    width: int = 320
    layers: int = 6
    kernel: int = 5
    expansion: int = 3
    finer: int = 2
    bins: int = 256


class ChainConfig(Strict):
    """The DDPM chain of WaveGrad (Chen et al. 2021): β evenly spaced, and schedules of few steps found since.

    The defaults are the training schedule of the paper's base model.
    """

    steps: int = Field(1000, ge=1)
    first: float = Field(1e-6, gt=0, lt=1)
    last: float = Field(0.01, gt=0, lt=1)
    schedules: dict[int, tuple[float, ...]] = Field(
        {}, description="β of schedules for inference, by their number of steps"
    )

    @field_validator("schedules")
    @classmethod
    def _complete(cls, schedules: dict[int, tuple[float, ...]]) -> dict[int, tuple[float, ...]]:
        for steps, betas in schedules.items():
            if len(betas) != steps or not all(0 < beta < 1 for beta in betas):
                raise ValueError(f"a schedule of {steps} steps needs {steps} values between 0 and 1")
        return schedules

    def process(self) -> DDPM:
        """The chain that is trained on."""
        return DDPM(linear_betas(self.steps, self.first, self.last))


class VocoderModelConfig(Strict):
    """The ``model:`` section of a vocoder.

    With ``chain`` it is the WaveGrad of the paper: a network alone, which predicts the noise of a DDPM chain.
    Without it the network corrects a classical denoiser (:mod:`scoregen.audio.guided`), with EDM's levels and
    preconditioning; what comes after ``chain`` is of that kind only.
    """

    mel: str | dict[str, Any] = Field("hifigan-22k", description="preset name or a full MelSpec")
    prior: PriorConfig = PriorConfig()
    network: WaveNetworkConfig | FrameNetworkConfig | None = None
    chain: ChainConfig | None = None
    spectrum: SpectrumNetworkConfig = SpectrumNetworkConfig()
    trust: float = Field(0.3, gt=0, description="floor of the estimated magnitudes in the Wiener filter")
    sigma_min: float = Field(0.01, gt=0)
    sigma_max: float = Field(20.0, gt=0)
    rounds: int = Field(20, ge=0, description="of the power method, in the estimate from the mel alone")
    iterations: int = Field(8, ge=0, description="of the power method, in each network call")
    blend: float = Field(
        0.05, gt=0, description="noise level at which filter and phases found weigh the same"
    )
    init: Literal["noise", "estimate"] = Field("estimate", description="where the reverse process starts")
    start: float = Field(0.1, gt=0, description="noise level it starts at")

    def spec(self) -> MelSpec:
        """The mel convention."""
        return MelSpec.preset(self.mel) if isinstance(self.mel, str) else MelSpec.from_dict(self.mel)

    def make_prior(self) -> Prior:
        """The noise shape."""
        return Prior.from_dict(self.spec(), self.prior.model_dump())


class VocoderDataConfig(Strict):
    """The ``data:`` section: crops, noise levels and weights of the losses.

    Models with a chain use ``cache``, ``frames``, ``batch`` and ``dev_batches`` alone.
    """

    cache: Path
    frames: int = Field(64, ge=16, description="crop length in mel frames")
    batch: int = Field(4, ge=2)
    log_sigma_mean: float = -1.6
    log_sigma_std: float = Field(0.9, gt=0)
    on_policy: float = Field(0.5, ge=0, le=1, description="share of crops noised from the estimate")
    matching_weight: float = Field(1.0, ge=0)
    spectral_weight: float = Field(1.0, ge=0)
    mel_weight: float = Field(0.0, ge=0, description="of the log-mel distance, which phases do not enter")
    spectrum_weight: float = Field(
        0.0, ge=0, description="of magnitudes and phase differences; 0 leaves them"
    )
    speeds: tuple[float, ...] = Field((), description="half the crops are resampled by one of these factors")
    dev_batches: int = Field(6, ge=1)


def build_denoiser(config: VocoderModelConfig) -> Denoiser:
    """A denoiser with fresh weights.

    Raises:
        InputError: the factors and the patch do not make up the hop; a chain with another network than a
            WaveGrad, or a WaveGrad without a chain.
    """
    spec = config.spec()
    if config.chain is not None:
        if not isinstance(config.network, WaveNetworkConfig):
            raise InputError("model.chain: goes with a network of kind wavegrad")
        network = _wavegrad(spec, config.network)
        return Denoiser(network, config.chain.process(), parametrisation="eps")
    correction: FrameNet | None = None
    if isinstance(config.network, FrameNetworkConfig):
        correction = FrameNet(spec, FrameNetConfig(**config.network.model_dump(exclude={"kind"})))
    elif config.network is not None:
        raise InputError("model.network: a WaveGrad goes with model.chain")
    sizes = (config.trust, config.rounds, config.iterations, config.blend)
    guided = Guided(spec, SpectrumConfig(**config.spectrum.model_dump()), correction, *sizes)
    # Calibrated priors whiten speech to a standard deviation of 1.
    return Denoiser(guided, EDM(config.sigma_min, config.sigma_max), sigma_data=1.0)


def _wavegrad(spec: MelSpec, config: WaveNetworkConfig) -> WaveGrad:
    sizes = WaveGradConfig(n_mels=spec.n_mels, **config.model_dump(exclude={"kind"}))
    if sizes.hop != spec.hop:
        raise InputError(
            f"model.network: factors {sizes.factors} times patch {sizes.patch} make {sizes.hop},"
            f" but '{spec.name}' has a hop of {spec.hop}"
        )
    return WaveGrad(sizes)
