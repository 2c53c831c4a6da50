"""``scoregen shortlist`` on candidates that ``scoregen design`` made, with a person's own score."""

import csv
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from scoregen.molecules.sdf import read_blocks

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "shortlist.md"
SCORE = "def rings(mol):\n    return mol.GetRingInfo().NumRings()\n"


def test_from_a_score_to_a_shortlist(scoregen, tmp_path: Path) -> None:
    score, made, short = tmp_path / "mine.py", tmp_path / "made.sdf", tmp_path / "short.sdf"
    score.write_text(SCORE)
    ask = ("design", "-n", "8", "--model", "design-qm9", "--steps", "20", "--score", f"{score}:rings")
    done = scoregen(*ask, "--no-page", "-o", made)
    assert done.code == 0, done.err
    with open(made.with_suffix(".csv")) as stream:
        scores = [float(row["score"]) for row in csv.DictReader(stream)]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0
    done = scoregen("shortlist", made, "-n", "3", "--rank", "score", "--rank", "sa", "--json", "-o", short)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["written"], found["read"]) == (3, 8)
    with open(short.with_suffix(".csv")) as stream:
        rows = list(csv.DictReader(stream))
    assert [row["place"] for row in rows] == ["1", "2", "3"]
    page = Path(found["page"]).read_text()
    assert all(row["name"] in page for row in rows)


def test_a_place_that_cannot_be_written_is_one_line(scoregen, tmp_path: Path) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    with Chem.SDWriter(str(tmp_path / "one.sdf")) as writer:
        writer.write(mol)
    done = scoregen("shortlist", tmp_path / "one.sdf", "-n", "1", "-o", tmp_path / "one.sdf" / "short.sdf")
    assert done.code == 1
    assert re.fullmatch(r"error: \S*one\.sdf\S*: .+\n", done.err), done.err


def test_wrong_usage_is_one_line(scoregen, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def f(mol):\n    raise ValueError('no licence')\n")
    qm9 = ("--model", "design-qm9", "--steps", "20")
    for ask, words in (
        (("shortlist", tmp_path / "no.sdf", "-o", tmp_path / "s.sdf"), "no such SDF file"),
        (
            ("shortlist", tmp_path / "no.sdf", "--rank", "tpsa", "-o", tmp_path / "s.sdf"),
            "which end is better",
        ),
        (("design", *qm9, "--score", "nowhere.py:f", "-o", tmp_path / "s.sdf"), "not a Python file"),
        (("design", *qm9, "-n", "8", "--score", f"{broken}:f", "-o", tmp_path / "s.sdf"), "no licence"),
        (("design", *qm9, "--shape", "CCO", "-o", tmp_path / "s.sdf"), "not an SDF file"),
        (("design", *qm9, "--particles", "0", "-o", tmp_path / "s.sdf"), "particles"),
    ):
        done = scoregen(*ask)
        assert done.code == 2, ask
        assert words in done.err and len(done.err.strip().splitlines()) == 1, done.err
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py"] == []


def test_the_commands_of_the_tutorial_run(scoregen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but for fewer molecules, fewer steps and no relaxation with GFN2."""
    monkeypatch.chdir(tmp_path)
    fewer = {"design": ("-n", 3, "--steps", 25), "shortlist": ("-n", 2), "evaluate": ("--strain", "mmff")}
    ran = []
    for block in re.findall(r"^```sh\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL):
        if block.startswith("cat"):
            subprocess.run(["sh", "-c", block], check=True)
            continue
        words = shlex.split(block.replace("\\\n", " "))
        done = scoregen(*words[1:], *fewer[words[1]])
        assert done.code in (0, 1), done.err
        ran.append(words[1])
    assert ran == ["design", "design", "shortlist", "evaluate"]
    assert len(list(read_blocks(tmp_path / "shortlist.sdf"))) >= 1
    with open(tmp_path / "grown.csv") as stream:
        row = next(csv.DictReader(stream))
    assert {"logp", "tpsa", "score", "misses"} <= set(row)
    assert (tmp_path / "checked.csv").exists()
