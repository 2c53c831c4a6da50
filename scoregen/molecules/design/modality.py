"""Candidate design, as the rest of the program sees it."""

from __future__ import annotations

from scoregen.modality import Modality

from .objective import CandidateDataConfig, CandidateModelConfig, CandidateTask, build_denoiser

CANDIDATES = Modality(
    name="candidates",
    model_config=CandidateModelConfig,
    data_config=CandidateDataConfig,
    build=build_denoiser,
    task=CandidateTask,
)
