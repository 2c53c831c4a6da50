"""The molecules plugin, as the rest of the program sees it."""

from __future__ import annotations

from scoregen.modality import Modality

from .objective import ConformerDataConfig, ConformerModelConfig, ConformerTask, build_denoiser

MOLECULES = Modality(
    name="molecules",
    model_config=ConformerModelConfig,
    data_config=ConformerDataConfig,
    build=build_denoiser,
    task=ConformerTask,
)
