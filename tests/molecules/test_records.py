import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.inputs import read_inputs
from scoregen.molecules.records import Record, SdfWriter, write_errors, write_sdf
from scoregen.molecules.sdf import properties, read_blocks

from .samples import CHIRAL, DOUBLE, all_records, embedded, positions


def test_round_trip_of_graph_coordinates_and_properties(tmp_path: Path) -> None:
    mols = all_records()
    facts = {
        "smiles": "x",
        "conformer": 3,
        "stereo_ok": True,
        "energy_kcal_mol": -1.23456789,
        "nothing": None,
    }
    path = tmp_path / "out.sdf"
    count = write_sdf(path, (Record(mol, positions(mol), f"name {k}", facts) for k, mol in enumerate(mols)))
    assert count == len(mols)
    read = list(Chem.SDMolSupplier(str(path), removeHs=False))
    for k, (mol, again) in enumerate(zip(mols, read, strict=True)):
        assert again.GetProp("_Name") == f"name {k}"
        assert again.GetPropsAsDict(autoConvertStrings=False) == {
            "smiles": "x",
            "conformer": "3",
            "stereo_ok": "true",
            "energy_kcal_mol": "-1.2346",
        }
        assert np.allclose(positions(again), positions(mol), atol=1e-4)
        assert [a.GetAtomicNum() for a in again.GetAtoms()] == [a.GetAtomicNum() for a in mol.GetAtoms()]
        assert [a.GetFormalCharge() for a in again.GetAtoms()] == [
            a.GetFormalCharge() for a in mol.GetAtoms()
        ]
        assert canonical_smiles(again) == canonical_smiles(mol)
    assert any(Chem.GetFormalCharge(mol) for mol in mols) or any(
        atom.GetFormalCharge() for mol in mols for atom in mol.GetAtoms()
    )


@pytest.mark.parametrize("name", ["morphine", "glucose", "esomeprazole", "tamoxifen", "(Z)-crotonic acid"])
def test_stereo_comes_back_as_stated(tmp_path: Path, name: str) -> None:
    smiles = {**CHIRAL, **DOUBLE}[name]
    mol, geometries = embedded(smiles)
    path = tmp_path / "out.sdf"
    write_sdf(path, [Record(mol, x, name, {}) for x in geometries])
    for entry in read_inputs([str(path)]):
        assert entry.name == name and canonical_smiles(entry.mol) == Chem.CanonSmiles(smiles)


def test_title_defaults_to_the_smiles_and_stays_one_line(tmp_path: Path) -> None:
    mol, geometries = embedded("CCO")
    path = tmp_path / "out.sdf"
    with SdfWriter(path) as sdf:
        sdf.write(mol, geometries[0])
        sdf.write(mol, geometries[0], name="two\nlines", properties={"note": "a\n\n$$$$\nb"})
        assert sdf.count == 2
    first, second = read_blocks(path)
    assert first.title == "CCO" and second.title == "two lines"
    assert properties(second) == {"note": "a $$$$ b"}


def test_gzip_is_reproducible(tmp_path: Path) -> None:
    mol, geometries = embedded("CCO")
    for name in ("a.sdf.gz", "b.sdf.gz"):
        write_sdf(tmp_path / name, [Record(mol, geometries[0], "ethanol", {})])
    assert (tmp_path / "a.sdf.gz").read_bytes() == (tmp_path / "b.sdf.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.sdf.gz").read_bytes()).startswith(b"ethanol\n")


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    mol, geometries = embedded("CCO")
    path = tmp_path / "out.sdf"
    path.write_text("old")

    def records():  # type: ignore[no-untyped-def]
        yield Record(mol, geometries[0], "ethanol", {})
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_sdf(path, records())
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["out.sdf"]


def test_bad_positions_and_names_are_refused(tmp_path: Path) -> None:
    mol, geometries = embedded("CCO")
    with SdfWriter(tmp_path / "out.sdf") as sdf:
        for bad in (geometries[0][:3], geometries[0] * np.nan):
            with pytest.raises(InputError, match="positions"):
                sdf.write(mol, bad)
    with pytest.raises(InputError, match=r"must end in \.sdf"):
        SdfWriter(tmp_path / "out.mol2")


def test_errors_csv(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "errors.csv"
    rows = [('C1CC,"x"', 3, "not a valid SMILES"), ("[Na+].[Cl-]", 4, "2 fragments, é")]
    assert write_errors(path, rows) == 2
    with open(path, newline="", encoding="utf-8") as stream:
        assert list(csv.DictReader(stream)) == [
            {"input": text, "line": str(line), "reason": reason} for text, line, reason in rows
        ]
    assert write_errors(path, []) == 0
    assert path.read_text() == "input,line,reason\n"
