import csv
import json

import numpy as np
import pytest
from rdkit import Chem

from scoregen.errors import InputError, MissingExtra
from scoregen.molecules.design import assess as module
from scoregen.molecules.design.assess import AssessSettings, assess, write_csv
from scoregen.molecules.design.descriptors import DESCRIPTORS, describe
from scoregen.molecules.design.evaluation import evaluate_candidates, read_as_written
from scoregen.molecules.design.filters import parse_filter
from scoregen.molecules.design.novelty import fingerprints, hashes, internal_diversity, key
from scoregen.molecules.design.validity import as_generated
from scoregen.molecules.sdf import read_blocks
from scoregen.molecules.stereo import with_positions
from tests.molecules.samples import DATA, embedded, pack

GOOD = ("CCO", "OCC", "c1ccccc1O", "O=C1NC(=S)SC1=Cc1ccccc1")


def raw(smiles: str) -> Chem.Mol:
    return as_generated(Chem.MolFromSmiles(smiles))


def damaged() -> list[Chem.Mol]:
    """A carbon with five bonds, a salt, nothing."""
    broken = Chem.RWMol(raw("CCO"))
    broken.GetAtomWithIdx(0).SetNumExplicitHs(4)
    return [broken.GetMol(), Chem.CombineMols(raw("CCO"), raw("CCN")), Chem.Mol()]


def test_rates_counted_by_hand():
    known = hashes([key(Chem.MolFromSmiles("CCO"))])
    mols = [*map(raw, GOOD), *damaged()]
    settings = AssessSettings(filters=[parse_filter("pains")], training=known, known=hashes([]))
    found = assess(mols, settings)
    summary = found.summary
    assert (summary["molecules"], summary["valid"], summary["validity"]) == (7, 4, 4 / 7)
    assert summary["invalid"] == {"valence": 1, "fragments": 1, "no atoms": 1}
    assert (summary["unique"], summary["uniqueness"]) == (3, 3 / 4)
    assert summary["novelty"] == pytest.approx(2 / 3)
    assert summary["novelty_to_file"] == 1
    assert summary["molecule_stability"] == 6 / 7  # a salt's atoms, and those of nothing, are stable
    atoms = [9, 9, 13, 21, 10, 19, 0]
    assert summary["atom_stability"] == pytest.approx((sum(atoms) - 1) / sum(atoms))
    assert summary["pains_alerts"] == 1 / 4 and summary["passed_filters"] == 3
    assert summary["diversity"] == pytest.approx(internal_diversity(fingerprints(found.valid)))
    assert summary["mw"]["median"] == pytest.approx(np.median([row["mw"] for row in found.rows[:4]]))
    assert [row["problem"] for row in found.rows[4:]] == ["valence: C0 with 5", "2 fragments", "no atoms"]
    assert [row["duplicate_of"] for row in found.rows[:4]] == [None, 0, None, None]
    assert [row["in_training"] for row in found.rows[:4]] == [True, True, False, False]
    assert [bool(row["filter"]) for row in found.rows[:4]] == [False, False, False, True]
    assert json.loads(json.dumps(summary)) == summary


def test_rows_hold_what_the_descriptors_say():
    mols = pack("cascade_dft_sample.sdf")[:5]
    found = assess(mols, sanitised=True)
    for mol, row in zip(mols, found.rows, strict=True):
        assert {name: row[name] for name in DESCRIPTORS} == pytest.approx(describe(mol))
        assert row["smiles"] == Chem.MolToSmiles(Chem.RemoveHs(mol))
        assert row["error"] == "" and "key" not in row
    assert found.summary["validity"] == 1 == found.summary["molecule_stability"]


def test_one_failure_does_not_stop_the_rest(monkeypatch):
    def fussy(mol, names):
        if mol.GetNumHeavyAtoms() == 7:
            raise RuntimeError("seven is\nunlucky")
        return describe(mol, names)

    monkeypatch.setattr(module, "describe", fussy)
    found = assess([raw(smiles) for smiles in GOOD])
    assert [row["error"] for row in found.rows] == ["", "", "descriptors: seven is unlucky", ""]
    assert found.rows[2]["smiles"] == "Oc1ccccc1" and found.rows[2]["brenk"] == ""
    assert found.summary["errors"] == 1 and found.summary["qed"]["count"] == 3


