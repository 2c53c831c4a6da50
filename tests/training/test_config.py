"""YAML to a validated run: overrides, and errors that name the key."""

from pathlib import Path

import pytest
import yaml

from scoregen.errors import InputError
from scoregen.training.config import CONFIGS, load_config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    values = {
        "modality": "toy",
        "run": "runs/a",
        "data": {"cache": "cache"},
        "train": {"steps": 10, "learning_rate": 0.1},
    }
    target = tmp_path / "run.yaml"
    target.write_text(yaml.safe_dump(values))
    return target


def test_values_and_defaults(path: Path) -> None:
    config = load_config(path)
    assert (config.modality, config.run, config.seed) == ("toy", Path("runs/a"), 0)
    assert (config.train.steps, config.train.learning_rate, config.train.clip) == (10, 0.1, 1.0)
    modality, model, data = config.resolve()
    assert modality.name == "toy"
    assert (model.width, data.cache) == (16, Path("cache"))


def test_overrides_are_yaml_with_dotted_keys(path: Path) -> None:
    config = load_config(
        path,
        ["train.steps=20", "seed=7", "model.width=32", "train.betas=[0.8, 0.95]", "init=null", "run=x=y"],
    )
    assert (config.train.steps, config.seed, config.model["width"]) == (20, 7, 32)
    assert config.train.betas == (0.8, 0.95)
    assert config.run == Path("x=y")
    assert config.train.learning_rate == 0.1


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.steps", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("seed.a=3", "'seed' is not a section"),
        ("train.stepps=3", r"train\.stepps: Extra inputs"),
        ("train.steps=many", r"train\.steps: "),
        ("train.steps=0", r"train\.steps: .*greater than or equal to 1"),
        ("train.ema=1.0", r"train\.ema: "),
        ("train.device=tpu", r"train\.device: "),
        ("nonsense=1", "nonsense: Extra inputs"),
    ],
)
def test_bad_overrides_name_the_key(path: Path, override: str, reason: str) -> None:
    path.write_text(path.read_text() + "seed: 1\n")
    with pytest.raises(InputError, match=reason):
        load_config(path, [override])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not valid YAML"),
        ("- 1\n- 2\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("run: x\n", "modality: Field required"),
    ],
)
def test_bad_files(path: Path, text: str, reason: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        load_config(path)


def test_a_bad_override_value_is_not_a_traceback(path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.steps"):
        load_config(path, ["train.steps=[1"])


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such configuration file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=str(tmp_path)):
        load_config(tmp_path)


def test_sections_are_checked_against_their_modality(path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.depth: Extra inputs"):
        load_config(path, ["model.depth=3"]).resolve()
    with pytest.raises(InputError, match=r"data\.batch: "):
        load_config(path, ["data.batch=big"]).resolve()
    with pytest.raises(InputError, match=r"unknown modality 'video'; known: .*audio"):
        load_config(path, ["modality=video"]).resolve()


def test_unsafe_yaml_is_not_run(path: Path) -> None:
    path.write_text("modality: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_shipped_configurations_are_found_by_name_and_valid(name):
    config = load_config(name, ["run=elsewhere"])
    modality, model, _ = config.resolve()
    assert modality.name == config.modality and str(config.run) == "elsewhere"
    assert model == modality.model_config.model_validate(config.model)
