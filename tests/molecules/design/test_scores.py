"""A person's own score: read from a file, allowed to fail, not allowed to fail always."""

from __future__ import annotations

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


@pytest.mark.parametrize("broken", [lambda mol: 1 / 0, lambda mol: "good", lambda mol: None])
def test_a_score_that_always_fails_is_named(broken):
    with pytest.raises(InputError, match="failed on each of the first 10 molecules, last on CCO"):
        Jury((broken,)).values([drawn("CCO")] * 30)


def test_a_score_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def size(mol):\n    return mol.GetNumAtoms()\n")
    assert read_score(f"{path}:size")(drawn("CCO")) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{path}", "FILE.py:FUNCTION"),
        ("{path}:", "FILE.py:FUNCTION"),
        ("{path}:other", "no function 'other'"),
        ("{path}:number", "no function 'number'"),
        ("nowhere.py:f", "not a Python file"),
        ("{broken}:f", "ZeroDivisionError"),
    ],
)
def test_what_is_no_score_is_refused(tmp_path, text, words):
    path, broken = tmp_path / "mine.py", tmp_path / "broken.py"
    path.write_text("number = 3\n")
    broken.write_text("1 / 0\n")
    with pytest.raises(InputError, match=words) as error:
        read_score(text.format(path=path, broken=broken))
    assert "\n" not in str(error.value)
