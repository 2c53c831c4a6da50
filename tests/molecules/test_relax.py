import shutil

import numpy as np
import pytest
from rdkit.Chem import AllChem

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.relax import mmff_energy, relax
from scoregen.molecules.stereo import with_positions
from tests.molecules.helpers import with_geometry

needs_xtb = pytest.mark.skipif(shutil.which("xtb") is None, reason="the xtb program is not installed")


def bond(positions, i, j):
    return float(np.linalg.norm(positions[i] - positions[j]))


def test_mmff_reaches_a_minimum_and_agrees_with_rdkit():
    mol, start = with_geometry("CCO")
    relaxed, energy = relax(mol, start, "mmff")
    assert energy == pytest.approx(mmff_energy(mol, relaxed), abs=1e-6)
    assert energy < mmff_energy(mol, start)
    placed = with_positions(mol, start)
    ((failed, expected),) = AllChem.MMFFOptimizeMoleculeConfs(placed, maxIters=2000, mmffVariant="MMFF94s")
    assert failed == 0 and energy == pytest.approx(expected, abs=1e-4)


def test_relaxation_leaves_its_arguments_alone():
    mol, start = with_geometry("c1ccccc1O")
    before, aromatic = start.copy(), [b.GetIsAromatic() for b in mol.GetBonds()]
    relax(mol, start, "mmff")
    np.testing.assert_array_equal(start, before)
    assert [b.GetIsAromatic() for b in mol.GetBonds()] == aromatic and mol.GetNumConformers() == 0


@needs_xtb
def test_gfn2_gives_its_known_geometry_of_water():
    """GFN2-xTB puts the O–H bond of water at 0.959 Å (Bannwarth et al. 2019)."""
    mol, start = with_geometry("O")
    relaxed, energy = relax(mol, start * 1.05, "gfn2")
    assert bond(relaxed, 0, 1) == pytest.approx(0.959, abs=0.003)
    assert energy == pytest.approx(-5.0705 * 627.5095, abs=0.1)


@needs_xtb
def test_gfn2_takes_the_charge_from_the_molecule():
    mol, start = with_geometry("C[NH3+]")
    relaxed, _ = relax(mol, start, "gfn2")
    assert bond(relaxed, 0, 1) == pytest.approx(1.50, abs=0.03)


def test_missing_program_and_parameters_are_named(monkeypatch):
    mol, start = with_geometry("CCO")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="xtb"):
        relax(mol, start, "gfn2")
    with pytest.raises(InputError, match="not one of"):
        relax(mol, start, "dft")
    boron = standardise("OB(O)c1ccccc1")
    with pytest.raises(InputError, match="no parameters"):
        mmff_energy(boron, np.random.default_rng(0).normal(size=(boron.GetNumAtoms(), 3)))
