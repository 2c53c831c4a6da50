"""The ablation: its variants are sound, every arm learns, and the page says what the results say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from e3nn import o3

from benchmarks.ablation.__main__ import main
from benchmarks.ablation.arms import ARMS, BASE
from benchmarks.ablation.recipe import Model, Recipe, Task, fresh
from benchmarks.ablation.scoring import held_out_errors, read_references, sampled_scores
from benchmarks.ablation.speed import SPEED, run_speed
from benchmarks.ablation.table import BEGIN, END, markdown, read_results, write_docs
from benchmarks.ablation.tensors import TensorTransformer
from benchmarks.ablation.training import Stepper, learning_rate, train_arm
from benchmarks.ablation.views import isotropic, taken, without_stereo_pairs, without_triples
from scoregen.core.denoiser import Denoiser, Prediction
from scoregen.core.sde import EDM
from scoregen.errors import InputError
from scoregen.molecules.graph import NUM_PAIR_TYPES, collate
from scoregen.molecules.network import NetworkConfig
from scoregen.molecules.prepare import prepare_molecules
from scoregen.molecules.stereo import geometry_ok
from scoregen.molecules.vocabulary import MAX_HOPS, NUM_BOND_FLAGS, NUM_BOND_TYPES
from tests.molecules.helpers import SMILES, data_for, with_geometry
from tests.molecules.samples import DATA

SMALL = {"width": 32, "vectors": 8, "pair": 16, "heads": 4, "layers": 2, "radial": 12}
SAMPLE = {"qm9_xtb_sample": 1.0, "cascade_dft_sample": 1.0}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "ablation.md"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "molecules"
    sources = [DATA / f"{name}.sdf" for name in SAMPLE]
    prepare_molecules(sources, path, dev_fraction=0.02, holdout_ids=None)
    return path


@pytest.fixture(scope="module")
def graphs():
    return collate([data_for(smiles) for smiles in SMILES])


def small(recipe: Recipe) -> Recipe:
    return replace(recipe, network=recipe.network.model_copy(update=SMALL))


def task_on(cache: Path, copies: int = 1) -> Task:
    return Task(cache, 0, copies, pairs=2500, sources=SAMPLE)


# The l = 2 network.


@pytest.fixture(scope="module")
def tensors() -> Denoiser:
    torch.manual_seed(0)
    network = TensorTransformer(NetworkConfig(**SMALL), 0.75)
    torch.nn.init.normal_(network.out.weight, std=0.1)
    return Denoiser(network, EDM(0.005, 10.0), 0.75).double().eval()


@pytest.mark.parametrize("self_condition", [False, True])
def test_tensors_turn_with_the_molecule(tensors, graphs, self_condition):
    space = graphs.space(torch.float64)
    torch.manual_seed(1)
    data = graphs.pos.double()
    x = space.project(data + 0.5 * space.color(torch.randn_like(data)))
    rotation = o3.rand_matrix(dtype=torch.float64)
    t = torch.tensor(0.5)
    seen = graphs.with_estimate(data if self_condition else None)
    turned = graphs.with_estimate(data @ rotation.T if self_condition else None)
    out = tensors(x, t, space, seen).x0
    assert (out - x).abs().max() > 1e-3
    torch.testing.assert_close(
        tensors(x @ rotation.T, t, space, turned).x0, out @ rotation.T, atol=1e-7, rtol=0
    )


def test_features_of_a_layer_turn_with_the_molecule(tensors, graphs):
    """The l = 2 part turns with e3nn's Wigner matrix, and is not empty."""
    layer = tensors.network.layers[0]
    torch.manual_seed(2)
    size, longest = graphs.mask.shape
    h = torch.randn(size, longest, SMALL["width"], dtype=torch.float64)
    v = torch.randn(size, longest, 8, SMALL["vectors"], dtype=torch.float64)
    places = torch.randn(size, longest, 3, dtype=torch.float64)
    level = torch.randn(size, SMALL["width"], dtype=torch.float64)
    valid = graphs.mask[:, :, None]
    bias = torch.zeros(size, 1, 1, longest, dtype=torch.float64)
    bias = bias.masked_fill(~graphs.mask[:, None, None], float("-inf"))
    rotation = o3.rand_matrix(dtype=torch.float64)
    wigner = torch.block_diag(rotation, o3.Irrep("2e").D_from_matrix(rotation))

    def run(v, places):
        return layer(h, v, places, level, None, graphs, valid, bias)[:2]

    scalars, features = run(v, places)
    turned_scalars, turned = run(torch.einsum("ij,bnjv->bniv", wigner, v), places @ rotation.T)
    assert features[:, :, 3:].abs().max() > 0.1
    torch.testing.assert_close(turned_scalars, scalars, atol=1e-6, rtol=0)
    torch.testing.assert_close(turned, torch.einsum("ij,bnjv->bniv", wigner, features), atol=1e-6, rtol=0)


