import shutil
import sys

import pytest
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.design.strain import strain
from scoregen.molecules.relax import check_available, energy, mmff_energy, relax
from scoregen.molecules.stereo import with_positions
from tests.molecules.samples import embedded

METHODS = ("mmff", "gfn2")


def available(method: str) -> None:
    try:
        check_available(method)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("method", METHODS)
def test_a_minimum_has_no_strain_and_a_stretched_one_has(method):
    available(method)
    mol, (start, *_) = embedded("CC(=O)O")
    minimum, lowest = relax(mol, start, method)
    assert energy(mol, minimum, method) == pytest.approx(lowest, abs=1e-3)
    assert strain(with_positions(mol, minimum), method).total == pytest.approx(0, abs=0.02)
    found = strain(with_positions(mol, minimum * 1.05), method)
    assert found.total == pytest.approx(energy(mol, minimum * 1.05, method) - lowest, abs=0.05)
    assert found.total > 5
    assert found.per_atom == pytest.approx(found.total / 8)


def test_the_charge_is_passed_on():
    available("gfn2")
    mol, (start, *_) = embedded("CC(=O)[O-]")
    neutral = Chem.Mol(mol)
    assert energy(mol, start, "gfn2") < relax(mol, start * 1.05, "gfn2")[1] + 50
    for atom in neutral.GetAtoms():
        atom.SetFormalCharge(0)
    assert abs(energy(neutral, start, "gfn2") - energy(mol, start, "gfn2")) > 10


@pytest.mark.skipif(shutil.which("xtb") is None, reason="the xtb program is not installed")
def test_program_and_package_agree(monkeypatch):
    pytest.importorskip("tblite.interface")
    mol, (start, *_) = embedded("CCO")
    program = energy(mol, start, "gfn2")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert energy(mol, start, "gfn2") == pytest.approx(program, abs=0.02)


def test_energies_are_those_of_their_method(monkeypatch):
    mol, (start, *_) = embedded("CCO")
    assert energy(mol, start, "mmff") == mmff_energy(mol, start)
    with pytest.raises(InputError, match="'dft' is not one of"):
        energy(mol, start, "dft")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(InputError, match="needs the xtb program"):
        energy(mol, start, "gfn2")


def test_what_cannot_be_relaxed_is_named():
    mol, (start, *_) = embedded("OB(O)c1ccccc1")
    with pytest.raises(InputError, match="no parameters"):
        strain(with_positions(mol, start), "mmff")
    with pytest.raises(InputError, match="'uff' is not one of gfn2, mmff"):
        strain(with_positions(mol, start), "uff")
    with pytest.raises(InputError, match="no 3D coordinates"):
        strain(mol, "mmff")


def test_atoms_on_top_of_each_other_are_an_error_not_a_number():
    available("gfn2")
    mol, (start, *_) = embedded("CCO")
    with pytest.raises(InputError):
        strain(with_positions(mol, start * 0), "gfn2", timeout=20)
