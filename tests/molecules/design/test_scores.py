"""A person's own score: read from a file, allowed to fail, not allowed to fail always."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.design.encode import decode, encode
from scoregen.molecules.design.scores import Jury, read_score


def drawn(smiles: str) -> Chem.Mol:
    return decode(encode(standardise(smiles), positions=False))


def test_scores_see_sanitised_molecules_and_impossible_ones_have_none():
    mols = [drawn("c1ccccc1"), drawn("CCO"), drawn("CC")]
    mols[2].GetAtomWithIdx(0).SetNumExplicitHs(4)
    rings = Jury((lambda mol: mol.GetRingInfo().NumRings(), lambda mol: float(mol.GetNumAtoms())))
    np.testing.assert_array_equal(rings.values(mols), [[1, 0, np.nan], [6, 3, np.nan]])


def test_a_score_that_fails_on_a_molecule_says_nothing_of_it():
    def picky(mol):
        if mol.GetNumAtoms() < 3:
            raise KeyError("too small")
        return 1.0

    jury = Jury((picky,))
    found = jury.values([drawn(text) for text in ["CCO"] + ["CC"] * 30])
    assert found[0, 0] == 1 and np.isnan(found[0, 1:]).all()


def test_a_score_that_fails_is_not_hidden_by_another():
    with pytest.raises(InputError, match="failed on each"):
        Jury((lambda mol: 1.0, lambda mol: 1 / 0)).values([drawn("CCO")] * 30)
    patient = Jury((lambda mol: 1 / 0,), patience=math.inf)
    assert np.isnan(patient.values([drawn("CCO")] * 30)).all()


@pytest.mark.parametrize("broken", [lambda mol: 1 / 0, lambda mol: "good", lambda mol: None])
def test_a_score_that_always_fails_is_named(broken):
    with pytest.raises(InputError, match="failed on each of the first 10 molecules, last on CCO"):
        Jury((broken,)).values([drawn("CCO")] * 30)


def test_a_score_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def size(mol):\n    return mol.GetNumAtoms()\n")
    assert read_score(f"{path}:size")(drawn("CCO")) == 3


def test_a_file_may_have_dataclasses_and_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("WEIGHT = 2\n")
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from neighbour_of_mine import WEIGHT\n"
        "@dataclass\n"
        "class Size:\n"
        "    weight: int\n"
        "    def __call__(self, mol):\n"
        "        return self.weight * mol.GetNumAtoms()\n"
        "size = Size(WEIGHT)\n"
    )
    assert read_score(f"{path}:size")(drawn("CCO")) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{path}", "FILE.py:FUNCTION"),
        ("{path}:", "FILE.py:FUNCTION"),
        ("{path}:other", "no function 'other'"),
        ("{path}:number", "no function 'number'"),
        ("nowhere.py:f", "not a Python file"),
        ("{broken}:f", "ZeroDivisionError"),
        ("{leaving}:f", "SystemExit"),
    ],
)
def test_what_is_no_score_is_refused(tmp_path, text, words):
    path, broken = tmp_path / "mine.py", tmp_path / "broken.py"
    path.write_text("number = 3\n")
    broken.write_text("1 / 0\n")
    leaving = tmp_path / "leaving.py"
    leaving.write_text("import sys\nsys.exit()\n")
    with pytest.raises(InputError, match=words) as error:
        read_score(text.format(path=path, broken=broken, leaving=leaving))
    assert "\n" not in str(error.value)