def test_tensors_do_not_care_for_the_order_of_atoms(tensors):
    from rdkit import Chem

    from scoregen.molecules.features import featurise
    from scoregen.molecules.graph import molecule_data

    mol, positions = with_geometry("C/C=C/[C@H](N)C(=O)O")
    order = torch.randperm(mol.GetNumAtoms(), generator=torch.Generator().manual_seed(3)).tolist()
    outs = []
    for graph, x in ((mol, positions), (Chem.RenumberAtoms(mol, order), positions[order])):
        batch = collate([molecule_data({**featurise(graph), "x": x})])
        outs.append(tensors(batch.pos.double(), torch.tensor(0.5), batch.space(torch.float64), batch).x0)
    torch.testing.assert_close(outs[1], outs[0][order], atol=1e-6, rtol=0)


def test_tensors_know_left_from_right(tensors):
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    left, right = collate([data_for("C[C@H](N)C(=O)O")]), collate([data_for("C[C@@H](N)C(=O)O")])
    space = left.space(torch.float64)
    x, t = space.project(left.pos.double()), torch.tensor(0.5)
    out = tensors(x, t, space, left).x0
    torch.testing.assert_close(tensors(x @ mirror, t, space, right).x0, out @ mirror, atol=1e-8, rtol=0)
    assert (tensors(x @ mirror, t, space, left).x0 - out @ mirror).abs().max() > 1e-5


# Views and batches.


