"""The audio plugin, as the rest of the program sees it."""

from __future__ import annotations

from scoregen.modality import Modality

from .objective import VocoderDataConfig, VocoderModelConfig, VocoderTask, build_denoiser

AUDIO = Modality(
    name="audio",
    model_config=VocoderModelConfig,
    data_config=VocoderDataConfig,
    build=build_denoiser,
    task=VocoderTask,
)
