"""The benchmark of candidates with a small untrained model: every section, what is kept, what is missing."""

# ruff: noqa: E402
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, Mol

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import candidates
from candidate_suite import badinput, druglike, geometry, likeness, qm9, speed, speed_worker, steering, tasks
from candidate_suite.options import Options
from candidate_suite.workbench import Workbench
from suite.processes import measured

from scoregen.errors import InputError
from scoregen.hub import save_pretrained
from scoregen.molecules.design.encode import decode
from scoregen.molecules.design.generator import CandidateGenerator
from scoregen.molecules.design.pose import Pose
from scoregen.molecules.design.request import Request
from scoregen.molecules.design.strain import Strain
from scoregen.training.cache import Cache

from ..molecules.design.helpers import arrays, small_cache, small_config, small_model

FEW = Options(count=6, steps=2, tasks=2, draws=2, threads=(1,), fragments=20, guidance=(2.0,), timeout=300.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> str:
    folder = tmp_path_factory.mktemp("model") / "small"
    info = {"cache": {"sources": Cache(cache).info["sources"]}}
    config = small_config().model_dump(mode="json")
    save_pretrained(folder, "candidates", config, small_model().state_dict(), info)
    return str(folder)


@pytest.fixture
def bench(model: str, cache: Path, tmp_path: Path) -> Workbench:
    return Workbench([model], [cache], store=tmp_path / "store")


def replay(smiles: list[str]) -> Callable[..., list[Mol]]:
    """A generator's ``draw`` that gives molecules in turn."""

    def draw(self: CandidateGenerator, request: object, first: int, count: int) -> list[Mol]:
        return [decode(arrays(smiles[k % len(smiles)])) for k in range(first, first + count)]

    return draw


def stop(*_: object) -> None:
    raise AssertionError("this was done before")


def test_counts_add_up_and_a_second_run_draws_nothing(
    bench: Workbench, model: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(FEW, more_steps=(3,), more_count=4)
    result = qm9.run(bench, options)
    assert [(row["steps"], row["drawn"]) for row in result["rows"]] == [(2, 6), (3, 4)]
    for row in result["rows"]:
        assert row["valid"] + sum(row["invalid"].values()) == row["drawn"]
        assert sum(row["reasons"].values()) == sum(row["invalid"].values())
    again = Workbench([model], [cache], store=bench.store.folder)
    monkeypatch.setattr(CandidateGenerator, "draw", stop)
    assert qm9.run(again, options) == result
    qm9.show(result)
    with pytest.raises(AssertionError, match="done before"):
        qm9.run(again, replace(options, seed=1))


def test_training_molecules_are_not_novel_and_as_far_as_themselves(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = bench.references[0].smiles("train")
    monkeypatch.setattr(CandidateGenerator, "draw", replay(train))
    (row,) = qm9.run(bench, replace(FEW, count=len(train)))["rows"]
    assert row["validity"] == row["uniqueness"] == row["molecule_stability"] == 1
    assert row["novelty"] == 0
    # All of them are the whole training set, which is what they are compared with.
    assert row["distances"] == pytest.approx(row["split_distances"])
    assert row["split_molecules"] == len(train)


def test_druglike_counts_what_has_no_shape(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CandidateGenerator, "draw", replay(["CCO", "c1ccccc1C(=O)N", "CC#N"]))
    calls = []

    def shape(mols: list[Mol], conformers: object, *, seed: int) -> list[Mol | str]:
        calls.append(len(mols))
        return [_embedded(m) if m.GetNumAtoms() < 9 else "no sound shape: clash" for m in mols]

    monkeypatch.setattr(geometry, "shape", shape)
    monkeypatch.setattr(geometry.pose, "check_available", lambda level: None)
    monkeypatch.setattr(
        geometry.pose,
        "check_pose",
        lambda mol, level, timeout: Pose({"bond_lengths": mol.GetNumAtoms() > 6}, mol.GetNumAtoms() > 6),
    )
    monkeypatch.setattr(geometry.strain, "strain", lambda mol, method, limit: Strain(2.0, 0.1))
    options = replace(FEW, pose_limit=6, strain_limit=3, strain="mmff")
    result = druglike.run(bench, options)
    (row,) = result["rows"]
    assert (row["valid"], row["shaped"], row["shape_failures"]) == (6, 4, {"no sound shape": 2})
    # Two ethanols of nine atoms pass, two acetonitriles of six do not, two have no shape.
    assert (row["pose_passed"], row["pose_checked"], row["pose_asked"]) == (2, 4, 6)
    assert row["pose_rate"] == pytest.approx(2 / 6)
    assert row["pose_failures"] == {"bond_lengths": 2}
    assert (row["strain_asked"], row["strain_done"], row["strain_kcal_mol"]["median"]) == (3, 2, 2.0)
    assert row["errors"] == {"no shape": 3}
    assert row["beside"]["molecules"] > 0
    assert row["values"]["qed"]["count"] == 6
    assert druglike.run(bench, options) == result
    assert calls == [6]
    druglike.show(result)


def _embedded(mol: Mol) -> Mol:
    full = Chem.AddHs(mol)
    assert AllChem.EmbedMolecule(full, randomSeed=1) == 0
    return full


def test_steering_stands_beside_draws_that_were_not_asked(bench: Workbench) -> None:
    options = replace(FEW, properties=("mw", "qed"), quantiles=(0.5,), guidance=(1.0, 3.0), particles=(1, 2))
    result = steering.run(bench, options)
    assert [row["guidance"] for row in result["rows"]] == [None, 1.0, 1.0, 3.0, 3.0] * 2
    assert {row["property"] for row in result["rows"]} == {"mw", "qed"}
    masses = bench.references[0].values("mw")
    assert result["rows"][0]["target"] == f"mw={sorted(masses)[len(masses) // 2]:.0f}" or len(masses) % 2 == 0
    for row in result["rows"]:
        assert row["drawn"] == 6
        assert row["hits"] <= row["valid"]
    assert len(result["summary"]) == 10
    asked = replace(options, targets=("logp=1..2",))
    assert {row["target"] for row in steering.run(bench, asked)["rows"]} == {"logp=1..2"}
    steering.show(result)


def test_tasks_of_held_out_molecules_and_a_generator_that_knows_the_answer(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(FEW, tasks=3)
    result = tasks.run(bench, options)
    for row in result["rows"]:
        assert row["kept"] + sum(row["invalid"].values()) <= row["drawn"] == 2 * row["tasks"]
    scaffold = result["rows"][0]
    assert (scaffold["kind"], scaffold["tasks"]) == ("scaffold", 3)
    tasks.show(result)
    found = tasks.sources(bench, bench.references[0], "small", options)
    answers = [task.answer for _, several in found for task in several if task.kind == "scaffold"]
    held = {Chem.CanonSmiles(s, useChiral=0) for s in bench.references[0].smiles("dev", "benchmark")}
    assert set(answers) <= held
    turn = iter([answer for answer in answers for _ in range(options.draws)])
    monkeypatch.setattr(
        CandidateGenerator, "draw", lambda *a: [decode(arrays(next(turn))) for _ in range(a[3])]
    )
    fresh = Workbench([bench.entries["small"].model], [bench.references[0].folder])
    row = tasks.run(fresh, options)["rows"][0]
    assert row["recovery"] == row["solved"] == row["kept_of_valid"] == row["validity"] == 1
    assert row["uniqueness"] == pytest.approx(1 / options.draws)


def test_a_shape_is_like_itself(
    model: str, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["OCC1CNC1", "CCCCCCCCCO"]
    poses = [embedded(smiles) for smiles in names]
    with Chem.SDWriter(str(tmp_path / "poses.sdf")) as writer:
        for mol in poses:
            writer.write(mol)
    bench = Workbench([model], [cache], [tmp_path / "poses.sdf"])
    monkeypatch.setattr(Workbench, "sizes", lambda self, label: {str(n): 1.0 for n in range(2, 12)})
    asked: list[Request] = []

    def draw(self: CandidateGenerator, request: Request, first: int, count: int) -> list[Mol]:
        asked.append(request)
        return [decode(arrays(names[0])) for _ in range(count)]

    monkeypatch.setattr(CandidateGenerator, "draw", draw)
    monkeypatch.setattr(likeness, "shaped", lambda bench, mols, seed: ([poses[0]] * 3 + ["no shape"], 0.0))
    result = likeness.run(bench, replace(FEW, draws=4, particles=(1, 2)))
    assert [request.group for request in asked] == [1, 1, 2, 2]
    assert [one["reference"] for one in result["references"]] == names * 2
    itself, other = (one["tanimoto"] for one in result["references"][:2])
    assert itself == pytest.approx([1.0] * 3, abs=1e-3)
    assert max(other) < 0.8
    row = result["rows"][0]
    assert (row["references"], row["drawn"], row["validity"], row["distinct_alike_per_draw"]) == (
        2,
        8,
        1.0,
        1 / 8,
    )
    likeness.show(result)
    with pytest.raises(InputError, match="--data"):
        likeness.run(Workbench([model], [cache]), FEW)


def embedded(smiles: str) -> Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return mol


def test_speed_asks_a_process_for_every_figure(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def figures(module: str, task: dict, timeout: float) -> dict:
        asked.append((module, task["kind"], task.get("steps"), task["threads"]))
        return {"seconds_per_valid": 1.0}

    monkeypatch.setattr(speed, "measured", figures)
    options = replace(FEW, threads=(1, 2), more_steps=(5,))
    result = speed.run(bench, options)
    each = [("model", 2), ("model", 5), ("peer", None)]
    assert asked == [(speed.WORKER, kind, k, threads) for threads in (1, 2) for kind, k in each]
    assert speed.run(bench, options) == result
    assert len(asked) == 6
    speed.show(result)


def test_the_worker_draws_and_counts(bench: Workbench, tmp_path: Path) -> None:
    (task, _) = speed.tasks(bench, "small", replace(FEW, count=3), tmp_path)
    found = speed_worker._model(task)
    assert found["drawn"] == 3
    assert found["valid"] <= 3
    assert found["peak_mb"] >= found["loaded_mb"] > 50
    assert found["parameters"] > 1000
    failing = measured(speed.WORKER, {**task, "kind": "of no kind"}, 300)
    assert "KeyError" in failing["error"]


def test_a_real_command_refuses(model: str) -> None:
    case = next(case for case in badinput.CASES if case.name == "no open position")
    row = badinput.check(case, model, FEW)
    assert row["right"], row


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["candidates.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        candidates.main()
    return stopped.value.code


def test_a_missing_model_is_told_and_the_other_sections_go_on(
    model: str,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.json"
    given = ["--models", model, "design-druglike-x", "--cache", cache, "--json", out, "--count", 4]
    given += ["--steps", 2, "--sections", "qm9", "druglike", "--set", "qm9.more_steps="]
    assert run_main(monkeypatch, *given) == 1
    told = capsys.readouterr().err
    assert "left out: model 'design-druglike-x' not found" in told
    assert "error: section druglike: model 'design-druglike-x' not found" in told
    held = json.loads(out.read_text())["sections"]
    assert list(held) == ["qm9"]
    assert [row["drawn"] for row in held["qm9"]["rows"]] == [4]
    assert run_main(monkeypatch, *given, "--resume") == 1
    assert "qm9: done before" in capsys.readouterr().err
    assert json.loads(out.read_text())["sections"] == held
    assert str(run_main(monkeypatch, "--cache", tmp_path)).startswith("error: ")


def test_a_cache_belongs_to_the_model_that_learned_from_it(model: str, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"made from .*qm9.* with --cache"):
        Workbench([model]).reference("small")
    assert Workbench([model], [cache]).reference("small").folder == cache
    with pytest.raises(InputError, match="not in this run; there are small"):
        Workbench([model]).chosen(Options(models=("other",)))
    with pytest.raises(InputError, match="--models"):
        Workbench([])


def test_a_model_that_says_no_sizes_makes_those_of_its_cache(bench: Workbench) -> None:
    sizes = bench.generator("small").sizes
    lengths = bench.references[0].cache.lengths("token")[bench.references[0].cache.select(split="train")]
    assert sum(sizes.values()) == len(lengths)
    assert (min(sizes), max(sizes)) == (lengths.min(), lengths.max())