def test_views_hide_what_they_say(graphs):
    assert len(graphs.triples) and not len(without_triples(graphs).triples)
    per_type = NUM_BOND_FLAGS * (MAX_HOPS + 1)
    hidden = without_stereo_pairs(graphs)
    assert (graphs.code // per_type).max() == NUM_PAIR_TYPES - 1
    assert (hidden.code // per_type).max() < NUM_BOND_TYPES
    changed = hidden.code != graphs.code
    assert 0 < changed.sum() < 0.01 * changed.numel()
    assert bool((hidden.code[changed] == graphs.code[changed] % per_type).all())


def test_isotropic_noise_is_alike_at_every_atom(graphs):
    space = isotropic(graphs).with_estimate(None).space()
    x = space.project(torch.randn(len(graphs.index), 3))
    torch.testing.assert_close(space.color(x), x)
    assert not torch.allclose(graphs.space().color(x), x)


def test_taken_molecules_are_those_of_the_batch(graphs):
    rows = torch.tensor([2, 0, 0, 3, 1])
    again, own = taken(graphs, rows), collate([data_for(SMILES[row]) for row in rows])
    for name in ("index", "atom", "code", "mask", "triples", "pos", "theory", "log_det", "factor"):
        torch.testing.assert_close(getattr(again, name), getattr(own, name), msg=name)


def test_copies_keep_the_size_of_the_batch_and_differ_in_noise(cache):
    one, four = task_on(cache).batch(3), task_on(cache, 4).batch(3)
    count = len(one.ids)
    assert len(four.ids) == count and len(set(four.ids.tolist())) == count
    kept = -(-count // 4)
    assert set((four.ids % 2**40).tolist()) == set(one.ids[:kept].tolist())
    assert task_on(cache, 4).dev_batches()[0].ids.tolist() == task_on(cache).dev_batches()[0].ids.tolist()


# Training.


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_takes_a_step(cache, name):
    arm = ARMS[name]
    task = task_on(cache, arm.recipe.copies)
    stepper = Stepper(fresh(small(arm.recipe), task, arm.seed), task, arm.seed)
    before = [p.detach().clone() for p in stepper.model.denoiser.parameters()]
    losses = [stepper.step(step, 1e-3) for step in range(2)]
    assert all(np.isfinite(losses)), losses
    after = stepper.model.denoiser.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(bool(torch.isfinite(p).all()) for p in stepper.model.denoiser.parameters())


def test_arms_differ_from_the_baseline_and_from_each_other():
    recipes = [arm.recipe for arm in ARMS.values() if arm.recipe != BASE]
    assert len(recipes) == len(ARMS) - 2
    assert all(a != b for i, a in enumerate(recipes) for b in recipes[:i])


def test_the_baseline_is_the_shipped_recipe(cache):
    task = task_on(cache)
    task.times = fresh(BASE, task, 0).process.times  # the levels of the shipped configuration
    model = fresh(small(BASE), task, 0)
    torch.nn.init.normal_(model.denoiser.network.out.weight, std=0.1)
    task.model = task.model.model_copy(update={"network": model.recipe.network})
    for step in range(4):
        batch = task.batch(step)
        assert torch.equal(model.loss(batch, 0, step), task.loss(model.denoiser, batch, step)["loss"])


def test_the_levels_are_those_of_the_shipped_configuration():
    import yaml

    import scoregen
    from benchmarks.ablation import process

    text = (Path(scoregen.__file__).parent / "configs" / "conformer-small.yaml").read_text()
    config = yaml.safe_load(text)
    model, data = config["model"], config["data"]
    for key in ("sigma_data", "sigma_min", "sigma_max"):
        assert model[key] == getattr(process, key.upper()), key
    for key in ("log_sigma_mean", "log_sigma_std"):
        assert data[key] == getattr(process, key.upper()), key


def test_the_rate_warms_up_and_ends_near_zero():
    rates = [learning_rate(step, 1000) for step in range(1000)]
    assert rates[0] < 0.02 * max(rates) and rates[-1] < 0.001 * max(rates)
    assert rates[100:500] == [max(rates)] * 400


def test_a_dearer_arm_takes_fewer_steps(cache):
    task = task_on(cache)
    wide = BASE.network.model_copy(update={"layers": 8})
    arm = replace(ARMS["baseline"], recipe=replace(BASE, network=wide))
    _, facts = train_arm(arm, task, 6, lambda text: None, trials=6)
    assert facts["cost_ratio"] > 1.2
    assert facts["steps"] == round(6 / facts["cost_ratio"])


# Scores.


def test_an_estimate_that_does_nothing_scores_about_one(cache):
    """x_0 = x leaves the noise: whitened error σ², weight (σ² + σ_d²)/(σσ_d)², so 1 + (σ/σ_d)²."""

    def idle(x, t, space, cond):
        return Prediction(x, x, torch.ones_like(x), torch.ones_like(x))

    task = task_on(cache)
    model = fresh(small(BASE), task, 0)
    lazy = Model(model.recipe, model.sigma_data, model.process, idle)  # type: ignore[arg-type]
    first, *_, last = held_out_errors(lazy, task)
    # Alignment takes up to three of the degrees of freedom.
    assert 0.85 < first < 1.05
    assert last > 5


def test_references_are_in_the_order_of_the_smiles(cache):
    task = task_on(cache)
    references = read_references(task.cache, "qm9_xtb_sample", 5)
    assert references and len({reference.name for reference in references}) == len(references)
    for reference in references:
        for positions in reference.positions:
            assert geometry_ok(reference.mol, positions, clash=0.8)


@pytest.mark.parametrize("name", ["baseline", "flow", "vp", "vp-v", "isotropic"])
def test_conformers_are_drawn_and_scored(cache, name):
    task = task_on(cache)
    references = read_references(task.cache, "qm9_xtb_sample", 2)
    found = sampled_scores(fresh(small(ARMS[name].recipe), task, 0), references)
    assert found["conformers"] == 2 * sum(len(r.positions) for r in references)
    assert 0.1 < found["amr_r"] < 40  # an untrained answer of ε leaves the noise as it is


def test_speed_arms_start_from_the_same_loss(cache):
    found = run_speed(SPEED["bf16"], task_on(cache), 4, 1)
    assert 0 < found["first_loss_difference"] < 0.05
    assert found["cost_ratio"] > 0


# The command and the page.


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ablation")
    shares = [f"{name}={share}" for name, share in SAMPLE.items()]
    few = {"budget": 2, "trials": 2, "held-out": 2, "pairs": 1000, "molecules": 2, "source": "qm9_xtb_sample"}
    options = [text for key, value in few.items() for text in (f"--{key}", str(value))]
    arms = ["--arms", "baseline", "isotropic"]
    command = ["run", "--cache", str(cache), "--out", str(out), *arms, *options, "--sources", *shares]
    main(command)
    stamps = [path.stat().st_mtime_ns for path in sorted(out.glob("*.json"))]
    main(command)
    assert stamps == [path.stat().st_mtime_ns for path in sorted(out.glob("*.json"))], "finished arms stay"
    return out


def test_results_are_complete(finished):
    results = read_results(finished)
    assert list(results) == ["baseline", "isotropic"]
    base = results["baseline"]
    assert base["steps"] == 2 and base["cost_ratio"] == 1.0 and base["parameters"] > 1e5
    assert len(base["errors"]) == 4 and base["mflop_per_molecule"] > 1
    assert results["isotropic"]["sigma_data"] > base["sigma_data"]


def test_the_page_gets_the_figures_of_the_results(finished, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    main(["table", "--out", str(finished), "--write-docs", "--page", str(page)])
    first = page.read_text()
    result = json.loads((finished / "baseline.json").read_text())
    assert f"| {result['sampled']['amr_r']:.3f} |" in first and "old" not in first
    assert "†" in next(line for line in first.splitlines() if line.startswith("| isotropic"))
    assert first.startswith("before") and first.endswith("after\n")
    main(["table", "--out", str(finished), "--write-docs", "--page", str(page)])
    assert page.read_text() == first
    assert "isotropic" in capsys.readouterr().out


def test_the_page_is_refused_without_its_marks(finished, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(InputError, match="ablation: begin"):
        write_docs(page, read_results(finished))
    assert page.read_text() == "nothing\n"


def test_mixed_settings_and_empty_folders_are_refused(finished, tmp_path):
    results = read_results(finished)
    results["isotropic"]["settings"]["budget"] += 1
    with pytest.raises(InputError, match="different settings"):
        markdown(results)
    with pytest.raises(InputError, match="no arm is finished"):
        markdown(read_results(tmp_path))


def test_the_shipped_page_names_every_arm():
    text = PAGE.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    for name in [*ARMS, *SPEED]:
        assert f"`{name}`" in text, name
