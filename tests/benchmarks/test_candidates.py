"""The benchmark of candidates on molecules made by hand: counts, misses, tasks, wishes that are refused."""

# ruff: noqa: E402
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from candidate_suite import badinput, cutting, speed_worker, steering, tasks
from candidate_suite.draws import graph_figures, interval, judged, packed, unpacked
from candidate_suite.options import Options
from candidate_suite.registry import REGISTRY
from suite.options import overrides

from scoregen.errors import InputError
from scoregen.molecules.chem import stereo_from_3d
from scoregen.molecules.design.encode import decode
from scoregen.molecules.design.novelty import hashes, key
from scoregen.molecules.design.targets import parse_target
from scoregen.molecules.design.validity import as_generated, problem
from scoregen.molecules.sdf import parse_block, read_blocks

from ..molecules.design.helpers import SMILES, arrays
from ..molecules.samples import DATA


def drawn(smiles: str) -> Chem.Mol:
    """A molecule as a model draws it."""
    return decode(arrays(smiles))


def crowded() -> Chem.Mol:
    """Neopentane with one methyl too many on its middle, as it could be drawn."""
    mol = Chem.RWMol(drawn("CC(C)(C)C"))
    extra = Chem.Atom("C")
    extra.SetNoImplicit(True)
    extra.SetNumExplicitHs(3)
    mol.AddBond(1, mol.AddAtom(extra), Chem.BondType.SINGLE)
    return mol.GetMol()


def apart() -> Chem.Mol:
    return Chem.CombineMols(drawn("CCO"), drawn("C=C"))


def test_known_molecules_have_known_figures() -> None:
    mols = [*map(drawn, ("CCO", "OCC", "c1ccccc1", "CCN")), apart(), crowded()]
    found = graph_figures(judged(mols, hashes([key(Chem.MolFromSmiles("NCC"))])))
    assert (found["drawn"], found["valid"], found["unique"]) == (6, 4, 3)
    assert found["validity"] == pytest.approx(4 / 6)
    assert found["uniqueness"] == pytest.approx(3 / 4)
    assert found["novelty"] == pytest.approx(2 / 3)
    # Two fragments are no molecule but every valence is right.
    assert found["molecule_stability"] == pytest.approx(5 / 6)
    assert found["invalid"] == {"fragments": 1, "valence": 1}
    assert found["reasons"] == {"2 fragments": 1, "valence: C0 with 5": 1}
    low, high = found["validity_interval"]
    assert low < 4 / 6 < high


def test_interval_is_wilsons() -> None:
    low, high = interval(97, 100)
    # z = 1.95996, p = .97, n = 100
    assert (low, high) == (pytest.approx(0.9155, abs=1e-4), pytest.approx(0.9897, abs=1e-4))
    assert interval(0, 0) is None


@pytest.mark.parametrize("smiles", SMILES)
def test_a_packed_draw_is_the_same_draw(smiles: str) -> None:
    before, after = drawn(smiles), unpacked(packed(drawn(smiles)))
    for one, other in zip(before.GetAtoms(), after.GetAtoms(), strict=True):
        for read in ("GetSymbol", "GetFormalCharge", "GetNumExplicitHs", "GetNoImplicit"):
            assert getattr(one, read)() == getattr(other, read)()
    assert problem(after) is None
    assert problem(unpacked(packed(crowded()))) == problem(crowded()) == "valence: C0 with 5"


def test_misses_and_hits_are_counted_among_the_valid() -> None:
    smiles = ("CCO", "CCCCCO", "CCCCCCCCO")
    masses = [46.07, 88.15, 130.23]
    found = judged([*map(drawn, smiles), crowded()], None, ["mw"])
    row = steering.figures(found, parse_target("mw=100"))
    assert row["mean"] == pytest.approx(np.mean(masses), abs=0.01)
    misses = [abs(mass - 100) for mass in masses]
    assert row["mean_absolute_error"] == pytest.approx(np.mean(misses), abs=0.01)
    # A hit is at most 25 Da away.
    assert (row["hits"], row["hit_rate"], row["hits_per_draw"]) == (1, pytest.approx(1 / 3), 1 / 4)
    assert row["distinct_hits_per_draw"] == 1 / 4
    again = judged([*map(drawn, smiles), *map(drawn, smiles)], None, ["mw"])
    twice = steering.figures(again, parse_target("mw=100"))
    assert (twice["hits"], twice["distinct_hits_per_draw"]) == (2, 1 / 6)
    inside = steering.figures(found, parse_target("mw=80..140"))
    assert (inside["hits"], inside["tolerance"]) == (2, 0)
    assert inside["mean_absolute_error"] == pytest.approx((80 - 46.07) / 3, abs=0.01)


