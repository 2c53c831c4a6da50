"""Checkpoints that resume a run exactly: weights, optimiser, average, random state, position.

The folder ``step-00000500/`` appears whole or not at all, so a run killed while saving resumes from the
checkpoint before.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scoregen.core.ema import EMA
from scoregen.files import atomic_folder


@dataclass
class Progress:
    """Where a run stands: optimisation steps done and the best held-out loss."""

    step: int = 0
    best: float = float("inf")


def save_checkpoint(
    run: Path,
    progress: Progress,
    model: dict[str, Tensor],
    ema: EMA,
    optimizer: dict[str, Any],
    keep: int,
) -> Path:
    """Write ``run/step-…`` and remove all but the newest ``keep`` checkpoints."""
    target = run / f"step-{progress.step:08d}"
    with atomic_folder(target) as folder:
        save_file({k: v.contiguous() for k, v in model.items()}, folder / "model.safetensors")
        save_file({k: v.contiguous() for k, v in ema.state_dict().items()}, folder / "ema.safetensors")
        rng = {"rng": torch.get_rng_state(), "cuda_rng": _cuda_rng()}
        torch.save({"optimizer": optimizer, **rng}, folder / "optimizer.pt")
        (folder / "progress.json").write_text(json.dumps(vars(progress)))
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path.parent for path in run.glob("step-*/progress.json"))


def load_checkpoint(folder: Path, ema: EMA, device: torch.device) -> tuple[Progress, dict[str, Tensor], Any]:
    """Restore ``ema`` and the random state; return progress, weights and optimiser state."""
    progress = Progress(**json.loads((folder / "progress.json").read_text()))
    ema.load_state_dict(load_file(folder / "ema.safetensors", device=str(device)))
    state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
    torch.set_rng_state(state["rng"])
    cuda_rng = state.get("cuda_rng", [])
    if cuda_rng and len(cuda_rng) == len(_cuda_rng()):
        torch.cuda.set_rng_state_all(cuda_rng)
    return progress, load_file(folder / "model.safetensors", device=str(device)), state["optimizer"]


def _cuda_rng() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
