"""Candidates get hydrogens and one sound conformer; one that fails costs no other."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.conformers import ConformerGenerator
from scoregen.molecules.design import shapes
from scoregen.molecules.design.encode import decode, encode
from scoregen.molecules.design.shapes import completed, lowest_minimum, shape, shape_posed
from scoregen.molecules.relax import mmff_energy, relax
from scoregen.molecules.stereo import geometry_ok, sound
from tests.molecules.samples import pack, positions

SMILES = ("CC(O)C(N)C(=O)O", "CC=CC(=O)[O-]", "c1ccc2[nH]ccc2c1", "C[N+](C)(C)CC(=O)[O-]")


@pytest.fixture(scope="module")
def generator():
    return ConformerGenerator.from_pretrained("conformer-small")


def graph(smiles: str) -> Mol:
    """As the graph model hands it over."""
    mol = decode(encode(Chem.MolFromSmiles(smiles)))
    Chem.SanitizeMol(mol)
    return mol


def bare(mol: Mol) -> Mol:
    """Heavy atoms with their places, in the order they have in ``mol``, without stereo."""
    heavy = Chem.RemoveAllHs(mol)
    Chem.RemoveStereochemistry(heavy)
    return heavy


def test_every_candidate_gets_hydrogens_a_sound_conformer_and_the_stereo_it_shows(generator):
    done = shape([graph(smiles) for smiles in SMILES], generator, seed=1, draws=2)
    for smiles, mol in zip(SMILES, done, strict=True):
        assert isinstance(mol, Mol), mol
        assert mol.GetNumConformers() == 1 and mol.GetConformer().Is3D()
        assert Chem.AddHs(mol).GetNumAtoms() == mol.GetNumAtoms()
        assert Chem.MolToSmiles(bare(mol)) == Chem.CanonSmiles(smiles)
        assert sound(mol, positions(mol))
        again = Chem.Mol(mol)
        Chem.AssignStereochemistryFrom3D(again, replaceExistingTags=True)
        assert Chem.MolToSmiles(again) == Chem.MolToSmiles(mol)
    assert Chem.FindMolChiralCenters(done[0], includeUnassigned=True, useLegacyImplementation=False)
    assert "/" in Chem.MolToSmiles(Chem.RemoveHs(done[1]))


def test_stated_stereo_is_kept(generator):
    stated = Chem.MolFromSmiles("C[C@H](N)[C@@H](O)/C=C\\C")
    (done,) = shape([stated], generator, draws=1)
    assert Chem.MolToSmiles(Chem.RemoveHs(done)) == Chem.MolToSmiles(stated)


def test_same_seed_same_conformer_alone_or_among_others(generator):
    mols = [graph(smiles) for smiles in ("CC(O)CN", "CC=CC")]
    both, alone = shape(mols, generator, seed=4, draws=2), shape(mols[:1], generator, seed=4, draws=2)
    assert Chem.MolToSmiles(both[0]) == Chem.MolToSmiles(alone[0])
    np.testing.assert_allclose(positions(both[0]), positions(alone[0]), atol=1e-2)
    again = shape(mols, generator, seed=4, draws=2)
    np.testing.assert_array_equal(positions(again[1]), positions(both[1]))


def test_of_several_minima_the_lowest_is_taken():
    mol = standardise("CCCC(=O)NC")
    one, many = (lowest_minimum(mol, 2, count) for count in (1, 6))
    assert mmff_energy(mol, many) <= mmff_energy(mol, one)
    assert mmff_energy(mol, one) == pytest.approx(relax(mol, one, "mmff")[1], abs=1e-2)


def test_without_a_minimum_the_conformer_model_draws(generator):
    boron = graph("OB(O)c1ccccc1")  # MMFF94s has no parameters
    assert lowest_minimum(standardise(boron), 0) is None
    (done,) = shape([boron], generator)
    assert isinstance(done, Mol) and sound(done, positions(done))


def test_a_nudge_that_breaks_is_not_taken(generator, monkeypatch):
    mol = graph("CC(O)CN")
    monkeypatch.setattr(shapes, "nudged", lambda denoiser, mols, starts, theory: [x * 3 for x in starts])
    (done,) = shape([mol], generator, draws=1)
    assert geometry_ok(done, positions(done))


def test_one_failure_is_reported_and_costs_no_other(generator):
    mols = [graph("CCO"), Chem.MolFromSmiles("CC.CC"), Chem.MolFromSmiles("[Na]"), graph("CCN")]
    done = shape(mols, generator, draws=1)
    assert isinstance(done[0], Mol) and isinstance(done[3], Mol)
    assert "2 separate fragments" in done[1] and "sodium" in done[2]
    assert shape([], generator) == []
    assert "fragments" in shape_posed(mols[1], [0], np.zeros((1, 3)))


def test_an_embedding_that_fails_is_a_reason(generator, monkeypatch):
    def never(mol, seed, deadline):
        raise InputError("ETKDG found no geometry")

    monkeypatch.setattr(shapes, "state_stereo", never)
    assert shape([graph("CCO")], generator) == ["ETKDG found no geometry"]


def test_heavy_atoms_with_coordinates_keep_their_conformation(generator):
    for mol in pack("cascade_dft_sample.sdf")[:3]:
        (done,) = shape([bare(mol)], generator)
        heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
        assert done.GetNumAtoms() == mol.GetNumAtoms()
        before, after = positions(mol)[heavy], positions(done)[: len(heavy)]
        apart = np.linalg.norm(before[:, None] - before, axis=-1) - np.linalg.norm(
            after[:, None] - after, axis=-1
        )
        assert np.sqrt((apart**2).mean()) < 0.5
        assert geometry_ok(done, positions(done))
        assert Chem.MolToSmiles(Chem.RemoveHs(done)) == Chem.MolToSmiles(Chem.RemoveHs(mol))


def test_coordinates_that_no_molecule_has_are_refused():
    mol = bare(pack("cascade_dft_sample.sdf")[0])
    mol.GetConformer().SetPositions(np.random.default_rng(0).normal(size=(mol.GetNumAtoms(), 3)) * 30)
    with pytest.raises(InputError, match="broken bonds"):
        completed(mol)
