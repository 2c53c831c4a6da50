"""Stereo that cannot be kept is refused by name; marks that mean nothing pass."""

import pytest

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, standardise

ATROPISOMER = (
    "CC1=C(N2C=CC=C2[C@H](C)Cl)C(C)=CC=C1 |(2.679,0.4142,;1.3509,1.181,;0.0229,0.4141,;0.0229,-1.1195,;"
    "1.2645,-2.0302,;0.7901,-3.4813,;-0.7446,-3.4813,;-1.219,-2.0302,;-2.679,-1.5609,;-3.0039,-0.0556,;"
    "-3.8202,-2.595,;-1.3054,1.1809,;-2.6335,0.4141,;-1.3054,2.7145,;0.0229,3.4813,;1.3509,2.7146,),"
    "wU:2.11,wD:8.10|"
)


@pytest.mark.parametrize(
    ("smiles", "named"),
    [
        ("CC=[C@]=CC", "axial stereo \\(allene\\) at atom 3"),
        ("CC=[C@AL2]=CC", "axial stereo \\(allene\\) at atom 3"),
        ("C/C=C=C=C/C", "cumulated double bonds"),
        (ATROPISOMER, "atropisomer"),
        ("S[P@TB1](F)(Cl)(Br)N", "trigonal-bipyramidal stereo at atom 2 \\(P\\)"),
        ("FS(F)(F)(F)[S@OH1](F)(F)(Cl)(Cl)Br", "octahedral stereo"),
        ("Cc1ccc2c(c1)C[N@]1C[N@@]2Cc2cc(C)ccc21", "at atom 9 \\(N\\)"),  # Tröger's base
        ("C[C@H]1CC[C@]2(CC1)CC[C@@H](C)CC2", "remote centres"),
        ("C/C(CC)=C1/CC[C@@H](C)CC1", "remote centres"),
        ("C1CC/C=C/CC1", "trans double bond in a ring of fewer than 8"),
    ],
)
def test_stereo_that_would_be_lost_is_refused(smiles: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        standardise(smiles)


@pytest.mark.parametrize(
    "smiles",
    [
        "C[C@H](C)O",  # two equal arms
        "C[N@](CC)CCC",  # an amine inverts
        "C[N@]1[C@H]2CC[C@@H]1CC(O)C2",  # so does the bridge of tropane
        "C1CC[N@]2CCCC[C@H]2C1",  # and with it the fusion of quinolizidine
        "C1C[N@]2CC[C@H]1CC2",
        "C=C1[C@H](O)C/C(=C/C)C[C@H]1O",  # the two arms of the ring are the same
        "C1CC/C=C\\CC1",
        "C/C=C=C/C",
        "FS(F)(F)(F)(F)c1ccccc1",
        "F[S@OH1](F)(F)(F)(F)c1ccccc1",
    ],
)
def test_marks_without_meaning_pass(smiles: str) -> None:
    assert "[H]" not in canonical_smiles(standardise(smiles))


@pytest.mark.parametrize(
    "smiles",
    [
        "C/C=N/O",
        "c1ccc(/N=N\\c2ccccc2)cc1",
        "C1=C/CCCCCC/1",
        "C1=C\\CCCCCCCCCC/1",
        "CC[S@](C)=O",
        "CC[P@](C)c1ccccc1",
        "CCO[P@](N)(=O)OC",
        "CC[N@+](C)([O-])c1ccccc1",
        "C[C@H]1CC[C@@H](C)CC1",
        "C=C1[C@H](O)C/C(=C/C)C[C@@H]1O",
        "C=C[C@H]1C[N@@]2CC[C@H]1C[C@H]2[C@H](O)c1ccnc2ccc(OC)cc12",
    ],
)
def test_what_can_be_kept_is_kept(smiles: str) -> None:
    assert canonical_smiles(standardise(smiles)) == smiles


def test_the_extension_of_a_smiles_counts() -> None:
    assert canonical_smiles(standardise("C1CCCC=CCCC1 |t:4|")) == canonical_smiles(
        standardise("C1=C/CCCCCCC/1")
    )
    with pytest.raises(InputError, match="extension"):
        standardise("CCO |nonsense|")