def test_geometry_is_judged_up_to_the_limits():
    pytest.importorskip("posebusters", reason="the chem extra is not installed")
    mol, (first, *_) = embedded("CC(=O)O")
    good, bad = with_positions(mol, first), with_positions(mol, first * 1.5)
    flat = Chem.Mol(mol)
    settings = AssessSettings(pose="mol_fast", pose_limit=3, strain="mmff", strain_limit=2)
    rows = assess([good, bad, flat, good], settings, sanitised=True).rows
    assert rows[0]["pose_failed"] == ""
    assert [row.get("pose_ok") for row in rows] == [True, False, None, None]
    assert "bond_lengths" in rows[1]["pose_failed"].split(";")
    assert rows[0]["strain_kcal_mol"] < 10
    assert rows[1]["strain_kcal_mol"] > 100
    assert [row["error"] for row in rows] == ["", "", "pose: no 3D coordinates to check", ""]
    summary = module.summarise(rows)
    assert (summary["poses"], summary["pose_ok"], summary["strain_kcal_mol"]["count"]) == (2, 0.5, 2)


def test_what_would_fail_for_all_fails_at_once(monkeypatch):
    def gone(level):
        raise MissingExtra("posebusters", "chem")

    with pytest.raises(InputError, match="unknown descriptor"):
        assess([], AssessSettings(descriptors=["logd"]))
    with pytest.raises(InputError, match="'uff' is not one of"):
        assess([], AssessSettings(strain="uff"))
    monkeypatch.setattr(module.pose, "check_available", gone)
    with pytest.raises(MissingExtra):
        assess([], AssessSettings(pose="mol"))
    assert assess([]).summary["validity"] is None


def test_the_table_has_every_value(tmp_path):
    rows = assess([*map(raw, GOOD), *damaged()]).rows
    write_csv(tmp_path / "out.csv", rows)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [line["problem"] for line in table] == [row["problem"] or "" for row in rows]
    assert [float(line["logp"]) for line in table[:4]] == pytest.approx(
        [row["logp"] for row in rows[:4]], rel=1e-5
    )
    assert table[0]["lipinski"] == "true" and table[4]["logp"] == ""


def test_nearest_references_are_named():
    references = [Chem.MolFromSmiles(smiles) for smiles in ("CCCO", "c1ccccc1O")]
    rows = assess([raw("c1ccccc1O"), raw("CCO")], AssessSettings(references=references)).rows
    assert [row["nearest"] for row in rows] == ["Oc1ccccc1", "CCCO"]
    assert rows[0]["nearest_similarity"] == 1 > rows[1]["nearest_similarity"]


# ------------------------------------------------------------------------------------------------ whole files


def test_records_are_read_as_written():
    for block in read_blocks(DATA / "qm9_xtb_sample.sdf"):
        mol, implied = read_as_written(block)
        assert not implied and not any(bond.GetIsAromatic() for bond in mol.GetBonds())
    (block,) = [b._replace(text=Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))) for b in [block]]
    mol, implied = read_as_written(block)
    assert implied and [a.GetNumExplicitHs() for a in mol.GetAtoms()] == [3, 2, 1]


def test_a_file_against_itself():
    path = DATA / "cascade_dft_sample.sdf"
    found, rows = evaluate_candidates(path, path)
    assert found["validity"] == found["uniqueness"] == 1
    assert found["novelty_to_file"] == 0 and found["novelty"] is None
    assert all(value == pytest.approx(0) for value in found["distances"].values())
    assert found["distances_within_reference"]["logp_w1"] > 0
    assert found["nearest_similarity"]["mean"] == 1
    assert (found["problems"], found["reference_molecules"], len(rows)) == ([], 20, 20)
