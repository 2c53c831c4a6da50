import shutil
import sys

import numpy as np
import pytest
from rdkit.Chem import AllChem

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.relax import check_available, mmff_energy, relax
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


@needs_xtb
def test_gfnff_and_gfn2_agree_on_ethanol():
    mol, start = with_geometry("CCO")
    (ff, low), (xtb, lower) = (relax(mol, start, level) for level in ("gfnff", "gfn2"))
    assert bond(ff, 0, 1) == pytest.approx(bond(xtb, 0, 1), abs=0.03)
    assert low != pytest.approx(lower, rel=0.1)  # two methods, not one under two names


@needs_xtb
def test_xtb_is_stopped_when_time_is_up():
    mol, start = with_geometry("CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)N1CCOCC1")
    with pytest.raises(InputError, match=r"took more than 0 s"):
        relax(mol, start, "gfn2", timeout=0.05)


@pytest.mark.parametrize("smiles", ["O", "C[NH3+]", "CC(=O)[O-]"])
def test_tblite_stands_in_for_the_xtb_program(smiles, monkeypatch):
    pytest.importorskip("tblite.interface")
    mol, start = with_geometry(smiles)
    program = relax(mol, start, "gfn2") if shutil.which("xtb") else None
    monkeypatch.setattr(shutil, "which", lambda name: None)
    _, energy = relax(mol, start, "gfn2")
    if smiles == "O":
        assert energy == pytest.approx(-5.0705 * 627.5095, abs=0.1)
    if program is not None:
        assert energy == pytest.approx(program[1], abs=0.02)
    with pytest.raises(InputError, match=r"took more than 0 s"):
        relax(mol, start, "gfn2", timeout=0.0)


def test_none_leaves_the_geometry_as_it_is():
    mol, start = with_geometry("CCO")
    relaxed, energy = relax(mol, start, "none")
    np.testing.assert_array_equal(relaxed, start)
    assert np.isnan(energy)


def test_missing_program_and_parameters_are_named(monkeypatch):
    mol, start = with_geometry("CCO")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    for method in ("gfnff", "gfn2"):
        with pytest.raises(InputError, match=f"{method} needs the xtb program"):
            relax(mol, start, method)
        with pytest.raises(InputError, match="apt-get install xtb"):
            check_available(method)
    check_available("mmff")
    with pytest.raises(InputError, match="not one of"):
        relax(mol, start, "dft")
    boron = standardise("OB(O)c1ccccc1")
    with pytest.raises(InputError, match="no parameters"):
        mmff_energy(boron, np.random.default_rng(0).normal(size=(boron.GetNumAtoms(), 3)))
