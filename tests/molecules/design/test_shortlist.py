"""Shortlists: the best first, none too much like a better one, everything left out counted."""

from __future__ import annotations

import csv
import gzip

import pytest
from rdkit import Chem
from rdkit.Chem import QED, AllChem

from scoregen.errors import InputError
from scoregen.molecules.design.criteria import Criterion, parse_criterion
from scoregen.molecules.design.filters import parse_filter
from scoregen.molecules.design.shortlist import shortlist
from scoregen.molecules.sdf import parse_block, properties, read_blocks

SMILES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "ibuprofen-ethyl": "CCC(C(=O)O)c1ccc(CC(C)C)cc1",
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "hexane": "CCCCCC",
}
QED_HIGH = Criterion("qed", "high")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "many.sdf"
    with Chem.SDWriter(str(path)) as out:
        for number, (name, smiles) in enumerate(SMILES.items()):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(mol, randomSeed=1)
            mol.SetProp("_Name", name)
            mol.SetProp("price", str(number))
            out.write(mol)
    return path


def names(path):
    return [block.title for block in read_blocks(path)]


def test_best_first_and_none_like_a_better_one(source, tmp_path):
    out = tmp_path / "short.sdf"
    done = shortlist([source], out, 3, [QED_HIGH], alike=0.5)
    mols = [parse_block(block) for block in read_blocks(out)]
    values = [QED.qed(Chem.RemoveHs(mol)) for mol in mols]
    assert values == sorted(values, reverse=True)
    assert len({name.split("-")[0] for name in names(out)}) == done.written == 3
    assert done.left_out == {"like a better one": 1}
    with open(done.table) as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == names(out)
    assert [float(row["qed"]) for row in rows] == pytest.approx(values, abs=1e-5)
    assert [float(row["worth"]) for row in rows] == sorted((float(r["worth"]) for r in rows), reverse=True)
    assert all("price" in properties(block) for block in read_blocks(out))
    everything = shortlist([source], out, 5, [QED_HIGH], alike=2)
    assert everything.written == everything.read == 5 and not everything.left_out


def test_criteria_count_alike_and_come_from_the_records(source, tmp_path):
    out = tmp_path / "short.sdf"
    shortlist([source], out, 5, [Criterion("price", "low")], alike=2)
    assert names(out) == list(SMILES)
    shortlist([source], out, 5, [Criterion("price", "high"), Criterion("price", "low")], alike=2)
    assert names(out) == list(SMILES)  # they cancel, and the order of the file stays


def test_a_shortlist_of_a_shortlist_has_its_own_places(source, tmp_path):
    first, second = tmp_path / "first.sdf", tmp_path / "second.sdf"
    shortlist([source], first, 5, [Criterion("price", "low")], alike=2)
    shortlist([first], second, 5, [Criterion("price", "high")], alike=2)
    found = [properties(block) for block in read_blocks(second)]
    assert [row["place"] for row in found] == ["1", "2", "3", "4", "5"]
    assert [float(row["worth"]) for row in found] == [1, 0.75, 0.5, 0.25, 0]
    assert {row["file"] for row in found} == {"first.sdf"}


def test_filters_and_broken_records_are_counted(source, tmp_path):
    out = tmp_path / "short.sdf"
    source.write_text(source.read_text() + "broken\n\n\n  1  9\nM  END\n$$$$\n")
    done = shortlist([source], out, 5, [QED_HIGH], filters=[parse_filter("heavy_atoms=13")], alike=2)
    assert done.written == 2 and done.read == 6
    assert done.left_out == {"heavy_atoms": 3, "unreadable": 1}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("qed", ("qed", "high")),
        ("sa", ("sa", "low")),
        ("tpsa:low", ("tpsa", "low")),
        ("sa:high", ("sa", "high")),
    ],
)
def test_the_better_end(text, found):
    assert parse_criterion(text) == found


@pytest.mark.parametrize("text", ["tpsa", "qed:best", ":low", ""])
def test_an_end_that_has_to_be_said(text):
    with pytest.raises(InputError, match="say which end is better"):
        parse_criterion(text)


def test_what_cannot_be_served_leaves_no_file(source, tmp_path):
    out, cut = tmp_path / "short.sdf", tmp_path / "cut.sdf.gz"
    cut.write_bytes(gzip.compress(source.read_bytes())[:-200])
    for call, words in (
        (lambda: shortlist([source], out, 3, [Criterion("beauty", "high")]), "no record has it"),
        (lambda: shortlist([source], out, 0, [QED_HIGH]), "at least 1"),
        (lambda: shortlist([source], out, 3, []), "nothing to rank by"),
        (lambda: shortlist([tmp_path / "no.sdf"], out, 3, [QED_HIGH]), "no such SDF"),
        (
            lambda: shortlist([source], out, 3, [QED_HIGH], filters=[parse_filter("mw=10")]),
            "no record is left of .*many.sdf: mw ",
        ),
        (lambda: shortlist([source], tmp_path / "short.txt", 3, [QED_HIGH]), "sdf"),
        (lambda: shortlist([source], out, 3, [QED_HIGH], alike=0), "--alike must be above 0"),
        (lambda: shortlist([source], source, 3, [QED_HIGH]), "many.sdf would be overwritten"),
        (lambda: shortlist([cut], out, 3, [QED_HIGH]), "cut.sdf.gz: cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.sdf.gz", "many.sdf"]


def with_items(path, **items):
    """A copy of an SDF whose records have these data items, one value each, None for none."""
    out = path.with_name("items.sdf")
    with Chem.SDWriter(str(out)) as writer:
        for place, mol in enumerate(Chem.SDMolSupplier(str(path), removeHs=False)):
            for name, values in items.items():
                if values[place] is not None:
                    mol.SetProp(name, str(values[place]))
            writer.write(mol)
    return out


def test_records_without_a_usable_value_stand_last_and_are_counted(source, tmp_path):
    items = with_items(
        source, dock=["-7.0 kcal/mol", None, "inf", "-3", "-9"], qed=["5.0", "0.3", "0.4", "-1", "0.5"]
    )
    done = shortlist([items], tmp_path / "short.sdf", 5, [Criterion("dock", "low")], alike=2)
    assert names(tmp_path / "short.sdf")[:2] == ["hexane", "caffeine"]
    assert done.missing == {"dock": 3}
    with open(done.table) as stream:
        assert [float(row["worth"]) for row in csv.DictReader(stream)] == [1.0, 0.75, 0.0, 0.0, 0.0]
    # A QED of 5 is none, so it is computed.
    done = shortlist([items], tmp_path / "drugs.sdf", 5, [QED_HIGH], alike=2)
    with open(done.table) as stream:
        found = {row["name"]: float(row["qed"]) for row in csv.DictReader(stream)}
    computed = QED.qed(Chem.MolFromSmiles(SMILES["aspirin"]))
    assert (found["aspirin"], found["hexane"]) == pytest.approx((computed, 0.5), abs=1e-4)
    assert not done.missing


def test_salts_are_left_out_and_counted(source, tmp_path):
    salt = Chem.AddHs(Chem.MolFromSmiles("CC[NH3+].[Cl-]"))
    AllChem.EmbedMolecule(salt, randomSeed=1)
    mixed = tmp_path / "mixed.sdf"
    mixed.write_text(source.read_text() + Chem.MolToMolBlock(salt) + "$$$$\n")
    done = shortlist([mixed], tmp_path / "short.sdf", 6, [QED_HIGH], alike=2)
    assert (done.read, done.written) == (6, 5)
    assert sum(done.left_out.values()) == 1
