"""Fine-tuning on one's own SDF: a usable folder, honest figures, clear refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem

from scoregen.errors import InputError
from scoregen.hub import from_pretrained, save_pretrained
from scoregen.molecules.conformers import ConformerGenerator, Settings
from scoregen.molecules.finetune import (
    REPLAY,
    Finetuned,
    FinetuneSettings,
    _mix,
    _prepare,
    _prepared,
    finetune,
)
from scoregen.molecules.objective import ConformerModelConfig
from scoregen.molecules.prepare import prepare_molecules
from scoregen.training.cache import Cache

from .helpers import small_model
from .samples import DATA

SAMPLE = DATA / "conformer_benchmark_sample.sdf.gz"
QM9 = DATA / "qm9_xtb_sample.sdf"


def tiny_model(folder: Path, info: dict[str, Any] | None = None, shift: float = 0.0) -> Path:
    """A model folder of the shipped kind, two layers, with random weights."""
    denoiser = small_model()
    weights = {name: value + shift for name, value in denoiser.state_dict().items()}
    config = ConformerModelConfig(network=denoiser.network.config)
    save_pretrained(folder, "molecules", config.model_dump(mode="json"), weights, info)
    return folder


def quick(model: Path, **changes: object) -> FinetuneSettings:
    values = {"steps": 20, "learning_rate": 3e-3, "samples": 1, "pairs": 1500, **changes}
    return FinetuneSettings(model=str(model), **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


def test_a_fine_tuned_model_is_better_and_ready_to_use(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    done = finetune([SAMPLE], out, quick(base))
    assert done.improved and done.finished and done.steps == 20
    assert done.after["denoising_error"] < done.before["denoising_error"]
    assert {"amr_r", "cov_r_0.5"} <= set(done.before) == set(done.after)
    assert done.molecules["train"] + done.molecules["dev"] == 40 and done.molecules["dev"] >= 2
    assert done.records["train"] + done.records["dev"] == 80
    assert not (tmp_path / "mine.run").exists()
    model = from_pretrained(out, "molecules")
    old = from_pretrained(base).denoiser.state_dict()
    assert any(not torch.equal(value, old[key]) for key, value in model.denoiser.state_dict().items())
    assert model.info["finetune"]["before"] == done.before
    card = (out / "README.md").read_text()
    assert SAMPLE.name in card and f"{done.after['denoising_error']:.3f}" in card and "fell" in card
    assert ConformerGenerator.from_pretrained(out).name == str(out)


def test_a_stopped_run_goes_on_where_it_was(base: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "mine", quick(base, steps=4, samples=0)
    done = finetune([SAMPLE], out, settings, max_seconds=0)
    assert (done.steps, done.finished) == (1, False)
    assert "the time ran out" in (out / "README.md").read_text()
    with pytest.raises(InputError, match="pass --resume"):
        finetune([SAMPLE], out, settings)
    with pytest.raises(InputError, match="another steps"):
        finetune([SAMPLE], out, quick(base, steps=5, samples=0), resume=True)
    assert finetune([SAMPLE], out, settings, resume=True).finished
    whole = finetune([SAMPLE], tmp_path / "whole", settings)
    assert whole.after == pytest.approx(finetune_figures(out), rel=1e-6)


def finetune_figures(folder: Path) -> dict[str, float]:
    content = json.loads((folder / "config.json").read_text())
    figures: dict[str, float] = content["info"]["finetune"]["after"]
    return figures


def test_too_few_molecules_are_refused_with_a_remedy(base: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.sdf"
    few.write_text("$$$$\n".join(QM9.read_text().split("$$$$\n")[:12]) + "$$$$\n")
    with pytest.raises(
        InputError, match=r"few.sdf: \d distinct molecules .* need at least 10; add molecules"
    ):
        finetune([few], tmp_path / "mine", quick(base))
    assert {path.name for path in tmp_path.iterdir()} == {"few.sdf"}


def test_flat_structures_are_refused_with_a_remedy(base: Path, tmp_path: Path) -> None:
    flat = Chem.MolFromSmiles("CCO")
    AllChem.Compute2DCoords(flat)
    path = tmp_path / "flat.sdf"
    path.write_text((Chem.MolToMolBlock(flat) + "$$$$\n") * 12)
    with pytest.raises(
        InputError, match=r"no 3D coordinates.*give an SDF with 3D coordinates and all hydrogens"
    ):
        finetune([path], tmp_path / "mine", quick(base))
    assert not (tmp_path / "mine.run").exists()


def test_unsupported_elements_are_skipped_and_counted(base: Path, tmp_path: Path) -> None:
    arsine = Chem.AddHs(Chem.MolFromSmiles("C[As](C)C"))
    assert AllChem.EmbedMolecule(arsine, randomSeed=1) == 0
    path = tmp_path / "mixed.sdf"
    path.write_text(gzip.decompress(SAMPLE.read_bytes()).decode() + Chem.MolToMolBlock(arsine) + "$$$$\n")
    done = finetune([path], tmp_path / "mine", quick(base, steps=1, samples=0))
    assert sum(done.skipped.values()) == 1 and "arsenic" in next(iter(done.skipped))
    assert "arsenic" in (tmp_path / "mine" / "README.md").read_text()


def test_folders_with_other_things_are_left_alone(base: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(InputError, match="no model folder"):
        finetune([SAMPLE], tmp_path / "thesis", quick(base))
    with pytest.raises(InputError, match="is the model to start from"):
        finetune([SAMPLE], base, quick(base))
    with pytest.raises(InputError, match="of modality 'audio'"):
        finetune([SAMPLE], tmp_path / "mine", FinetuneSettings(model="vocoder-fast-22k"))


def test_a_replayed_cache_is_mixed_in_but_never_the_molecules_kept_out(tmp_path: Path) -> None:
    settings = FinetuneSettings(dev_fraction=0.3)
    _prepare([QM9], tmp_path / "own", settings, None)
    # The other cache holds the same molecules, all of them for training.
    prepare_molecules([QM9, SAMPLE], tmp_path / "other", dev_fraction=0.0)
    before = list(Cache(tmp_path / "own").facts)
    _mix(tmp_path / "own", tmp_path / "other", settings)
    cache = Cache(tmp_path / "own", "molecules")
    assert cache.facts[: len(before)] == before
    added = cache.facts[len(before) :]
    kept_out = {facts["smiles"] for facts in before if facts["split"] == "dev"}
    assert kept_out and added and not kept_out & {facts["smiles"] for facts in added}
    assert {facts["source"] for facts in added} == {REPLAY}


def killed(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_a_kill_before_the_replay_is_mixed_in_leaves_no_cache_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, work = FinetuneSettings(), tmp_path / "mine.run"
    prepare_molecules([QM9], tmp_path / "other", dev_fraction=0.0)
    done = Finetuned("mine", [SAMPLE.name], {})
    asked: Any = ([SAMPLE], work, settings, [], tmp_path / "other", done)
    monkeypatch.setattr("scoregen.molecules.finetune._mix", killed)
    with pytest.raises(KeyboardInterrupt):
        _prepared(*asked)
    monkeypatch.undo()
    assert not (work / "cache").exists()
    assert REPLAY in {facts["source"] for facts in _prepared(*asked).facts}


def test_a_kill_between_two_splits_leaves_none_that_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first split, with next to no development part, is there when the run dies."""
    settings, work = FinetuneSettings(dev_fraction=1e-6), tmp_path / "mine.run"
    done = Finetuned("mine", [SAMPLE.name], {})
    splits: list[float] = []

    def once(*args: object, **options: float) -> None:
        if splits:
            raise KeyboardInterrupt
        splits.append(options["dev_fraction"])
        prepare_molecules(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("scoregen.molecules.finetune.prepare_molecules", once)
    with pytest.raises(KeyboardInterrupt):
        _prepared([SAMPLE], work, settings, [], None, done)
    monkeypatch.undo()
    assert splits == [1e-6] and not (work / "cache").exists()
    _prepared([SAMPLE], work, FinetuneSettings(dev_fraction=0.05), [], None, done)
    assert done.molecules["dev"] >= 2


def test_a_file_or_a_model_that_changed_is_not_resumed(tmp_path: Path) -> None:
    base, mine, out = tiny_model(tmp_path / "tiny"), tmp_path / "mine.sdf", tmp_path / "mine"
    whole = gzip.decompress(SAMPLE.read_bytes())
    mine.write_bytes(whole)
    settings = quick(base, steps=2, samples=0)
    finetune([mine], out, settings, max_seconds=0)
    mine.write_bytes(whole.replace(b"$$$$", b"$$$$ ", 1))
    with pytest.raises(InputError, match=r"^\S+mine.sdf: changed since the run in \S+mine.run was started"):
        finetune([mine], out, settings, resume=True)
    mine.unlink()
    with pytest.raises(InputError, match=r"mine.sdf: changed since"):
        finetune([mine], out, settings, resume=True)
    mine.write_bytes(whole)  # the time stamp alone is no change
    weights = (base / "model.safetensors").read_bytes()
    tiny_model(base, shift=1.0)
    with pytest.raises(InputError, match=r"^\S+model.safetensors: changed since"):
        finetune([mine], out, settings, resume=True)
    (base / "model.safetensors").write_bytes(weights)
    assert finetune([mine], out, settings, resume=True).finished


def test_one_level_of_theory_from_training_to_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stated is trained with, measured with, and asked of the new model by default."""
    asked: list[str] = []
    ensembles = ConformerGenerator.ensembles

    def watched(self: ConformerGenerator, molecules: Any, settings: Settings) -> Any:
        asked.append(settings.theory)
        return ensembles(self, molecules, settings)

    monkeypatch.setattr(ConformerGenerator, "ensembles", watched)
    levels = {"log_sigma_mean": -0.7, "log_sigma_std": 1.1}
    info = {"training": {"data": {"theory": {"a": "dft", "b": "gfn2"}, **levels}}}
    base = tiny_model(tmp_path / "tiny", info)
    found = []
    for model, theory, name in (
        (base, "auto", "1"),
        (tmp_path / "1", "mmff", "2"),
        (tmp_path / "2", "auto", "3"),
    ):
        done = finetune([SAMPLE], tmp_path / name, quick(model, steps=1, theory=theory))
        model_info = from_pretrained(tmp_path / name).info
        assert asked == [done.settings["theory"]] * 2 and model_info["theory"] == asked[0]
        told = model_info["training"]["data"]
        assert told["theory"]["conformer_benchmark_sample"] == asked[0] and told["theory"]["a"] == "dft"
        assert told.items() >= levels.items()  # a model tuned twice keeps its noise levels
        assert ConformerGenerator.from_pretrained(tmp_path / name).theory() == asked[0]
        assert f"level of theory stated: {asked[0]}" in (tmp_path / name / "README.md").read_text()
        found.append(asked[0])
        asked.clear()
    assert found == ["gfn2", "mmff", "mmff"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "--steps"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"theory": "hearsay"}, "--theory 'hearsay' is not one of"),
        ({"dev_fraction": 0.0}, "--dev-fraction"),
        ({"samples": -1}, "--samples"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FinetuneSettings(**change)  # type: ignore[arg-type]
