"""Shapes laid upon each other: one for the same, wherever it lies; blind to hydrogens; refused without 3D."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation

from scoregen.errors import InputError
from scoregen.molecules.design.overlay import Overlay, read_shape
from scoregen.molecules.stereo import with_positions
from tests.molecules.samples import DATA


def placed(smiles: str, seed: int = 1) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    return mol


def turned(mol: Chem.Mol, seed: int = 0) -> Chem.Mol:
    turn = Rotation.random(random_state=seed).as_matrix()
    return with_positions(mol, mol.GetConformer().GetPositions() @ turn.T + [5.0, -3.0, 8.0])


IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"


@pytest.mark.parametrize("seed", range(3))
def test_a_molecule_is_laid_upon_itself(seed):
    mol = placed(IBUPROFEN)
    reference = Overlay(Chem.RemoveAllHs(mol))
    laid, tanimoto = reference.laid(turned(mol, seed))
    assert tanimoto > 0.98
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    before, after = (m.GetConformer().GetPositions()[heavy] for m in (mol, laid))
    assert np.sqrt(((before - after) ** 2).sum(1).mean()) < 0.3
    assert laid.GetNumAtoms() == mol.GetNumAtoms()


def test_bonds_keep_their_lengths_and_centres_their_hands():
    mol = placed("CC(N)C(=O)Nc1ccccc1", seed=3)
    laid, _ = Overlay(Chem.RemoveAllHs(placed(IBUPROFEN))).laid(mol)
    before, after = (m.GetConformer().GetPositions() for m in (mol, laid))
    distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (before, after)]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-6)
    volumes = [np.linalg.det(x[[1, 0, 2]] - x[3]) for x in (before, after)]
    assert volumes[0] * volumes[1] > 0


def test_other_molecules_are_less_alike_and_hydrogens_do_not_count():
    mol = placed(IBUPROFEN)
    reference = Overlay(Chem.RemoveAllHs(mol))
    ball = placed("C1C2CC3CC1CC(C2)C3")
    assert reference(ball) < 0.75 < reference(mol)
    assert reference(turned(mol)) == pytest.approx(reference(Chem.RemoveAllHs(turned(mol))), abs=1e-9)
    assert math.isnan(reference(Chem.MolFromSmiles("CCO")))


def test_sizes_are_those_of_the_reference():
    assert Overlay(Chem.RemoveAllHs(placed(IBUPROFEN))).sizes == (12, 18)


def test_a_reference_is_read_from_an_sdf_and_needs_coordinates(tmp_path):
    reference = read_shape(str(DATA / "pdb_ligands_sample.sdf"))
    assert reference.mol.GetNumAtoms() == reference.mol.GetNumHeavyAtoms()
    assert reference(reference.mol) > 0.98
    flat, empty = tmp_path / "flat.sdf", tmp_path / "empty.sdf"
    flat.write_text(Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")) + "$$$$\n")
    empty.write_text("")
    for text, words in (
        (flat, "no 3D coordinates"),
        (empty, "holds no molecule"),
        ("CCO", "not an SDF file"),
        (tmp_path / "nowhere.sdf", "not an SDF file"),
    ):
        with pytest.raises(InputError, match=words) as error:
            read_shape(str(text))
        assert str(error.value).startswith("--shape") and "\n" not in str(error.value)