def test_means_over_targets() -> None:
    common = {"model": "m", "property": "mw", "uniqueness": 1.0, "hit_rate": None}
    rows = [
        {
            **common,
            "guidance": 2.0,
            "particles": 1,
            "mean_absolute_error": miss,
            "validity": v,
            "validity_change": v - 0.9,
        }
        for miss, v in ((10.0, 0.8), (30.0, 1.0))
    ]
    (found,) = steering.summary(rows)
    assert (found["targets"], found["mean_absolute_error"], found["hit_rate"]) == (2, 20, None)
    assert found["validity_change"] == pytest.approx(0)


def cut_tasks(kind: str) -> list[cutting.Task]:
    smiles = ("CC(=O)Oc1ccccc1C(=O)NCc1ccncc1", "c1ccccc1CCNC(=O)Cc1ccccc1", "C#N")
    return cutting.cut((("made up", Chem.MolFromSmiles(s)) for s in smiles), kind, 5, 0, 60)


@pytest.mark.parametrize("kind", cutting.KINDS)
def test_counts_of_a_task_add_up(kind: str) -> None:
    found = cut_tasks(kind)
    assert len(found) == 2  # nothing can be cut from the last
    task = found[0]
    mols = [drawn(task.answer), drawn(task.answer), drawn("CCO"), apart(), crowded()]
    counted = tasks.counted(mols, task)
    assert counted["recovered"]
    assert (counted["kept"], counted["unique"], counted["lost"]) == (2, 1, 1)
    assert counted["invalid"] == {"fragments": 1, "valence": 1}
    row = tasks.summary([{**counted, "seconds": 1.0}, {"refused": "too large"}])
    assert row["drawn"] == row["kept"] + 1 + sum(row["invalid"].values())
    assert (row["tasks"], row["recovery"], row["solved"]) == (2, 1.0, 1.0)
    assert row["validity"] == pytest.approx(3 / 5)
    assert row["kept_of_valid"] == pytest.approx(2 / 3)
    assert row["refused"] == {"too large": 1}
    assert not tasks.counted(mols[2:], task)["recovered"]


def test_a_kept_atom_that_moved_is_seen() -> None:
    blocks = read_blocks(DATA / "pdb_ligands_sample.sdf")
    mols = (("sample", stereo_from_3d(parse_block(block))) for block in blocks)
    task = cutting.cut(mols, "scaffold", 1, 0, 60)[0]
    assert task.scaffold.positions is not None
    whole = next(
        mol
        for block in read_blocks(DATA / "pdb_ligands_sample.sdf")
        if key(mol := stereo_from_3d(parse_block(block))) == task.answer
    )
    match = task.scaffold.contained(whole)
    assert match is not None
    record = tasks.written(whole, match, task.scaffold)
    assert record["present"]
    assert record["moved"] <= 1e-6
    places = whole.GetConformer().GetPositions()
    places[match[0]] += [0.0, 0.0, 0.02]
    whole.GetConformer().SetPositions(places)
    record = tasks.written(whole, match, task.scaffold)
    assert not record["present"]
    assert record["moved"] == pytest.approx(0.02, abs=1e-4)


def test_the_peer_makes_valid_molecules_of_known_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_worker, "PRODUCTS", 4)
    path = tmp_path / "molecules.json"
    path.write_text('["CC(=O)Oc1ccccc1C(=O)NCc1ccncc1", "c1ccccc1CCNC(=O)Cc1ccccc1", "CCOC(=O)c1ccco1"]')
    task = {"molecules": str(path), "limits": [5, 40], "seed": 0, "count": 5, "shapes": 1}
    found = speed_worker._peer(task)
    assert found["drawn"] == found["valid"] == 5
    assert found["products"] >= 5
    assert found["fragments"] > 3
    assert found["seconds_per_valid"] == pytest.approx(found["seconds"] / 5)
    assert found["shapes"] == 1
    assert speed_worker._peer({**task, "limits": [1, 2]})["seconds_per_valid"] is None


