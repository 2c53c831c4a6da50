"""``scoregen evaluate candidates`` on real files."""

import csv
import gzip
import json
import shutil
import sys
from pathlib import Path

import pytest
from rdkit import Chem

DATA = Path(__file__).resolve().parents[2] / "data" / "molecules"
SAMPLE = DATA / "cascade_dft_sample.sdf"


def run(scoregen, generated: Path, reference: Path, *options: object):
    done = scoregen("evaluate", "candidates", generated, "--reference", reference, "--pose", "none", *options)
    return done, json.loads(done.out) if "--json" in options else done.out


def test_a_table_for_people(scoregen) -> None:
    done, table = run(scoregen, SAMPLE, DATA / "drugs.smi", "--strain", "mmff", "--strain-limit", 2)
    assert (done.code, done.err) == (0, "")
    lines = {line[:20].strip(): line[20:].split() for line in table.splitlines()}
    assert lines["molecules"] == ["20"]
    assert lines["valid"] == lines["unique"][:2] == lines["new"][:2] == ["100.0", "%"]
    assert float(lines["strain"][0]) > 0 and lines["strain"][-1] == "2"
    assert len(lines["qed"]) == 2 and lines["logp_w1"][2:] == ["log", "units"]


@pytest.mark.parametrize("kind", ["smi", "csv", "smi.gz", "sdf"])
def test_novelty_against_every_kind_of_file(scoregen, tmp_path: Path, kind: str) -> None:
    mols = [mol for mol in Chem.SDMolSupplier(str(SAMPLE)) if mol is not None]
    smiles = [Chem.MolToSmiles(mol) for mol in mols[:5]]
    path = tmp_path / f"known.{kind}"
    if kind == "sdf":
        path.write_text("".join(Chem.MolToMolBlock(mol) + "$$$$\n" for mol in mols[:5]))
    else:
        text = "\n".join(["smiles,name", *(f"{s},x" for s in smiles)] if kind == "csv" else smiles) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    done, content = run(scoregen, SAMPLE, path, "--json")
    assert done.code == 0
    assert content["reference_molecules"] == 5
    assert content["novelty_to_file"] == pytest.approx(15 / 20)


def test_bad_records_are_counted_and_named(scoregen, tmp_path: Path) -> None:
    blocks = SAMPLE.read_text().split("$$$$\n")[:4]
    lines = blocks[1].splitlines()
    atoms, bonds = int(lines[3][:3]), int(lines[3][3:6])
    # One bond of the second record is taken away, the third is no record at all.
    lines[3] = f"{atoms:3d}{bonds - 1:3d}" + lines[3][6:]
    del lines[4 + atoms + bonds - 1]
    blocks[1], blocks[2] = "\n".join(lines) + "\n", "nothing\n"
    path, reference = tmp_path / "made.sdf", tmp_path / "known.smi"
    path.write_text("".join(f"{block}$$$$\n" for block in blocks))
    reference.write_text("CCO\nC(C\nc1ccccc1\n")
    table = tmp_path / "rows.csv"
    done, content = run(scoregen, path, reference, "--json", "--csv", table)
    assert done.code == 1
    assert (content["molecules"], content["valid"]) == (3, 2)
    assert content["validity"] == pytest.approx(2 / 3)
    assert sum(content["invalid"].values()) == 1
    assert f"failed: {path}: record 2: valence: " in done.err
    assert f"failed: {path}: record 3: not a readable SDF record" in done.err
    assert f"failed: {reference}: 1 of 3 left out, the first: line 2: not a valid SMILES" in done.err
    with open(table, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["record"] for row in rows] == ["1", "2", "4"]
    assert [bool(row["problem"]) for row in rows] == [False, True, False]


def test_what_cannot_be_used_is_one_line(scoregen, tmp_path: Path) -> None:
    empty = tmp_path / "empty.sdf"
    empty.write_text("")
    for generated, reference, message in (
        (tmp_path / "no.sdf", SAMPLE, "no.sdf: no such file"),
        (SAMPLE, tmp_path / "no.smi", "no.smi: no such file"),
        (DATA / "drugs.smi", SAMPLE, "drugs.smi: candidates are scored from an SDF"),
        (empty, SAMPLE, "empty.sdf: holds no usable record"),
        (SAMPLE, empty, "empty.sdf: holds no usable molecule"),
    ):
        done, _ = run(scoregen, generated, reference)
        assert done.code == 2
        assert done.err.startswith("error: ") and message in done.err and done.err.count("\n") == 1
    done = scoregen("evaluate", "candidates", SAMPLE, "--reference", SAMPLE, "--pose", "gold")
    assert done.code == 2 and "not one of mol, mol_fast" in done.err


def test_the_table_overwrites_no_input(scoregen, tmp_path: Path) -> None:
    generated, reference = tmp_path / "made.sdf", tmp_path / "known.smi"
    shutil.copy(SAMPLE, generated)
    shutil.copy(DATA / "drugs.smi", reference)
    before = {path: path.read_bytes() for path in (generated, reference)}
    for path in before:
        done, _ = run(scoregen, generated, reference, "--csv", path)
        assert done.code == 2 and f"{path.name} would be overwritten" in done.err
    assert {path: path.read_bytes() for path in before} == before


def test_without_posebusters_the_rest_is_done(scoregen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "posebusters", None)
    done = scoregen("evaluate", "candidates", SAMPLE, "--reference", DATA / "drugs.smi", "--json")
    assert done.code == 0
    assert "note: PoseBusters is left out" in done.err and "scoregen[chem]" in done.err
    assert json.loads(done.out)["poses"] == 0
    asked = scoregen(
        "evaluate", "candidates", SAMPLE, "--reference", DATA / "drugs.smi", "--pose", "mol_fast"
    )
    assert asked.code == 1 and asked.err.startswith("error: posebusters is not installed")


def test_poses_are_checked_up_to_the_limit(scoregen) -> None:
    pytest.importorskip("posebusters", reason="the chem extra is not installed")
    done = scoregen(
        *("evaluate", "candidates", SAMPLE, "--reference", DATA / "drugs.smi", "--json"),
        *("--pose", "mol_fast", "--pose-limit", 3),
    )
    content = json.loads(done.out)
    assert (content["poses"], content["pose_ok"]) == (3, 1.0)
