"""Stereoisomers against counts known from textbooks."""

import pytest

from scoregen.molecules.chem import canonical_smiles, standardise
from scoregen.molecules.enumeration import enumerate_inputs, stereoisomers
from scoregen.molecules.inputs import read_inputs


@pytest.mark.parametrize(
    ("smiles", "count"),
    [
        ("CCO", 1),
        ("CC(N)C(=O)O", 2),
        ("CC1CCC(C)CC1", 2),  # cis and trans
        ("OC(C(O)C(=O)O)C(=O)O", 3),  # tartaric acid: a pair and meso
        ("CC=CC=CC", 3),
        ("OC1C(O)C(O)C(O)C(O)C1O", 9),  # the inositols
        ("CC(O)[C@H](F)Cl", 2),
        ("CC=NO", 2),
        ("CC=N", 1),
        ("CS(=O)CC", 2),
        ("OC1CN2CCC1CC2", 2),  # the cage leaves the carbon with the hydroxyl only
    ],
)
def test_counts(smiles: str, count: int) -> None:
    mol = standardise(smiles)
    isomers, more = stereoisomers(mol)
    found = [canonical_smiles(isomer) for isomer in isomers]
    assert (len(set(found)), len(found), more) == (count, count, 0)
    plain = canonical_smiles(mol, stereo=False)
    assert all(canonical_smiles(isomer, stereo=False) == plain for isomer in isomers)
    assert all(isomer.GetNumAtoms() == mol.GetNumAtoms() for isomer in isomers)


def test_stated_stereo_is_kept() -> None:
    isomers, _ = stereoisomers(standardise("C[C@H](O)C(F)Cl"))
    assert {canonical_smiles(isomer) for isomer in isomers} == {
        canonical_smiles(standardise(s)) for s in ("C[C@H](O)[C@H](F)Cl", "C[C@H](O)[C@@H](F)Cl")
    }


def test_isomers_are_named_and_a_cap_is_told() -> None:
    entries = list(enumerate_inputs(read_inputs(["CC(N)O x", "CCO", "bad", "OC1C(O)C(O)C(O)C(O)C1O y"]), 4))
    names = [entry.name for entry in entries if entry.mol is not None]
    assert names == ["x_1", "x_2", "CCO", "y_1", "y_2", "y_3", "y_4"]
    errors = [(entry.name, entry.error) for entry in entries if entry.mol is None]
    assert errors[0] == ("bad", "not a valid SMILES")
    assert errors[1][0] == "y" and "stopped at 4 of up to 64" in (errors[1][1] or "")
