"""Model folders: a round trip, and one clear line for everything that can be wrong with one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scoregen import hub, modality
from scoregen.errors import InputError
from scoregen.hub import find_model, from_pretrained, list_pretrained, save_pretrained

from .training.toy import ModelConfig, build

CONFIG = {"width": 8, "dropout": 0.0}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(modality._SHIPPED, "toy", "tests.training.toy:TOY")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    denoiser = build(ModelConfig(**CONFIG))
    save_pretrained(
        tmp_path / "model", "toy", CONFIG, denoiser.state_dict(), {"source": "square"}, "# Card\n"
    )
    return tmp_path / "model"


def test_round_trip(folder: Path) -> None:
    torch.manual_seed(0)
    expected = build(ModelConfig(**CONFIG)).state_dict()
    model = from_pretrained(folder, "toy")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (model.modality, model.info, model.config) == ("toy", {"source": "square"}, ModelConfig(**CONFIG))
    assert all(torch.equal(value, expected[name]) for name, value in model.denoiser.state_dict().items())
    assert not model.denoiser.training
    assert not any(p.requires_grad for p in model.denoiser.parameters())
    assert (folder / "README.md").read_text() == "# Card\n"


def test_half_precision_storage(tmp_path: Path) -> None:
    weights = build(ModelConfig(**CONFIG)).state_dict()
    save_pretrained(tmp_path / "half", "toy", CONFIG, weights, dtype=torch.float16)
    assert {v.dtype for v in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.float16}
    loaded = from_pretrained(tmp_path / "half").denoiser.state_dict()
    for name, value in weights.items():
        assert loaded[name].dtype == torch.float32
        torch.testing.assert_close(loaded[name], value, rtol=1e-3, atol=1e-4)


def edit(folder: Path, **changes) -> None:
    content = json.loads((folder / "config.json").read_text())
    content.update(changes)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def garbage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x04" + b"not safetensors" * 20)


def reshape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: torch.zeros(1)}, folder / "model.safetensors")


def rename(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file({("extra" if k == name else k): v for k, v in weights.items()}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: damaged or missing"),
        (truncate, "model.safetensors: damaged or missing"),
        (garbage, "model.safetensors: damaged or missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors: damaged or missing"),
        (reshape, "1 tensors do not fit config.json"),
        (rename, "2 tensors do not fit config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{"), "config.json: not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "model schema 1 expected"),
        (lambda f: edit(f, schema=2), "model schema 1 expected"),
        (lambda f: edit(f, extra=1), "expected the keys schema, modality, model, info"),
        (lambda f: edit(f, info=None), "expected the keys schema, modality, model, info"),
        (lambda f: edit(f, modality="video"), "unknown modality 'video'"),
        (lambda f: edit(f, model={"width": 8, "depth": 2}), r"model\.depth: Extra inputs"),
        (lambda f: edit(f, model={"width": "wide"}), r"model\.width: "),
        (lambda f: edit(f, model={"width": 9}), "tensors do not fit config.json"),
    ],
)
def test_damaged_models(folder: Path, damage, reason: str) -> None:
    damage(folder)
    with pytest.raises(InputError, match=reason) as caught:
        from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value) or "modality" in str(caught.value)


def test_another_modality_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="of modality 'toy', need 'audio'"):
        from_pretrained(folder, "audio")


def test_models_are_found_by_shipped_name(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(hub, "PRETRAINED", folder.parent)
    assert list_pretrained() == ["model"]
    assert find_model("model") == folder
    with pytest.raises(InputError, match="model 'modle' not found; shipped models: model"):
        find_model("modle")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json; give a model folder such as run/best"):
        find_model(tmp_path)


def test_hub_names_are_fetched_without_pickles(folder: Path, monkeypatch) -> None:
    asked = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert from_pretrained("owner/name").modality == "toy"
    assert asked == {"owner/name": ["config.json", "model.safetensors", "README.md", "*.npy"]}


def test_an_unreachable_hub_is_one_line(monkeypatch) -> None:
    def download(name: str, allow_patterns: list[str]) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(
        InputError, match="model 'owner/name': no such folder, and not on the Hugging Face Hub"
    ):
        from_pretrained("owner/name")