def test_a_product_must_pass_the_check_that_ours_must_pass() -> None:
    good = Chem.MolFromSmiles("c1ccccc1C(=O)N")
    assert speed_worker._sound(good) is not None
    assert problem(as_generated(good)) is None
    assert speed_worker._sound(Chem.MolFromSmiles("CC.CC")) is None
    assert speed_worker._sound(Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False)) is None


REFUSED = badinput.Case("QED above 1", ("--property", "qed=1.5"), r"qed=1\.5")
SERVED = badinput.Case("nothing", (), None)
LINE = "error: --property 'qed=1.5': no molecule has that"


@pytest.mark.parametrize(
    ("case", "code", "lines", "left", "printed", "said"),
    [
        (REFUSED, 2, [LINE], [], "", []),
        (REFUSED, 0, [LINE], [], "", ["exit code 0"]),
        (REFUSED, 2, [LINE, LINE], [], "", ["2 lines"]),
        (REFUSED, 2, ["error: bad input"], [], "", ["input not named"]),
        (REFUSED, 1, [LINE], ["out.sdf"], "", ["left out.sdf"]),
        (REFUSED, 2, [LINE], [], "{}", ["printed to stdout"]),
        (REFUSED, 2, ["Traceback (most recent call last):"], [], "", ["traceback", "input not named"]),
        (SERVED, 0, [], ["out.csv", "out.sdf"], "1 candidate", []),
        (SERVED, 1, [], [], "", ["exit code 1", "no output"]),
    ],
)
def test_what_is_wrong_with_a_refusal_is_told(case, code, lines, left, printed, said) -> None:
    assert badinput.faults(case, code, lines, left, printed) == said


def test_a_case_runs_a_command_and_looks_at_what_it_left() -> None:
    refuses = "import sys; print('note: x', file=sys.stderr); sys.exit(\"error: --property 'qed=1.5': no\")"
    row = badinput.check(REFUSED, "m", Options(), [sys.executable, "-c", refuses])
    assert (row["right"], row["exit_code"]) == (True, 1)
    writes = "import sys; open(sys.argv[sys.argv.index('-o') + 1], 'w').write('x')"
    row = badinput.check(REFUSED, "m", Options(), [sys.executable, "-c", writes])
    assert not row["right"]
    assert "left out.sdf" in row["why"]
    assert badinput.check(SERVED, "m", Options(), [sys.executable, "-c", writes])["right"]
    none = "import sys; sys.exit(\"Error: No such command 'design'.\")"
    with pytest.raises(InputError, match="no command"):
        badinput.check(SERVED, "m", Options(), [sys.executable, "-c", none])


def test_files_of_the_cases_are_what_they_say(tmp_path: Path) -> None:
    from scoregen.molecules.design.fragments import read_link, read_scaffold

    for case in badinput.CASES:
        if case.write is not None:
            path = tmp_path / "case.sdf"
            case.write(path)
            with pytest.raises(InputError, match=case.said):
                read_link(path)
        elif case.said is not None and case.arguments[0] == "--scaffold" and len(case.arguments) == 2:
            with pytest.raises(InputError, match=case.said):
                read_scaffold(case.arguments[1])
    apart = tmp_path / "apart.sdf"
    badinput.posed("*C1CCCCC1.*C1CCCCC1", 9.0)(apart)
    assert read_link(apart).size == 12


def test_options_are_checked() -> None:
    found = overrides(["qm9.count=5", "steering.targets=qed=0.9,logp=2..3"], list(REGISTRY), Options)
    assert found == {"qm9": {"count": 5}, "steering": {"targets": ("qed=0.9", "logp=2..3")}}
    for bad in (
        {"count": 0},
        {"steps": 1},
        {"more_steps": (1,)},
        {"quantiles": (1.5,)},
        {"size": "large"},
        {"targets": ("qed=2",)},
        {"pose_limit": -1},
        {"timeout": 0.0},
    ):
        with pytest.raises(InputError):
            Options(**bad)
