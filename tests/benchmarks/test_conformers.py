"""The conformer benchmark measures what it says: perfect answers score perfectly, wrong ones are caught."""

# ruff: noqa: E402
from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.records import SdfWriter
from scoregen.molecules.stereo import with_positions

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from conformer_suite import (
    bound,
    ensembles,
    geometry,
    likelihood,
    references,
    steps,
    stereo,
    strain,
)
from conformer_suite.methods import etkdg
from conformer_suite.options import Options
from conformer_suite.stereo_check import StereoCheck
from conformer_suite.workbench import Made, Workbench, run_method
from splits import draw_stereo
from suite.bootstrap import interval
from suite.processes import measured

ALANINE = "C[C@H](N)C(=O)O"

WORKER = "conformer_suite.speed_worker"


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sample ensembles, the first two of them benchmark molecules."""
    folder = tmp_path_factory.mktemp("pack")
    text = (ROOT / "data/molecules/qm9_xtb_sample.sdf").read_text()
    titles = list(
        dict.fromkeys(record.lstrip("\n").split("\n")[0] for record in text.split("$$$$\n") if record.strip())
    )
    with gzip.open(folder / "qm9_xtb_ensembles.sdf.gz", "wt") as stream:
        stream.write(text)
    (folder / "qm9_xtb_benchmark_ids.txt").write_text("\n".join(titles[:2]))
    return folder


@pytest.fixture(scope="module")
def molecules(pack: Path) -> list[references.Reference]:
    return references.qm9(pack, "test", None)


class Bench(Workbench):
    """A workbench whose methods are given."""

    def __init__(self, given: dict) -> None:
        super().__init__(Path("nowhere"), "none")
        self.given = given

    def methods(self, options: Options, theory: str) -> dict:
        return self.given


def test_references_are_those_listed(
    pack: Path, molecules: list[references.Reference], tmp_path: Path
) -> None:
    assert len(molecules) == 2
    assert all(len(m.energies) == len(m.positions) for m in molecules)
    dev = references.qm9(pack, "dev", None)
    assert not {m.name for m in dev} & {m.name for m in molecules}
    assert all(references.is_dev(m.mol) for m in dev)
    with pytest.raises(InputError, match="no such file"):
        references.qm9(tmp_path, "test", None)


def test_the_stabler_of_two_near_duplicates_is_kept(tmp_path: Path) -> None:
    title = (references.SPLITS / "conformer_benchmark_test.txt").read_text().split()[0]
    mol, xyz = etkdg("CCC(=O)NCC", 1, seed=0, relax=True)
    with SdfWriter(tmp_path / "conformer_benchmark.sdf.gz") as sdf:
        for atomisation, shift in ((1000.0, 0.0), (1003.0, 0.01)):
            properties = {"E_rel_or_abs_dlpno_kcal": atomisation}
            sdf.write(mol, xyz[0] * (1 + shift), name=title, properties=properties)
    (both,) = references.druglike(tmp_path, "test", 1, dedup=False)
    (one,) = references.druglike(tmp_path, "test", 1)
    assert both.energies.tolist() == [-1003, -1000]
    assert one.energies.tolist() == [-1003]
    assert one.smiles == "CCNC(=O)CC"


def test_perfect_conformers_score_perfectly(molecules: list[references.Reference]) -> None:
    by_smiles = {m.smiles: m for m in molecules}

    def perfect(smiles: str, n: int) -> tuple:
        return by_smiles[smiles].mol, np.tile(by_smiles[smiles].positions, (2, 1, 1))[:n]

    def failing(smiles: str, n: int) -> tuple:
        if smiles == molecules[0].smiles:
            raise InputError("no")
        return by_smiles[smiles].mol, by_smiles[smiles].positions[:1]

    bench = Bench({"perfect": perfect, "failing": failing})
    result = ensembles.score(bench, Options(), molecules, (0.5, 0.1), "gfn2")
    good, bad = result["rows"]
    assert good["amr_r"] == pytest.approx(0, abs=1e-3)
    assert good["cov_r_0.1"] == good["cov_p_0.1"] == 1
    assert good["failures"] == good["wrong_stereo"] == 0
    assert good["generated"] == good["requested"] == 2 * result["references"]
    assert bad["failures"] == 1
    assert bad["cov_r_0.5"] <= 0.5
    assert bad["per_molecule"][0] is None
    # Over what both served, the failure is in neither mean.
    assert good["amr_r_common"] == pytest.approx(good["per_molecule"][1])
    ensembles.show(result)


def test_bound_pose_found_and_lost() -> None:
    found = bound.summary(np.array([0.2, 0.7, 1.7, np.inf]))
    assert [found[f"within_{x}"] for x in ("0.5", "1", "1.5", "2")] == [0.25, 0.5, 0.5, 0.75]
    assert found["median"] == pytest.approx(1.2)
    assert bound.summary(np.array([np.inf, 1.0, np.inf]))["median"] is None


def test_mirror_images_are_wrong_and_open_elements_free() -> None:
    mol, (xyz,) = etkdg(ALANINE, 1, seed=0, relax=False)
    check = StereoCheck(ALANINE)
    assert check.elements == 1
    assert not check.wrong(with_positions(mol, xyz))
    assert check.wrong(with_positions(mol, -xyz))
    # The record's own tags do not count.
    other = with_positions(standardise("C[C@@H](N)C(=O)O"), xyz)
    assert not check.wrong(other)
    assert not StereoCheck("CC(N)C(=O)O").wrong(with_positions(mol, -xyz))


def test_double_bonds_are_read_from_the_geometry() -> None:
    trans, cis = "CC(F)/C=C/C=CC", "CC(F)/C=C\\C=CC"
    records = {
        s: with_positions(m, x[0]) for s in (trans, cis) for m, x in [etkdg(s, 1, seed=0, relax=False)]
    }
    for stated in (trans, cis):
        check = StereoCheck(stated)
        assert check.elements == 1
        for shown, record in records.items():
            assert check.wrong(record) == (shown != stated)
            assert not check.wrong(
                with_positions(standardise(stated), -record.GetConformer().GetPositions())
            ) or (shown != stated)


def test_records_of_an_sdf_are_checked(tmp_path: Path) -> None:
    inputs = [(ALANINE, "good"), (ALANINE, "bad"), ("C[C@H](O)CN", "lost")]
    mol, (xyz,) = etkdg(ALANINE, 1, seed=0, relax=False)
    with SdfWriter(tmp_path / "out.sdf") as sdf:
        sdf.write(mol, xyz, name="good")
        sdf.write(mol, xyz * [1, 1, -1], name="bad")
    found = stereo.check(inputs, tmp_path / "out.sdf")
    assert (found["records"], found["wrong"]) == (2, 1)
    assert found["served"] == pytest.approx(2 / 3)
    assert found["wrong_records"][0]["name"] == "bad"
    assert found["unserved"] == ["lost"]


def test_the_stereo_list_is_what_it_says() -> None:
    lines = [line.split() for line in stereo.LIST.read_text().splitlines()]
    assert len(lines) == len({smiles for smiles, _ in lines}) == len({name for _, name in lines}) == 1000
    elements = [StereoCheck(smiles).elements for smiles, _ in lines]
    assert min(elements) >= 1
    assert sum(count >= 3 for count in elements) >= 300


def test_refusals_of_the_stereo_list_are_counted_by_reason() -> None:
    allene, radical = "CC=[C@]=CC", "C[C@H](N)[CH2]"
    assert draw_stereo.refusal(ALANINE) is None
    given = [(s, s, str(k)) for k, s in enumerate((ALANINE, allene, radical, "[Na]C", "C[C@H](O)[Fe]"))]
    # The canonical form of ZINC's has lost what it stated.
    given.append((allene, "CC=C=CC", "lost"))
    refused: dict[str, str] = {}
    kept = list(draw_stereo.candidates(given, refused))
    assert kept == [(ALANINE, "0"), ("CC=C=CC", "lost")]
    assert refused == {
        allene: "states axial stereo (allene)",
        radical: "radical",
        "C[C@H](O)[Fe]": "unsupported metal iron",
    }


def test_geometry_of_the_reference_itself_has_no_error() -> None:
    smiles = "CCC(=O)NCc1ccccc1"
    mol, xyz = etkdg(smiles, 6, seed=0, relax=True)
    reference = references.Reference("x", smiles, mol, xyz[:1])
    same, other = geometry.Errors(), geometry.Errors()
    same.add(Made(reference, mol, xyz[:1]))
    _, rough = etkdg(smiles, 6, seed=0, relax=False)
    other.add(Made(reference, mol, 1.1 * rough))
    exact, far = same.summary(), other.summary()
    assert exact["bond"] == exact["bond_h"] == exact["angle"] == 0
    assert exact["torsion_w1"] == exact["torsion_tv"] == 0
    assert exact["rotors"] == 4
    assert exact["aromatic_torsion"] < 3
    assert far["bond"] == pytest.approx(0.14, abs=0.03)
    assert far["torsion_w1"] > 1
    # The mirror image of an achiral molecule is the same conformer.
    mirrored = geometry.Errors()
    mirrored.add(Made(reference, mol, -xyz[:1]))
    assert mirrored.summary()["torsion_w1"] == pytest.approx(0, abs=1e-9)


def test_angles_and_dihedrals_of_a_known_geometry() -> None:
    xyz = np.array([[[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]]])
    assert geometry.angles(xyz, np.array([[0, 1, 2]]))[0, 0] == pytest.approx(90)
    assert abs(geometry.dihedrals(xyz, np.array([[0, 1, 2, 3]]))[0, 0]) == pytest.approx(90)
    assert geometry.folded_flat(np.array([5.0, -175.0, 90.0])).tolist() == [5, 5, 90]


@pytest.mark.skipif(shutil.which("xtb") is None, reason="needs the xtb program")
def test_strain_is_positive_and_falls_on_relaxation() -> None:
    mol, (rough,) = etkdg("CCO", 1, seed=0, relax=False)
    _, (smooth,) = etkdg("CCO", 1, seed=0, relax=True)
    first, second = strain.strain(mol, rough), strain.strain(mol, smooth)
    assert first is not None
    assert second is not None
    assert first > second > -1e-3
    assert strain.energy(mol, np.zeros_like(rough)) is None


def test_strain_is_compared_on_the_molecules_all_were_scored_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mol, xyz = etkdg("CCO", 1, seed=0, relax=False)
    ethanol = references.Reference("x", "CCO", mol, xyz)
    none = np.zeros((0, *xyz.shape[1:]))
    # The geometry says its strain: 1 to 4 kcal/mol of the references; NaN where xtb would fail.
    monkeypatch.setattr(strain, "strain", lambda mol, x: None if np.isnan(x[0, 0]) else float(x[0, 0]))
    molecules = [references.Reference("x", "CCO", mol, xyz * 0 + k) for k in (1, 2, 3, 4)]
    lacking = [Made(ethanol, mol, x) for x in (none, xyz * 0 + 20, xyz * np.nan, xyz * 0 + 40)]
    whole = [Made(ethanol, mol, xyz * 0 + k) for k in (500, 5, 600, 7)]
    result = strain.run(molecules, {"lacking": lacking, "whole": whole})
    assert (result["molecules"], result["common"]) == (4, 2)
    dft, first, second = result["rows"]
    assert [row["median"] for row in (dft, first, second)] == [3, 30, 6]
    assert first["median_per_atom"] == pytest.approx(30 / 9)
    assert [first[key] for key in ("scored", "missing", "failed")] == [2, 1, 1]
    assert [second[key] for key in ("scored", "missing", "failed")] == [4, 0, 0]
    assert first["per_molecule"] == [None, 20, None, 40]
    strain.show(result)
    empty = strain.run(molecules, {"nothing": [Made(ethanol, mol, none)] * 4})
    assert empty["common"] == 0
    assert empty["rows"][0]["median"] is None


def test_steps_fit_the_calls_allowed() -> None:
    from scoregen.molecules.conformers import ConformerGenerator
    from scoregen.molecules.features import featurise
    from scoregen.molecules.graph import molecule_data
    from scoregen.molecules.sampler import Draw

    denoiser = ConformerGenerator.from_pretrained("conformer-small").denoiser
    draw = Draw(molecule_data(featurise(standardise("C"))), 1)
    assert steps.fitting(denoiser, draw, "dpmpp-2m", 3, 0) == (3, 3)
    count, calls = steps.fitting(denoiser, draw, "heun", 5, 0)
    assert count < calls <= 5
    assert not denoiser._forward_hooks


def test_speed_and_memory_are_of_a_fresh_process() -> None:
    task = {"smiles": "CCO", "n": 3, "threads": 1, "seed": 0, "relax": False, "device": "cpu"}
    found = measured(WORKER, task, 240)
    assert found["n"] == 3
    assert found["per_second"] == pytest.approx(3 / found["seconds"])
    # The worker needs no torch: a parent's memory must not show in it.
    assert 20 < found["loaded_mb"] <= found["peak_mb"] < 250
    assert "error" in measured(WORKER, {**task, "smiles": "not one"}, 240)


def test_rank_correlation_has_the_sign_of_likely_is_low() -> None:
    energies = np.array([0.0, 1, 2, 3, 4])
    assert likelihood.rank_correlation(-energies, energies) == pytest.approx(-1)
    assert likelihood.rank_correlation([1.0] * 5, energies) is None
    assert likelihood.rank_correlation([np.nan, 1, 2, 3, 4], energies) is None


def test_a_molecule_without_parameters_keeps_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boronic, alcohol = "CCCB(O)O", "CCCO"
    found = []
    for smiles in (boronic, alcohol):
        mol, xyz = etkdg(smiles, 6, seed=0, relax=False)
        found.append(references.Reference(smiles, smiles, mol, xyz, np.arange(6.0)))
    monkeypatch.setattr(references, "qm9", lambda *_: found)
    monkeypatch.setattr(references, "druglike", lambda *_, **__: [])

    def likely(denoiser: None, graph: object, xyz: np.ndarray, seed: int) -> np.ndarray:
        return np.arange(6.0) if xyz.shape == found[0].positions.shape else -np.arange(6.0)

    monkeypatch.setattr("scoregen.molecules.likelihood.log_likelihoods", likely)
    bench = SimpleNamespace(data=tmp_path, device="cpu", generator=SimpleNamespace(denoiser=None))
    result = likelihood.run(bench, Options())
    row, none = result["rows"]
    assert row["names"] == [boronic, alcohol]
    assert row["model_each"] == pytest.approx([1, -1])
    assert row["mmff_each"][0] is None
    assert row["mmff"] == row["mmff_each"][1] == row["mmff_common"]
    assert (row["model"], row["model_common"], row["common"]) == pytest.approx((0, -1, 1))
    assert (none["common"], none["model_common"]) == (0, None)
    likelihood.show(result)


def test_interval_is_repeatable_and_around_the_mean() -> None:
    values = np.random.default_rng(1).normal(3, 1, 200)
    low, high = interval(values.tolist())
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(200), rel=0.2)
    assert interval(values.tolist()) == (low, high)
    # Strata that explain everything leave nothing to resample.
    assert interval([1.0, 1, 5, 5], ["a", "a", "b", "b"]) == (3, 3)
    assert interval([1.0]) is None


def test_failures_are_counted(molecules: list[references.Reference]) -> None:
    def none(smiles: str, n: int) -> tuple:
        raise InputError("none")

    made, row = run_method("none", none, molecules, lambda _: 3)
    assert [len(m.positions) for m in made] == [0, 0]
    assert (row["requested"], row["generated"], row["failures"]) == (6, 0, 2)


def test_smiles_of_records_with_written_hydrogens_match() -> None:
    smiles = "[H]/N=C/OC1(C=O)COC1"
    mol, (xyz,) = etkdg(smiles, 1, seed=0, relax=False)
    block = Chem.MolToMolBlock(with_positions(mol, xyz))
    assert not StereoCheck(smiles).wrong(Chem.MolFromMolBlock(block, removeHs=False))
