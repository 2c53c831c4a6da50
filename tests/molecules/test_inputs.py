import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import rdDepictor

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, standardise
from scoregen.molecules.inputs import MoleculeInput, read_inputs
from scoregen.molecules.stereo import list_stereo

from .samples import CHIRAL, DATA, DOUBLE, pack


def read(*args: object, stdin: str = "") -> list[MoleculeInput]:
    return list(read_inputs([str(arg) for arg in args], io.StringIO(stdin)))


BAD = {
    "not_a_smiles": "not a valid SMILES",
    "C1CC": "not a valid SMILES",
    "": "empty SMILES",
    "[Na+].[Cl-]": "2 separate fragments ([Cl-], [Na+])",
    "CC(=O)O.CN.O": "3 separate fragments",
    "C[Mg]C": "unsupported metal magnesium (Mg)",
    "C[As](C)C": "unsupported element arsenic (As)",
    "[Fe]": "unsupported metal iron (Fe)",
    "*CC": "dummy atoms",
    "C[CH]C": "radical",
    "[O][O]": "radical",
    "CC(C)(C)(C)C": "Explicit valence for atom # 1 C, 5",
    "c1cccc1": "kekulize",
    "[Cl-]": "single atom",
    "C" * 201: "too large: 201 heavy atoms",
    "C" * 5000: "too large: 5000 heavy atoms",
}


@pytest.mark.parametrize("smiles", BAD)
def test_bad_smiles_are_refused_with_a_reason(smiles: str) -> None:
    with pytest.raises(InputError) as caught:
        standardise(smiles)
    assert BAD[smiles] in str(caught.value)
    (entry,) = read(smiles)
    assert entry.mol is None and entry.error == " ".join(str(caught.value).split())
    assert entry.text == smiles


