"""The configuration of a training run: YAML in, pydantic out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scoregen.errors import InputError
from scoregen.modality import Modality, get_modality

CONFIGS = Path(__file__).parents[1] / "configs"
"""Configurations that come with the package."""


class Strict(BaseModel):
    """Base of configuration sections: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class TrainConfig(Strict):
    """The ``train:`` section: optimisation, logging and checkpoints."""

    steps: int = Field(10_000, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup: int = Field(500, ge=0, description="steps of linear warm-up")
    decay: float = Field(0.3, ge=0, le=1, description="last fraction of steps with cosine decay to zero")
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.999, ge=0, lt=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    threads: int = Field(0, ge=0, description="CPU threads; 0 leaves PyTorch's choice")
    workers: int = Field(0, ge=0, description="data-loading processes; 0 loads in the training process")
    log_every: int = Field(20, ge=1)
    eval_every: int = Field(1000, ge=1)
    previews: bool = Field(True, description="sounds and pictures in TensorBoard at every evaluation")
    checkpoint_every: int = Field(500, ge=1)
    keep: int = Field(2, ge=1, description="checkpoints kept")


class RunConfig(Strict):
    """A whole training run."""

    modality: str
    run: Path = Field(description="folder of the run")
    seed: int = 0
    init: str | None = Field(None, description="model to start from: a name or a folder (fine-tuning)")
    model: dict[str, Any] = {}
    data: dict[str, Any] = {}
    train: TrainConfig = TrainConfig()

    def resolve(self) -> tuple[Modality, Any, Any]:
        """The modality and its validated model and data sections.

        Raises:
            InputError: a section does not fit; one line a fault.
        """
        modality = get_modality(self.modality)
        return (
            modality,
            validate(modality.model_config, self.model, "model"),
            validate(modality.data_config, self.data, "data"),
        )


def validate(kind: type[BaseModel], values: Any, where: str) -> Any:
    """``values`` as a ``kind``.

    Raises:
        InputError: naming each key at fault under ``where`` and what is wrong with it.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = [
            ".".join([where, *(str(part) for part in fault["loc"])]).lstrip(".") + f": {fault['msg']}"
            for fault in error.errors()
        ]
        raise InputError("; ".join(faults)) from None


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML (a path or a shipped name) and apply ``KEY=VALUE`` overrides.

    Keys are dotted (``train.steps``), values are YAML.

    Raises:
        InputError: file missing, not YAML, a bad override, or values that do not fit.
    """
    shipped = CONFIGS / f"{path}.yaml"
    source = shipped if shipped.is_file() and not Path(path).exists() else Path(path)
    try:
        values = yaml.safe_load(source.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping with the keys modality, run, model, data, train")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"--set {override}: expected KEY=VALUE, for example train.steps=2000")
        section = values
        *parents, last = key.split(".")
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise InputError(f"--set {override}: '{parent}' is not a section")
        try:
            section[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {override}: the value of {key} is not valid YAML") from None
    config: RunConfig = validate(RunConfig, values, "")
    return config
