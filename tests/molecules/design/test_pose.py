import io
import os
import sys
import time

import numpy as np
import pytest
import rdkit
from rdkit import Chem, rdBase

from scoregen.errors import InputError, MissingExtra
from scoregen.molecules.design import pose
from scoregen.molecules.design.pose import check_available, check_pose
from scoregen.molecules.stereo import with_positions
from tests.molecules.samples import embedded, pack, positions


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "posebusters", None)
    with pytest.raises(MissingExtra, match=r"pip install 'scoregen\[chem\]'"):
        check_available()
    with pytest.raises(InputError, match="'gold' are not one of mol, mol_fast"):
        check_available("gold")


class TestWithPoseBusters:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("posebusters", reason="the chem extra is not installed")

    def test_real_geometries_pass(self):
        for mol in pack("cascade_dft_sample.sdf")[:4]:
            found = check_pose(mol, "mol_fast")
            assert found.passed and not found.failed
            assert {"bond_lengths", "bond_angles", "internal_steric_clash"} < set(found.checks)

    def test_a_limit_changes_nothing_but_the_time(self, monkeypatch):
        mol = pack("cascade_dft_sample.sdf")[0]
        assert check_pose(mol, "mol_fast", timeout=60) == check_pose(mol, "mol_fast")
        with pytest.raises(InputError, match="no 3D coordinates"):
            check_pose(Chem.AddHs(Chem.MolFromSmiles("CCO")), "mol_fast", timeout=60)
        monkeypatch.setattr(pose, "_checked", lambda mol, level: time.sleep(60))
        with pytest.raises(InputError, match=r"took longer than 0\.2 s"):
            check_pose(mol, "mol_fast", timeout=0.2)
        monkeypatch.setattr(pose, "_checked", lambda mol, level: os._exit(1))
        with pytest.raises(InputError, match="died"):
            check_pose(mol, "mol_fast", timeout=60)

    def test_the_number_of_the_conformer_does_not_matter(self):
        mol, (first, *_) = embedded("CC(=O)Nc1ccc(O)cc1")
        placed = with_positions(mol, first)
        placed.GetConformer().SetId(7)
        before = placed.ToBinary()
        assert check_pose(placed, "mol_fast").passed
        assert placed.ToBinary() == before

    def test_what_is_broken_is_named(self):
        mol = pack("cascade_dft_sample.sdf")[0]
        stretched = with_positions(mol, positions(mol) * 1.4)
        assert "bond_lengths" in check_pose(stretched, "mol_fast").failed
        crushed = with_positions(mol, positions(mol) * np.array([1, 1, 0.2]))
        found = check_pose(crushed, "mol_fast")
        assert not found.passed and "bond_angles" in found.failed
        benzene, (flat, *_) = embedded("c1ccccc1")
        bent = flat.copy()
        bent[0] += 0.9 * np.cross(flat[1] - flat[0], flat[2] - flat[0])
        assert "aromatic_ring_flatness" in check_pose(with_positions(benzene, bent), "mol_fast").failed

    def test_the_whole_set_looks_at_the_energy(self):
        mol, (first, *_) = embedded("CC(=O)O")
        found = check_pose(with_positions(mol, first), "mol")
        assert found.passed and found.checks["internal_energy"]
        squeezed = with_positions(mol, first * 0.6)
        assert "internal_energy" in check_pose(squeezed, "mol").failed

    def test_rdkit_logs_as_before(self, capfd):
        status = rdBase.LogStatus()
        mol, (first, *_) = embedded("CCO")
        check_pose(with_positions(mol, first), "mol_fast")
        assert rdBase.LogStatus() == status
        capfd.readouterr()
        with rdBase.BlockLogs():
            Chem.MolFromSmiles("C(C")
        assert capfd.readouterr().err == ""
        Chem.MolFromSmiles("C(C")
        assert "SMILES Parse Error" in capfd.readouterr().err

    def test_remarks_of_inchi_are_not_shown(self, capfd):
        """Of a nitro compound it says that charges were rearranged."""
        for _ in range(2):  # importing PoseBusters changes the log once
            check_pose(pack("pdb_ligands_sample.sdf")[4], "mol_fast")
        assert capfd.readouterr().err == ""

    def test_a_closed_stream_fails_no_check(self, monkeypatch):
        """RDKit's handler keeps the stderr it found first, which a redirection may have closed since."""
        closed = io.TextIOWrapper(io.BytesIO())
        closed.close()
        monkeypatch.setattr(rdkit.log_handler, "stream", closed)
        mol, (first, *_) = embedded("CCO")
        assert check_pose(with_positions(mol, first), "mol_fast").failed == []

    def test_no_geometry_is_an_error(self):
        with pytest.raises(InputError, match="no 3D coordinates"):
            check_pose(Chem.AddHs(Chem.MolFromSmiles("CCO")))
