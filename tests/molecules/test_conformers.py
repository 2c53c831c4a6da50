"""Generation end to end with the shipped model: stereo, determinism, settings, files."""

import csv
import re

import numpy as np
import pytest
import torch
from rdkit import Chem

from scoregen.core.sampling import NonFiniteSample
from scoregen.errors import InputError
from scoregen.molecules import conformers, drawing, finishing, pipeline, starts
from scoregen.molecules.chem import canonical_smiles, standardise
from scoregen.molecules.conformers import Conformer, ConformerGenerator, Ensemble, Settings
from scoregen.molecules.metrics import pairwise_rmsd, rmsd_matrix
from scoregen.molecules.pipeline import run_conformers
from scoregen.molecules.sampler import buckets, sample_key
from scoregen.molecules.selection import distinct
from scoregen.molecules.stereo import geometry_ok, stereo_matches
from tests.molecules.helpers import small_model, with_geometry

DRUGS = ["CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "C/C=C/C(=O)O"]


@pytest.fixture(scope="module")
def generator():
    return ConformerGenerator.from_pretrained("conformer-small")


def positions_of(mols):
    return np.stack([mol.GetConformer().GetPositions() for mol in mols])


@pytest.mark.parametrize("init", ["auto", "noise"])
def test_generated_molecules_have_the_stated_stereo_and_sound_geometry(generator, init):
    for smiles in DRUGS:
        mols = generator.generate(smiles, n=2, seed=1, init=init)
        assert len(mols) == 2
        for mol in mols:
            reference = standardise(smiles)
            positions = mol.GetConformer().GetPositions()
            assert canonical_smiles(mol) == canonical_smiles(reference)
            assert stereo_matches(reference, positions) and geometry_ok(reference, positions)


def test_same_seed_same_conformers_alone_or_among_others(generator):
    alone = positions_of(generator.generate(DRUGS[1], n=3, seed=5))
    again = positions_of(generator.generate(DRUGS[1], n=3, seed=5))
    other = positions_of(generator.generate(DRUGS[1], n=3, seed=6))
    np.testing.assert_array_equal(alone, again)
    assert np.abs(alone - other).max() > 0.05
    together = generator.ensembles([standardise(s) for s in DRUGS], Settings(n=3, seed=5))[1]
    np.testing.assert_allclose(np.stack(together.positions), alone, atol=2e-3)


def test_a_broken_model_gives_a_report_and_no_wrong_record(tmp_path):
    """An untrained network cannot pass the checks; the input is reported and nothing false is written."""
    broken = ConformerGenerator(small_model(), "random")
    ensemble = broken.ensembles([standardise(DRUGS[1])], Settings(n=2, init="noise", tries=2, steps=2))[0]
    assert ensemble.positions == [] and ensemble.missing == 2
    assert "2 of 2 conformers failed" in (ensemble.problem or "")
    with pytest.raises(InputError, match="failed the stereo"):
        broken.generate(DRUGS[1], n=2, init="noise", tries=2, steps=2)


def test_where_no_draw_passes_the_sound_start_is_kept_and_marked():
    broken = ConformerGenerator(small_model(), "random")
    mol = standardise(DRUGS[1])
    ensemble = broken.ensembles([mol], Settings(n=2, init="etkdg", sigma=5.0, tries=1, steps=2))[0]
    assert ensemble.init == ["etkdg-unrefined"] * 2 and ensemble.problem is None
    assert all(stereo_matches(mol, positions) for positions in ensemble.positions)


def test_a_molecule_that_etkdg_cannot_embed_is_reported_or_drawn_from_noise(generator, monkeypatch):
    monkeypatch.setattr(starts, "embed", lambda *a, **k: [])
    mol = standardise("CCO")
    failed = generator.ensembles([mol], Settings(n=2, init="etkdg"))[0]
    assert failed.positions == [] and failed.missing == 2 and "no geometry" in (failed.problem or "")
    assert generator.ensembles([mol], Settings(n=2))[0].init == ["noise", "noise"]


def test_a_mix_takes_turns_between_the_starts(generator):
    """The conformers from noise are those that ``init="noise"`` gives at the same places."""
    mol = standardise(DRUGS[1])
    mixed = generator.ensembles([mol], Settings(n=4, draws=1, init="mix", steps=10))[0]
    assert mixed.init == ["mmff", "etkdg", "noise", "mmff"]
    noise = generator.ensembles([mol], Settings(n=3, draws=1, init="noise", steps=10))[0]
    np.testing.assert_allclose(mixed.positions[2], noise.positions[2], atol=1e-3)


def test_relaxation_lowers_the_energy_and_the_window_cuts(generator):
    mol = standardise("CCCCO")
    raw = generator.ensembles([mol], Settings(n=4, seed=2, energy_window=1e6))[0]
    relaxed = generator.ensembles([mol], Settings(n=4, seed=2, relax="mmff"))[0]
    assert len(raw.energies) == len(relaxed.energies) == 4
    assert all(after <= before + 1e-6 for before, after in zip(raw.energies, relaxed.energies, strict=True))
    lowest, highest = min(relaxed.energies), max(relaxed.energies)
    window = (highest - lowest) / 2
    narrow = generator.ensembles([mol], Settings(n=4, seed=2, relax="mmff", energy_window=window))[0]
    assert narrow.energies == [e for e in relaxed.energies if e - lowest <= window]
    assert 1 <= len(narrow.energies) < 4


def test_pruning_keeps_distinct_geometries():
    mol, positions = with_geometry("CCCCO")
    _, other = with_geometry("CCCCO", seed=11)
    turned = positions @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    distances = pairwise_rmsd(mol, np.stack([positions, turned, other]))
    assert distinct(distances, 0.05) == [0, 2]


def test_more_draws_than_conformers_give_representatives_with_their_populations(generator):
    """The conformers kept are among the draws, nearer to them all than the first few of them are."""
    mol = standardise("CCCCO")
    drawn = generator.ensembles([mol], Settings(n=12, draws=1, init="noise", seed=3))[0]
    kept = generator.ensembles([mol], Settings(n=4, draws=3, init="noise", seed=3))[0]
    assert len(kept.positions) == 4
    for positions in kept.positions:
        assert min(np.abs(positions - other).max() for other in drawn.positions) < 2e-3
    cost = [
        rmsd_matrix(mol, np.stack(drawn.positions), mol, np.stack(some)).min(1).sum()
        for some in (kept.positions, drawn.positions[:4])
    ]
    assert cost[0] < cost[1]
    assert sum(c.population for c in kept.conformers) == pytest.approx(1)
    assert all(0 <= c.spread < 2 for c in kept.conformers)
    # Pruned to one, it stands for all.
    one = generator.ensembles([mol], Settings(n=4, draws=3, init="noise", seed=3, prune=5))[0]
    assert [c.population for c in one.conformers] == [1]


WRONG = [
    {"n": 0},
    {"n": "many"},
    {"draws": 0.5},
    {"steps": 0},
    {"init": "magic"},
    {"init": "etkdg+magic"},
    {"sigma": 0},
    {"solver": "heun"},
    {"theory": "ccsd"},
    {"relax": "dft"},
    {"rank": "population", "draws": 1},
    {"prune": -1},
    {"energy_window": 0},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(InputError, match=re.escape(str(next(iter(wrong.values()))))):
        Settings(**wrong)


def test_job_writes_good_records_and_reports_bad_inputs(generator, tmp_path):
    out, errors = tmp_path / "out.sdf", tmp_path / "err.csv"
    inputs = [DRUGS[0], "not_a_smiles", DRUGS[1], "[Na+].[Cl-]", DRUGS[2]]
    seen = []
    summary = run_conformers(
        inputs, out, generator, Settings(n=2), errors=errors, on_failure=lambda *failure: seen.append(failure)
    )
    records = list(Chem.SDMolSupplier(str(out), removeHs=False))
    assert summary.records == len(records) == 6 and summary.inputs == 5
    assert [r.GetProp("_Name") for r in records] == [s for s in DRUGS for _ in range(2)]
    for record in records:
        assert record.GetProp("stereo_ok") == "true"
        assert {"smiles", "conformer", "seed", "model"} <= set(record.GetPropNames())
        Chem.AssignStereochemistryFrom3D(record)
        assert canonical_smiles(record) == record.GetProp("smiles")
    rows = list(csv.DictReader(errors.open()))
    assert [row["input"] for row in rows] == ["not_a_smiles", "[Na+].[Cl-]"] == [f[0] for f in seen]
    assert all(row["reason"] for row in rows)


def test_nothing_is_left_behind_when_the_job_breaks(tmp_path, monkeypatch):
    generator = ConformerGenerator(small_model(), "random")
    monkeypatch.setattr(generator, "ensembles", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_conformers([DRUGS[0]], tmp_path / "out.sdf", generator, Settings())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_job_goes_on_from_its_finished_chunks(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "CHUNK", 1)
    whole, out = tmp_path / "whole.sdf", tmp_path / "out.sdf"
    run_conformers(DRUGS, whole, generator, Settings(seed=4))
    calls = []
    ensembles = generator.ensembles

    def dying(molecules, *rest):
        calls.append(len(molecules))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return ensembles(molecules, *rest)

    monkeypatch.setattr(generator, "ensembles", dying)
    with pytest.raises(KeyboardInterrupt):
        run_conformers(DRUGS, out, generator, Settings(seed=4), resume=True)
    assert not out.exists()
    summary = run_conformers(DRUGS, out, generator, Settings(seed=4), resume=True)
    assert len(calls) == 4, "two chunks were finished before, one was left"
    assert summary.records == 3 and out.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.sdf", "whole.sdf"]
    # Other settings share nothing with what is there.
    calls.clear()
    run_conformers(DRUGS[:1], out, generator, Settings(seed=5), resume=True)
    assert calls == [1]


def test_buckets_hold_every_index_once_within_the_budget():
    sizes = [5, 40, 12, 12, 90, 7]
    chunks = list(buckets(sizes, 2000))
    assert sorted(i for chunk in chunks for i in chunk) == list(range(6))
    assert all(len(c) == 1 or len(c) * max(sizes[i] for i in c) ** 2 <= 2000 for c in chunks)


def test_keys_differ_by_every_part():
    keys = {sample_key(s, k, t) for s in ("C", "CC") for k in range(3) for t in range(3)}
    assert len(keys) == 18 and all(0 <= k < 2**63 for k in keys)


def test_generation_does_not_touch_global_random_state(generator):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    generator.generate("CCO", n=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_mix_keeps_the_share_of_every_start_however_many_are_drawn(generator):
    made = generator.ensembles([standardise("CCCCCO")], Settings(n=6, init="mix", draws=3, steps=4))[0]
    assert sorted(made.init) == ["etkdg"] * 2 + ["mmff"] * 2 + ["noise"] * 2
    assert sum(c.population for c in made.conformers) == pytest.approx(1)


def test_what_is_pruned_leaves_its_population_to_the_nearest(generator):
    mol = standardise("CCCCCO")
    every = generator.ensembles([mol], Settings(n=8, seed=1))[0]
    few = generator.ensembles([mol], Settings(n=8, seed=1, prune=0.6, rank="population"))[0]
    assert 1 <= len(few.conformers) < len(every.conformers) == 8
    for ensemble in (every, few):
        assert sum(c.population for c in ensemble.conformers) == pytest.approx(1)


def test_one_failed_relaxation_costs_one_conformer(generator, monkeypatch):
    calls = iter(range(100))

    def relaxed(mol, positions, method, timeout=None):
        if next(calls) == 1:
            raise InputError("too slow")
        return positions, 0.0

    monkeypatch.setattr(finishing, "relax", relaxed)
    monkeypatch.setattr(starts, "relax", lambda mol, positions, method: (positions, 0.0))
    made = generator.ensembles([standardise("CCCCO")], Settings(n=4, relax="mmff"))[0]
    assert len(made.conformers) == 3 and made.missing == 1 and "too slow" in made.problem
    assert made.energies == [0.0] * 3


def test_a_missing_program_is_named_before_any_work(generator, monkeypatch):
    monkeypatch.setattr(
        conformers, "check_available", lambda method: (_ for _ in ()).throw(InputError("no xtb"))
    )
    with pytest.raises(InputError, match="no xtb"):
        generator.generate("CCO", relax="gfn2")


def test_noise_levels_outside_the_model_are_refused_or_raised_to_its_least(generator):
    with pytest.raises(InputError, match="at most 10"):
        generator.generate("CCO", init="etkdg", sigma=50)
    assert len(generator.generate("CCO", n=2, init="etkdg", sigma=0.001)) == 2


def test_a_sample_that_is_not_finite_costs_no_other(generator, monkeypatch):
    draw_all = drawing.draw_positions

    def draw(denoiser, draws, schedule, seed):
        if any(d.data.num_nodes == 9 for d in draws):  # ethanol
            raise NonFiniteSample("not finite")
        return draw_all(denoiser, draws, schedule, seed)

    monkeypatch.setattr(drawing, "draw_positions", draw)
    bad, good = generator.ensembles(
        [standardise("CCO"), standardise("CCN")], Settings(n=2, init="noise", steps=8)
    )
    assert not bad.conformers and bad.problem and len(good.conformers) == 2


def test_a_model_names_the_levels_of_theory_it_knows(generator):
    assert generator.theories == {"dft", "gfn2", "experiment"} and generator.theory() == "gfn2"
    with pytest.raises(InputError, match="dft, experiment, gfn2"):
        generator.generate("CCO", theory="mmff")
    own = {**generator.info, "theory": "dft"}
    assert ConformerGenerator(generator.denoiser, "mine", own).theory() == "dft"
    assert ConformerGenerator(generator.denoiser, "told nothing").theory() == "unknown"


def test_a_copy_that_stood_for_nothing_is_finished_all_the_same():
    lone = Conformer(np.zeros((9, 3)), "mmff", population=0.0, spread=0.0)
    ensemble = Ensemble(standardise("CCO"), [lone])
    finishing.finish(ensemble, Settings(n=1), lambda mol, positions: np.zeros(len(positions)))
    assert [c.population for c in ensemble.conformers] == [0.0]
