"""Models on disk: a folder of ``config.json``, ``model.safetensors`` and ``README.md`` (model card).

Weights are safetensors only; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.files import atomic_folder
from scoregen.modality import get_modality
from scoregen.training.config import validate

SCHEMA = 1
PRETRAINED = Path(__file__).parent / "pretrained"
FILES = ("config.json", "model.safetensors", "README.md")


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Args:
        name: what it was asked for as.
        modality: name of its modality.
        config: validated ``model`` section.
        denoiser: the network, in evaluation mode.
        info: provenance and conventions stored with it.
    """

    name: str
    modality: str
    config: Any
    denoiser: Denoiser
    info: dict[str, Any] = field(default_factory=dict)


def save_pretrained(
    folder: str | os.PathLike[str],
    modality: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    info: Mapping[str, Any] | None = None,
    card: str = "",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model folder whole.

    Args:
        folder: where; an existing model there is replaced.
        modality: name of the modality.
        config: JSON-able ``model`` section.
        weights: the denoiser's state dict.
        info: provenance and data conventions, JSON-able.
        card: text of the model card.
        dtype: storage type of floating-point weights.
    """
    content = {"schema": SCHEMA, "modality": modality, "model": dict(config), "info": dict(info or {})}
    stored = {
        name: (value.to(dtype) if value.is_floating_point() else value).cpu().contiguous().clone()
        for name, value in weights.items()
    }
    with atomic_folder(folder) as target:
        (target / "config.json").write_text(json.dumps(content, indent=1, default=str) + "\n")
        save_file(stored, target / "model.safetensors")
        (target / "README.md").write_text(card or f"# {Path(folder).name}\n\nNo model card was written.\n")


def list_pretrained() -> list[str]:
    """Names of the shipped models, sorted."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def find_model(name: str | os.PathLike[str]) -> Path:
    """Folder of a model: a path, a shipped name, or ``owner/name`` on the Hugging Face Hub.

    Raises:
        InputError: nothing there; the message lists the shipped models.
    """
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    if (PRETRAINED / str(name) / "config.json").is_file():
        return PRETRAINED / str(name)
    if path.is_dir():
        raise InputError(
            f"model '{name}': the folder holds no config.json; give a model folder such as run/best"
        )
    if str(name).count("/") == 1 and not str(name).startswith("."):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(str(name), allow_patterns=[*FILES, "*.npy"]))
        except Exception as error:
            raise InputError(
                f"model '{name}': no such folder, and not on the Hugging Face Hub ({type(error).__name__})"
            ) from None
    raise InputError(f"model '{name}' not found; shipped models: {', '.join(list_pretrained()) or 'none'}")


def read_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a model folder, checked for schema and keys.

    Raises:
        InputError: missing, not JSON, another schema, or keys missing or unknown.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"{path}: model schema {SCHEMA} expected; written by another version of scoregen?")
    if set(content) != {"schema", "modality", "model", "info"}:
        raise InputError(
            f"{path}: expected the keys schema, modality, model, info; found {', '.join(content)}"
        )
    return content


def from_pretrained(
    name: str | os.PathLike[str], modality: str | None = None, device: str | torch.device = "cpu"
) -> Model:
    """Load a model.

    Args:
        name: a shipped name, a folder, or ``owner/name`` on the Hugging Face Hub.
        modality: when given, the modality the model must be of.
        device: where the weights go.

    Raises:
        InputError: not found, of another modality, or its files are damaged; the message says which.
    """
    folder = find_model(name)
    content = read_config(folder)
    if modality is not None and content["modality"] != modality:
        raise InputError(f"model '{name}' is of modality '{content['modality']}', need '{modality}'")
    kind = get_modality(content["modality"])
    config = validate(kind.model_config, content["model"], f"{folder}/config.json: model")
    denoiser = kind.build(config)
    path = folder / "model.safetensors"
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged or missing ({error})") from None
    expected = denoiser.state_dict()
    wrong = sorted(set(expected) ^ set(weights))
    wrong += [key for key in expected if key in weights and expected[key].shape != weights[key].shape]
    if wrong:
        raise InputError(f"{path}: {len(wrong)} tensors do not fit config.json, first '{wrong[0]}'")
    denoiser.load_state_dict({key: value.to(expected[key].dtype) for key, value in weights.items()})
    denoiser.eval().requires_grad_(False).to(device)
    return Model(str(name), content["modality"], config, denoiser, content["info"])
