"""``scoregen design`` on the shipped models: files, counts, and wishes that cannot be served."""

import csv
import json
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from scoregen.molecules.sdf import parse_block, read_blocks

QUICK = ("--model", "design-qm9", "--steps", "20")


def test_records_table_and_page_the_same_every_time(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "free.sdf"
    ask = ("design", "-n", "3", *QUICK, "--rank", "qed")
    done = scoregen(*ask, "--json", "-o", out)
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    mols = [parse_block(block) for block in read_blocks(out)]
    with open(out.with_suffix(".csv")) as stream:
        rows = list(csv.DictReader(stream))
    assert summary["written"] == len(mols) == len(rows) == 3
    assert summary["draws"]["drawn"] >= 3
    assert [float(row["qed"]) for row in rows] == sorted((float(row["qed"]) for row in rows), reverse=True)
    for mol, row in zip(mols, rows, strict=True):
        assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == row["smiles"]
        assert 2 <= mol.GetNumHeavyAtoms() <= 9
    page = Path(summary["page"]).read_text()
    assert all(row["name"] in page for row in rows)
    assert "drawn" in done.err
    again = tmp_path / "again.sdf"
    assert scoregen(*ask, "--no-page", "-o", again).code == 0
    assert again.read_text() == out.read_text()
    assert not again.with_suffix(".html").exists()


def test_a_scaffold_is_in_every_record(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "grown.sdf"
    done = scoregen("design", "-n", "3", *QUICK, "--scaffold", "*C1CCO1", "--no-page", "-o", out)
    assert done.code == 0, done.err
    pattern = Chem.MolFromSmiles("C1CCO1")
    mols = [Chem.RemoveHs(parse_block(block)) for block in read_blocks(out)]
    assert len(mols) == 3
    assert all(mol.HasSubstructMatch(pattern) and mol.GetNumHeavyAtoms() > 4 for mol in mols)


def test_tries_that_run_out_are_told(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "none.sdf"
    done = scoregen("design", "-n", "10", *QUICK, "--tries", "2", "--filter", "mw=900..", "-o", out)
    assert done.code == 1
    assert "filtered: mw" in done.err
    assert done.out.startswith("0 candidates of 10 wanted")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (["--property", "qed=1.5"], "no molecule has that; qed lies between 0 and 1"),
        (["--property", "logp=3..2"], "the lower end is above the upper one"),
        (["--property", "iq=140"], "unknown property 'iq'"),
        (["--scaffold", "c1cccc1(C)(C)(C)*"], "chemically impossible"),
        (["--scaffold", "FC(F)(F)F"], "no open position"),
        (["--atoms", "0-0"], "a molecule has at least one heavy atom"),
        (["--atoms", "3-900"], "heavy atoms; ask within that range"),
        (["--filter", "nice"], "unknown filter 'nice'"),
        (["--similar", "not a smiles"], "--similar"),
        (["--similar", "CCO", "--atoms", "3-5"], "--similar varies a whole molecule"),
        (["--link", "nowhere.sdf"], "no such SDF file"),
        (["--rank", "nice"], "--rank nice: unknown descriptor"),
        (["--rank", "logp"], "say which end is better"),
        (["--particles", "0"], "--particles must be at least 1"),
        (["--scaffold", "*N"], "*N: no token for NH3, so it cannot be kept"),
        (["--scaffold", "*c1ccc([B-](F)(F)F)cc1"], "no token for B-1"),
        (["--model", "nowhere"], "model 'nowhere' not found"),
        (["--guidance", "2"], "--guidance weighs properties: give --property with it"),
        (["--guidance", "inf", "--property", "qed=0.9"], "--guidance must lie in 0 … 100, got inf"),
        (["--guidance", "nan", "--property", "qed=0.9"], "--guidance must lie in 0 … 100, got nan"),
        (["--strength", "0.2"], "--strength is of variations: give --similar with it"),
    ],
)
def test_wishes_that_cannot_be_served(scoregen, tmp_path: Path, wish: list[str], message: str) -> None:
    out = tmp_path / "out.sdf"
    done = scoregen("design", *QUICK, *wish, "-o", out)
    assert done.code == 2, done.err
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_input_is_not_overwritten(scoregen, tmp_path: Path) -> None:
    known = tmp_path / "mine.csv"
    known.write_text("smiles\nCCO\n")
    done = scoregen("design", *QUICK, "--known", known, "-o", tmp_path / "mine.sdf")
    assert done.code == 2
    assert "mine.csv would be overwritten; choose another name for the output" in done.err
    assert known.read_text() == "smiles\nCCO\n"


def test_a_folder_of_the_same_name_is_named_before_anything_is_written(scoregen, tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    done = scoregen("design", *QUICK, "-o", tmp_path / "out.sdf")
    assert done.code == 2
    assert "out.csv is a folder; choose another name for the output" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_overlapping_fragments_are_named(scoregen, tmp_path: Path) -> None:
    ring = Chem.AddHs(Chem.MolFromSmiles("C1CC1"))
    AllChem.EmbedMolecule(ring, randomSeed=1)
    path = tmp_path / "pair.sdf"
    record = Chem.MolToMolBlock(ring) + ">  <anchor>\n1\n\n$$$$\n"
    path.write_text(record * 2)
    done = scoregen("design", *QUICK, "--link", path, "-o", tmp_path / "out.sdf")
    assert done.code == 2
    assert "overlap" in done.err
    assert not (tmp_path / "out.sdf").exists()
