import pytest
from rdkit import Chem, RDConfig
from rdkit.Chem import Crippen, Descriptors

from scoregen.errors import InputError, ScoregenError
from scoregen.molecules.design import descriptors
from scoregen.molecules.design.descriptors import DESCRIPTORS, describe, sa_score
from tests.molecules.samples import all_records

ASPIRIN = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")


def test_aspirin_has_its_published_values():
    found = describe(ASPIRIN)
    assert found["mw"] == pytest.approx(180.16, abs=0.01)
    assert found["tpsa"] == pytest.approx(63.60, abs=0.01)  # Ertl et al. 2000
    assert found["logp"] == pytest.approx(1.31, abs=0.01)
    assert found["qed"] == pytest.approx(0.55, abs=0.01)
    counts = ("hbd", "hba", "rings", "aromatic_rings", "rotatable_bonds", "heavy_atoms", "charge")
    assert [found[name] for name in counts] == [1, 3, 1, 1, 2, 13, 0]
    assert found["fsp3"] == pytest.approx(1 / 9)
    assert list(found) == list(DESCRIPTORS)


def test_hydrogen_atoms_change_nothing():
    for mol in all_records()[-15:]:
        plain = Chem.MolFromSmiles(Chem.MolToSmiles(Chem.RemoveAllHs(mol)))
        assert describe(mol) == pytest.approx(describe(plain))


def test_logp_and_mass_are_those_of_rdkit():
    for mol in all_records()[:10]:
        found = describe(mol, ("logp", "mw"))
        assert found == pytest.approx({"logp": Crippen.MolLogP(mol), "mw": Descriptors.MolWt(mol)})


def test_hard_molecules_score_higher_in_sa():
    easy, hard = (Chem.MolFromSmiles(s) for s in ("CC(=O)Nc1ccc(O)cc1", "C1C2CC3CC1C4(C2)OC4(C3)C1CC1=C"))
    assert 1 <= sa_score(easy) < 2
    assert 5 < sa_score(hard) <= 10


def test_what_cannot_be_described_is_named(monkeypatch):
    with pytest.raises(InputError, match="unknown descriptor 'logD'; there are qed, logp"):
        describe(ASPIRIN, ["logD"])
    with pytest.raises(InputError, match="no heavy atom"):
        describe(Chem.MolFromSmiles("[H][H]"))
    monkeypatch.setattr(RDConfig, "RDContribDir", "/nowhere")
    descriptors._sa_scorer.cache_clear()
    with pytest.raises(ScoregenError, match=r"no SA score: /nowhere.*is missing; run: pip install"):
        sa_score(ASPIRIN)
    monkeypatch.undo()
    assert sa_score(ASPIRIN) < 2
