"""``scoregen conformers`` with the shipped model: good and bad inputs, as a shell sees them."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from rdkit import Chem

from scoregen.molecules.chem import canonical_smiles

DATA = Path(__file__).resolve().parents[2] / "data" / "molecules"


def records(path: Path) -> list[Chem.Mol]:
    return list(Chem.SDMolSupplier(str(path), removeHs=False))


def shown(mol: Chem.Mol) -> str:
    """Canonical SMILES with the stereo of the coordinates."""
    fresh = Chem.Mol(mol)
    Chem.RemoveStereochemistry(fresh)
    Chem.AssignStereochemistryFrom3D(fresh)
    return canonical_smiles(fresh)


def same(smiles: str) -> str:
    return canonical_smiles(Chem.AddHs(Chem.MolFromSmiles(smiles)))


def test_good_and_bad_inputs_together(scoregen, tmp_path: Path) -> None:
    """Three good molecules and two bad ones: 15 records, two reports, exit code 1."""
    good = ["CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "C/C=C/C(=O)O"]
    out, errors = tmp_path / "out.sdf", tmp_path / "err.csv"
    done = scoregen(
        "conformers", *good, "not_a_smiles", "[Na+].[Cl-]", "-n", 5, "-o", out, "--errors", errors
    )
    assert done.code == 1
    mols = records(out)
    assert [mol.GetProp("_Name") for mol in mols] == [smiles for smiles in good for _ in range(5)]
    for mol in mols:
        assert shown(mol) == same(mol.GetProp("_Name"))
        assert mol.GetProp("stereo_ok") in ("1", "True", "true")
        assert mol.GetProp("model") == "conformer-small"
        assert mol.GetProp("seed") == "0"
        assert any(atom.GetAtomicNum() == 1 for atom in mol.GetAtoms())
    assert [int(mol.GetProp("conformer")) for mol in mols] == list(range(5)) * 3
    rows = list(csv.DictReader(errors.open()))
    assert [(row["input"], row["line"]) for row in rows] == [("not_a_smiles", "4"), ("[Na+].[Cl-]", "5")]
    assert "not a valid SMILES" in rows[0]["reason"]
    assert "fragments" in rows[1]["reason"]
    assert done.err.count("failed: ") == 2


def test_every_kind_of_input(scoregen, tmp_path: Path) -> None:
    """The same molecule from the line, .smi, .csv, .sdf and stdin: the same conformer."""
    (tmp_path / "a.smi").write_text("C[C@H](N)C(=O)O alanine\n")
    (tmp_path / "a.csv").write_text("name,smiles\nalanine,C[C@H](N)C(=O)O\n")
    blocks = {}
    for name, args, stdin in [
        ("line", ["C[C@H](N)C(=O)O"], ""),
        ("smi", [tmp_path / "a.smi"], ""),
        ("csv", [tmp_path / "a.csv"], ""),
        ("stdin", ["-"], "C[C@H](N)C(=O)O alanine\n"),
    ]:
        out = tmp_path / f"{name}.sdf"
        done = scoregen("conformers", *args, "-n", 2, "-o", out, stdin=stdin)
        assert done.code == 0, done.err
        assert records(out)[0].GetProp("_Name") == ("C[C@H](N)C(=O)O" if name == "line" else "alanine")
        blocks[name] = [mol.GetConformer().GetPositions().tolist() for mol in records(out)]
    assert blocks["line"] == blocks["smi"] == blocks["csv"] == blocks["stdin"]
    again = tmp_path / "again.sdf"
    done = scoregen("conformers", tmp_path / "smi.sdf", "-n", 1, "-o", again)
    assert done.code == 0
    assert shown(records(again)[0]) == same("C[C@H](N)C(=O)O")


def test_json_is_one_object(scoregen, tmp_path: Path) -> None:
    done = scoregen("conformers", "CCO", "C(C", "-n", 2, "-o", tmp_path / "o.sdf", "--json", "--seed", 7)
    content = json.loads(done.out)
    assert done.code == 1
    assert (content["inputs"], content["records"], content["model"]) == (2, 2, "conformer-small")
    assert content["settings"]["seed"] == 7
    assert content["seconds"] > 0
    assert len(content["failures"]) == 1


def test_charge_and_stereo_of_the_drugs(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "drugs.sdf"
    done = scoregen("conformers", DATA / "drugs.smi", "-n", 1, "-o", out)
    assert done.code == 0, done.err
    stated = {}
    for line in (DATA / "drugs.smi").read_text().splitlines():
        if not line.startswith("#"):
            smiles, name = line.split(None, 1)
            stated[name] = smiles
    assert {mol.GetProp("_Name"): shown(mol) for mol in records(out)} == {
        name: same(smiles) for name, smiles in stated.items()
    }
    charges = {mol.GetProp("_Name"): Chem.GetFormalCharge(mol) for mol in records(out)}
    assert charges["neostigmine"] == 1


@pytest.mark.parametrize("option", [["--relax", "mmff"], ["--energy-window", "50"]])
def test_energies_where_computed(scoregen, tmp_path: Path, option: list[str]) -> None:
    out = tmp_path / "o.sdf"
    assert scoregen("conformers", "CCCCO", "-n", 3, "-o", out, *option).code == 0
    relative = [float(mol.GetProp("relative_energy_kcal_mol")) for mol in records(out)]
    assert min(relative) == 0
    energies = [float(mol.GetProp("energy_kcal_mol")) for mol in records(out)]
    assert [e - min(energies) for e in energies] == pytest.approx(relative, abs=1e-3)


def test_pruning_leaves_distinct_conformers(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "o.sdf"
    assert scoregen("conformers", "CCO", "-n", 6, "-o", out, "--prune", "5").code == 0
    assert len(records(out)) == 1


def test_a_wrong_output_name_is_refused_before_work(scoregen, tmp_path: Path) -> None:
    done = scoregen("conformers", "CCO", "-o", tmp_path / "out.pdb")
    assert done.code == 2
    assert "must end in .sdf or .sdf.gz" in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_old_output_is_replaced_whole(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "o.sdf"
    out.write_text("old")
    assert scoregen("conformers", "CCO", "-n", 1, "-o", out).code == 0
    assert len(records(out)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["o.sdf"]


def test_raw_geometries_beside_the_relaxed(scoregen, tmp_path: Path) -> None:
    """Record for record the same molecule and number; the raw ones are what is written without --relax."""
    out = tmp_path / "o.sdf"
    assert scoregen("conformers", "CCCCO", "-n", 3, "-o", out, "--relax", "mmff", "--keep-raw").code == 0
    relaxed, raw = records(out), records(tmp_path / "o_raw.sdf")
    keys = [(mol.GetProp("_Name"), mol.GetProp("conformer")) for mol in relaxed]
    assert keys == [(mol.GetProp("_Name"), mol.GetProp("conformer")) for mol in raw] and len(keys) == 3
    assert [mol.GetProp("relax") for mol in relaxed + raw] == ["mmff"] * 3 + ["none"] * 3
    assert not raw[0].HasProp("energy_kcal_mol")
    assert scoregen("conformers", "CCCCO", "-n", 3, "-o", out).code == 0
    for mol, plain in zip(raw, records(out), strict=True):
        assert mol.GetConformer().GetPositions() == pytest.approx(plain.GetConformer().GetPositions())
    done = scoregen("conformers", "CCCCO", "-o", out, "--keep-raw")
    assert done.code == 2 and "add --relax" in done.err


def test_open_stereo_is_said_or_enumerated(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "o.sdf.gz"
    assert scoregen("conformers", "CC1CCC(C)CC1 ring", "-n", 2, "-o", tmp_path / "free.sdf").code == 0
    for mol in records(tmp_path / "free.sdf"):
        assert mol.GetProp("stereo_unspecified") == "2"
        assert mol.GetProp("stereo_drawn") == shown(mol) != mol.GetProp("smiles")
    done = scoregen("conformers", "CC1CCC(C)CC1 ring", "-n", 2, "-o", out, "--enumerate-stereo", "--json")
    content = json.loads(done.out)
    assert (content["inputs"], content["molecules"], content["records"]) == (1, 2, 4)
    with gzip.open(out) as stream:
        mols = list(Chem.ForwardSDMolSupplier(stream, removeHs=False))
    assert [mol.GetProp("_Name") for mol in mols] == ["ring_1"] * 2 + ["ring_2"] * 2
    assert [shown(mol) for mol in mols] == [mol.GetProp("smiles") for mol in mols]
    assert len({shown(mol) for mol in mols}) == 2


def test_ranked_by_energy(scoregen, tmp_path: Path) -> None:
    out = tmp_path / "o.sdf"
    options = ["--rank", "energy", "--draws", "2", "--init", "mmff+noise", "--steps", "4"]
    assert scoregen("conformers", "CCCCO", "-n", 4, "-o", out, *options).code == 0
    relative = [float(mol.GetProp("relative_energy_kcal_mol")) for mol in records(out)]
    assert relative == sorted(relative) and relative[0] == 0
    assert sum(float(mol.GetProp("population")) for mol in records(out)) == pytest.approx(1, abs=1e-3)


def test_nonsense_counts_are_named(scoregen, tmp_path: Path) -> None:
    for number in ("0", "many"):
        done = scoregen("conformers", "CCO", "-n", number, "-o", tmp_path / "o.sdf")
        assert done.code == 2 and f"got {number}" in done.err
