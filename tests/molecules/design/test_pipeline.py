"""The design job end to end, with graphs given and shapes from the shipped conformer model."""

import csv
import json

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from scoregen.errors import InputError
from scoregen.molecules.conformers import ConformerGenerator
from scoregen.molecules.design import pipeline
from scoregen.molecules.design.criteria import Criterion
from scoregen.molecules.design.fragments import read_scaffold
from scoregen.molecules.design.overlay import Overlay
from scoregen.molecules.design.pipeline import misses, run_design, table_path
from scoregen.molecules.design.request import Request
from scoregen.molecules.design.targets import parse_target
from scoregen.molecules.sdf import parse_block, properties, read_blocks
from tests.molecules.design.test_generator import Scripted


@pytest.fixture(scope="module")
def conformers():
    return ConformerGenerator.from_pretrained("conformer-small")


def test_records_rows_and_counts_agree(tmp_path, conformers):
    generator = Scripted("CCO", "CC(C)(C)(C)C", "c1ccccc1O", "CCO", "CC(=O)N")
    out = tmp_path / "made.sdf"
    targets = (parse_target("mw=90.."),)
    summary = run_design(Request(n=3, targets=targets, seed=4), out, generator, conformers)
    blocks = list(read_blocks(out))
    with open(table_path(out)) as stream:
        rows = list(csv.DictReader(stream))
    assert summary.written == len(blocks) == len(rows) == 3
    # Best first: phenol alone is heavy enough, acetamide misses by less than ethanol.
    assert [row["smiles"] for row in rows] == ["Oc1ccccc1", "CC(N)=O", "CCO"]
    assert summary.hits == {"mw=90..": pytest.approx(1 / 3)}
    assert float(rows[0]["misses"]) == 0
    # Sixteen competed, three times round and one more.
    assert summary.draws["drawn"] == 16
    assert summary.draws["invalid"] == {"valence": 3}
    assert summary.draws["duplicates"] == 10
    for block, row in zip(blocks, rows, strict=True):
        mol, facts = parse_block(block), properties(block)
        assert facts["smiles"] == row["smiles"] == Chem.MolToSmiles(Chem.RemoveHs(mol))
        assert facts["seed"] == "4"
        assert facts["model"] == "scripted"
        assert float(facts["qed"]) == pytest.approx(float(row["qed"]), abs=1e-3)
        assert any(atom.GetAtomicNum() == 1 for atom in mol.GetAtoms())
        assert np.ptp(mol.GetConformer().GetPositions(), axis=0).max() > 1
    json.dumps(summary.as_dict())


def test_a_graph_without_a_shape_makes_place_for_another(tmp_path, conformers, monkeypatch):
    real = pipeline.shape
    monkeypatch.setattr(
        pipeline,
        "shape",
        lambda mols, *a, **k: [
            "no geometry: on purpose" if mol.GetNumAtoms() == 3 else found
            for mol, found in zip(mols, real(mols, *a, **k), strict=True)
        ],
    )
    summary = run_design(Request(n=2), tmp_path / "a.sdf", Scripted("CCO", "CC(=O)N", "CCCC"), conformers)
    assert summary.written == 2
    assert summary.shapeless == {"no geometry": 1}


def test_a_posed_scaffold_stays_where_it_is(tmp_path, conformers):
    path = tmp_path / "ring.sdf"
    mol = Chem.MolFromSmiles("c1ccncc1")
    with_h = Chem.AddHs(mol)
    AllChem.EmbedMolecule(with_h, randomSeed=3)
    path.write_text(Chem.MolToMolBlock(with_h) + "$$$$\n")
    scaffold = read_scaffold(path)
    generator = Scripted("c1ccncc1CCO")
    out = tmp_path / "grown.sdf"
    summary = run_design(Request(n=1, scaffold=scaffold), out, generator, conformers)
    assert summary.written == 1, summary
    made = parse_block(next(iter(read_blocks(out))))
    assert scaffold.contained(made) is not None
    there = made.GetConformer().GetPositions()[: scaffold.size]
    np.testing.assert_allclose(there, scaffold.positions, atol=1e-4)


def test_a_posed_scaffold_stays_where_it_is_whatever_is_to_be_resembled(tmp_path, conformers):
    pose = Chem.AddHs(Chem.MolFromSmiles("c1ccncc1"))
    AllChem.EmbedMolecule(pose, randomSeed=1)
    path = tmp_path / "pose.sdf"
    Chem.MolToMolFile(pose, str(path))
    scaffold = read_scaffold(path)
    far = Chem.AddHs(Chem.MolFromSmiles("CCCc1ccncc1"))
    AllChem.EmbedMolecule(far, randomSeed=2)
    reference = Overlay(Chem.RemoveAllHs(far))
    generator = Scripted("c1ccncc1CO")
    request = Request(n=1, scaffold=scaffold, shape=reference, selection=None)
    generator.check = lambda request: None
    out = tmp_path / "made.sdf"
    run_design(request, out, generator, conformers)
    block = next(iter(read_blocks(out)))
    made = parse_block(block)
    assert scaffold.contained(made) is not None
    assert float(properties(block)["shape"]) == pytest.approx(reference(made), abs=0.01)


def test_a_score_that_fails_at_the_end_costs_no_candidate(tmp_path, conformers):
    out = tmp_path / "made.sdf"
    request = Request(n=2, score=lambda mol: 1 / 0, selection=None)
    summary = run_design(request, out, Scripted("CCO", "CCN"), conformers)
    assert (summary.written, summary.unscored) == (2, 2)
    with open(table_path(out)) as stream:
        assert [row["score"] for row in csv.DictReader(stream)] == ["", ""]
    json.dumps(summary.as_dict())


def test_order_by_a_descriptor(tmp_path, conformers):
    generator = Scripted("CCCCCC", "CCO", "CC(=O)N")
    out = tmp_path / "ranked.sdf"
    run_design(Request(n=3), out, generator, conformers, rank=Criterion("logp", "low"))
    with open(table_path(out)) as stream:
        values = [float(row["logp"]) for row in csv.DictReader(stream)]
    assert values == sorted(values)
    with pytest.raises(InputError, match="--rank nice: unknown descriptor"):
        run_design(Request(n=1), out, generator, conformers, rank=Criterion("nice", "low"))


def test_wrong_names_are_refused_before_any_work(tmp_path, conformers):
    with pytest.raises(InputError, match="must end in"):
        run_design(Request(), tmp_path / "out.txt", Scripted("CCO"), conformers)
    assert table_path(tmp_path / "a.b.sdf.gz").name == "a.b.csv"


def test_misses_add_up_in_widths():
    row = {"qed": 0.5, "logp": 4.0}
    targets = [parse_target("qed=0.7"), parse_target("logp=1..2.5")]
    assert misses(row, targets) == pytest.approx(0.2 / 0.2 + 1.5 / 1.5)
