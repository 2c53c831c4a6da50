"""The audio plugin, as the rest of the program sees it."""

from __future__ import annotations

from scoregen.modality import Modality

from .config import VocoderDataConfig, VocoderModelConfig, build_denoiser
from .objective import VocoderTask

AUDIO = Modality(
    name="audio",
    model_config=VocoderModelConfig,
    data_config=VocoderDataConfig,
    build=build_denoiser,
    task=VocoderTask,
)