def test_a_bad_input_does_not_stop_the_others() -> None:
    entries = read("CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "not_a_smiles", "[Na+].[Cl-]", "C/C=C/C(=O)O")
    assert [entry.error is None for entry in entries] == [True, True, False, False, True]
    assert [entry.line for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.mol.GetNumAtoms() for entry in entries if entry.mol] == [21, 13, 12]


@pytest.mark.parametrize("name", [*CHIRAL, *DOUBLE])
def test_standardise_keeps_atoms_order_and_stereo(name: str) -> None:
    smiles = {**CHIRAL, **DOUBLE}[name]
    mol, plain = standardise(smiles), Chem.MolFromSmiles(smiles)
    heavy = [atom.GetAtomicNum() for atom in plain.GetAtoms()]
    assert [atom.GetAtomicNum() for atom in mol.GetAtoms()][: len(heavy)] == heavy
    assert all(atom.GetNumImplicitHs() == 0 == atom.GetNumExplicitHs() for atom in mol.GetAtoms())
    assert canonical_smiles(mol) == Chem.MolToSmiles(plain)
    assert canonical_smiles(standardise(mol)) == canonical_smiles(mol)


def test_supported_largest_and_smallest() -> None:
    assert standardise("C" * 200).GetNumHeavyAtoms() == 200
    assert standardise("O").GetNumAtoms() == 3
    for element in ("B", "F", "[SiH3]", "P", "S", "Cl", "Br", "I", "[SeH]"):
        assert standardise(f"C{element}").GetNumHeavyAtoms() == 2


def test_smi_file(tmp_path: Path) -> None:
    path = tmp_path / "mols.smi"
    path.write_text(
        "smiles name\n# comment\nCCO ethanol\n\nCC(=O)O\tacetic acid \nC1CC broken\nCCN |x:1| amine\n"
    )
    entries = read(path)
    assert [(e.name, e.line) for e in entries] == [
        ("ethanol", 3),
        ("acetic acid", 5),
        ("broken", 6),
        ("amine", 7),
    ]
    assert [e.error for e in entries] == [None, None, "not a valid SMILES", None]
    assert {e.source for e in entries} == {str(path)} and entries[0].text == "CCO"
    packed = tmp_path / "mols.smi.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [e.name for e in read(packed)] == [e.name for e in entries]


def test_shipped_drugs() -> None:
    entries = read(DATA / "drugs.smi")
    assert [e.error for e in entries] == [None] * 5
    stereo = {e.name: list_stereo(e.mol) for e in entries}
    assert stereo["morphine"] == (5, 0) and stereo["tamoxifen"] == (1, 0)
    assert Chem.GetFormalCharge(entries[4].mol) == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_file(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "mols.csv"
    rows = [["id", "SMILES", "Name"], ["1", "CCO", "ethanol"], ["2", "", "nothing"], ["3", "CCN", ""]]
    text = (
        "\n".join(delimiter.join(row) for row in rows) + f'\n4{delimiter}[Fe]{delimiter}"a{delimiter} b"\n5\n'
    )
    path.write_text("\ufeff" + text, encoding="utf-8")
    entries = read(path)
    assert [e.name for e in entries] == ["ethanol", "nothing", "CCN", f"a{delimiter} b".strip(), ""]
    assert [e.line for e in entries] == [2, 3, 4, 5, 6]
    assert [e.error is None for e in entries] == [True, False, True, False, False]
    assert "empty" in entries[1].error and "iron" in entries[3].error


def test_csv_without_the_column(tmp_path: Path) -> None:
    path = tmp_path / "mols.csv"
    path.write_text("id,structure\n1,CCO\n")
    (entry,) = read(path)
    assert "no column 'smiles'" in entry.error and "structure" in entry.error and str(path) in entry.error


def test_sdf_with_3d_gives_the_stereo_of_its_geometry(tmp_path: Path) -> None:
    records = pack("cascade_dft_sample.sdf")
    path = tmp_path / "mols.sdf.gz"
    # Tags and wedges are stripped: the coordinates alone must tell.
    blocks = []
    for k, mol in enumerate(records):
        bare = Chem.Mol(mol)
        for atom in bare.GetAtoms():
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        bare.SetProp("_Name", f"record {k}")
        blocks.append(Chem.MolToMolBlock(bare, includeStereo=False) + "$$$$\n")
    path.write_bytes(gzip.compress("".join(blocks).encode()))
    entries = read(path)
    assert [e.error for e in entries] == [None] * len(records)
    assert [e.name for e in entries] == [f"record {k}" for k in range(len(records))]
    assert [canonical_smiles(e.mol) for e in entries] == [canonical_smiles(mol) for mol in records]
    assert all(e.mol.GetNumConformers() == 0 for e in entries)


def test_sdf_without_hydrogens_and_flat_drawings(tmp_path: Path) -> None:
    path = tmp_path / "drawn.sdf"
    mols = [Chem.MolFromSmiles(smiles) for smiles in ("C[C@H](N)C(=O)O", "C/C=C\\C(=O)O", "CC(N)C(=O)O")]
    for mol in mols:
        rdDepictor.Compute2DCoords(mol)
    path.write_text("".join(Chem.MolToMolBlock(mol) + "$$$$\n" for mol in mols))
    entries = read(path)
    assert [canonical_smiles(e.mol) for e in entries] == [Chem.MolToSmiles(mol) for mol in mols]
    assert [e.mol.GetNumAtoms() for e in entries] == [13, 12, 13]
    # No title: the SMILES is the name.
    assert [e.name for e in entries] == [Chem.MolToSmiles(mol) for mol in mols]


def test_sdf_broken_records_are_reported_where_they_stand(tmp_path: Path) -> None:
    text = (DATA / "qm9_xtb_sample.sdf").read_text().split("$$$$\n")
    salt = Chem.MolToMolBlock(Chem.MolFromSmiles("[Na+].[Cl-]"))
    path = tmp_path / "mixed.sdf"
    parts = [text[0], "rubbish\n", text[1], text[2][:300] + "\n", "salt" + salt, text[3]]
    path.write_text("$$$$\n".join(parts))
    entries = read(path)
    assert [e.error is None for e in entries] == [True, False, True, False, False, True]
    assert entries[1].text == "record 2" and entries[1].name == "rubbish"
    assert entries[1].line == parts[0].count("\n") + 2
    assert "2 separate fragments" in entries[4].error and entries[4].name == "salt"


def test_missing_foreign_and_damaged_files(tmp_path: Path) -> None:
    for name in ("none.sdf", "none.smi", "none.CSV", "none.sdf.gz"):
        (entry,) = read(tmp_path / name)
        assert entry.error == f"{tmp_path / name}: no such file"
    (entry,) = read(tmp_path)
    assert "folder" in entry.error
    other = tmp_path / "mols.mol2"
    other.write_text("@<TRIPOS>MOLECULE\n")
    (entry,) = read(other)
    assert "unknown file type" in entry.error and str(other) in entry.error
    empty = tmp_path / "empty.smi"
    empty.write_text("# nothing\n")
    (entry,) = read(empty)
    assert "no molecules" in entry.error
    whole = gzip.compress((DATA / "qm9_xtb_sample.sdf").read_bytes())
    (tmp_path / "cut.sdf.gz").write_bytes(whole[: len(whole) // 2])
    *good, last = read(tmp_path / "cut.sdf.gz")
    assert good and all(e.error is None for e in good) and "cannot be read" in last.error
    (tmp_path / "fake.smi.gz").write_bytes(b"not gzip")
    (entry,) = read(tmp_path / "fake.smi.gz")
    assert "cannot be read" in entry.error


def test_standard_input_and_name_on_the_line() -> None:
    entries = read("CCO ethanol", "-", "CCN", stdin="# list\nCC methane-ish\nxyz\n")
    assert [(e.name, e.source, e.line) for e in entries] == [
        ("ethanol", "arguments", 1),
        ("methane-ish", "stdin", 2),
        ("xyz", "stdin", 3),
        ("CCN", "arguments", 3),
    ]
    (entry,) = read("-", stdin="")
    assert entry.error == "stdin: holds no molecules"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_text_raises(text: str) -> None:
    for entry in read(text):
        assert (entry.mol is None) == (entry.error is not None)
        assert entry.error is None or "\n" not in entry.error


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".smi", ".csv", ".sdf", ".sdf.gz", ".smi.gz"]))
def test_no_file_raises(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("files") / f"x{suffix}"
    path.write_bytes(data)
    entries = read(path)
    assert entries and all((e.mol is None) == (e.error is not None) for e in entries)


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = tmp_path / "many.smi"
    path.write_text("CCO\n" * 100_000)
    stream = read_inputs([str(path)])
    assert [next(stream).line for _ in range(3)] == [1, 2, 3]
