"""A prepared toy cache, the toy modality registered, and a maker of run configurations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scoregen import modality
from scoregen.training.config import RunConfig, load_config

from .toy import write_cache


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(modality._SHIPPED, "toy", "tests.training.toy:TOY")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cache(tmp_path_factory.mktemp("toy") / "cache")


@pytest.fixture
def configure(tmp_path: Path, cache: Path) -> Callable[..., RunConfig]:
    """``configure("name", data={...}, steps=...)`` writes name.yaml for run tmp_path/name and loads it."""

    def make(name: str, data: dict[str, Any] | None = None, **train: Any) -> RunConfig:
        settings = {"steps": 40, "warmup": 5, "log_every": 1, "eval_every": 10, "checkpoint_every": 7}
        values = {
            "modality": "toy",
            "run": str(tmp_path / name),
            "seed": 3,
            "data": {"cache": str(cache)} | (data or {}),
            "train": settings | {"threads": 1, "device": "cpu"} | train,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values))
        return load_config(path)

    return make
