"""Coordinates around given atoms: those exact, the rest plausible, the impossible refused."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.molecules.conformers import ConformerGenerator
from scoregen.molecules.design.cuts import link_task, scaffold_task
from scoregen.molecules.design.kept import Link, Scaffold
from scoregen.molecules.design.pinned import (
    around,
    free_stereo,
    harmonic_extension,
    placed,
    relax_around,
    superposed,
)
from scoregen.molecules.design.plausible import Judge
from scoregen.molecules.design.shapes import shape_posed
from scoregen.molecules.sdf import parse_block, read_blocks
from tests.molecules.samples import embedded, pack, positions

CASCADE = "cascade_dft_sample.sdf"


def heavy_graph(mol: Mol) -> Mol:
    """What a generator hands over: heavy atoms with hydrogens counted, no coordinates, no stereo."""
    heavy = Chem.RemoveAllHs(mol)
    heavy.RemoveAllConformers()
    Chem.RemoveStereochemistry(heavy)
    return heavy


def graph_and_match(task: Scaffold, mol: Mol) -> tuple[Mol, list[int]]:
    """The whole graph and where the kept atoms are in it."""
    match = task.contained(mol)
    assert match is not None
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    return heavy_graph(mol), [heavy.index(i) for i in match]


@cache
def conformers() -> ConformerGenerator:
    return ConformerGenerator.from_pretrained("conformer-small")


@cache
def scaffolds() -> tuple[tuple[Scaffold, Mol, list[int]], ...]:
    rng = np.random.default_rng(1)
    found = []
    for mol in sorted(pack(CASCADE), key=Mol.GetNumAtoms)[3:7]:
        if task := scaffold_task(mol, rng):
            found.append((task, *graph_and_match(task, mol)))
    return tuple(found)


@cache
def links() -> tuple[tuple[Link, Mol, list[int]], ...]:
    rng = np.random.default_rng(2)
    found = []
    for mol in sorted(pack(CASCADE), key=Mol.GetNumAtoms):
        if cut := link_task(mol, rng):
            found.append((cut[0], *graph_and_match(cut[0], mol)))
    return tuple(found[:4])


@pytest.mark.parametrize("kind", ["scaffold", "link"])
def test_kept_atoms_are_exactly_where_they_were_and_the_rest_is_plausible(kind):
    tasks = scaffolds() if kind == "scaffold" else links()
    assert len(tasks) >= 3
    for number, (task, graph, match) in enumerate(tasks):
        model = conformers() if number % 2 else None
        done = shape_posed(graph, match, task.positions, model, seed=3, embeddings=2)
        assert isinstance(done, Mol), done
        assert np.abs(positions(done)[match] - task.positions).max() < 1e-9
        assert task.contained(done) is not None
        assert Judge(done, match).problem(positions(done)) is None
        # Complete: every hydrogen that was counted is an atom with a place.
        assert Chem.AddHs(done).GetNumAtoms() == done.GetNumAtoms() == positions(done).shape[0]
        hydrogens = sum(atom.GetTotalNumHs() for atom in graph.GetAtoms())
        assert done.GetNumAtoms() - done.GetNumHeavyAtoms() == hydrogens
        assert Chem.MolToSmiles(heavy_graph(done)) == Chem.MolToSmiles(graph)


def test_kept_atoms_survive_an_sdf(tmp_path):
    task, graph, match = links()[0]
    done = shape_posed(graph, match, task.positions, embeddings=2)
    path = tmp_path / "one.sdf"
    with Chem.SDWriter(str(path)) as writer:
        writer.write(done)
    read = parse_block(next(iter(read_blocks(str(path)))))
    assert np.abs(positions(read)[match] - task.positions).max() <= 1e-4
    assert task.contained(read) is not None


def test_the_conformer_model_moves_new_atoms_a_little_and_kept_ones_not_at_all():
    task, graph, match = links()[0]
    plain, moved = (shape_posed(graph, match, task.positions, m, embeddings=2) for m in (None, conformers()))
    np.testing.assert_array_equal(positions(plain)[match], positions(moved)[match])
    shift = np.linalg.norm(positions(plain) - positions(moved), axis=-1)
    assert 0.003 < shift.max() < 0.3
    assert Chem.MolToSmiles(plain) == Chem.MolToSmiles(moved)


def test_the_stereo_of_the_pose_is_kept_and_tags_agree_with_coordinates():
    """Every centre of menthol, its methyl grown to an ethyl; also its mirror image."""
    mol, (start, *_) = embedded("CC(C)[C@@H]1CC[C@@H](C)C[C@H]1O")
    grown = Chem.MolFromSmiles("CC(C)C1CCC(CC)CC1O")
    kept = Chem.MolFromSmiles("CC(C)C1CCC(C)CC1O")
    match = list(grown.GetSubstructMatch(kept))
    order = list(mol.GetSubstructMatch(kept))
    mirror = {1.0: "CC(C)[C@@H]1CC[C@@H](CC)C[C@H]1O", -1.0: "CC(C)[C@H]1CC[C@H](CC)C[C@@H]1O"}
    for sign, expected in mirror.items():
        done = shape_posed(grown, match, start[order] * [1.0, 1.0, sign], seed=1, embeddings=2)
        assert isinstance(done, Mol), done
        smiles = Chem.MolToSmiles(Chem.RemoveHs(done))
        assert smiles == Chem.CanonSmiles(expected)
        again = Chem.Mol(done)
        Chem.AssignStereochemistryFrom3D(again, replaceExistingTags=True)
        assert Chem.MolToSmiles(Chem.RemoveHs(again)) == smiles


def rings_apart(gap: float) -> tuple[Mol, list[int], np.ndarray]:
    """Diphenylmethane without its CH2: two rings whose anchors are ``gap`` Å apart."""
    _, (start, *_) = embedded("c1ccccc1")
    ring = start[:6] - start[:6].mean(0)
    axis = ring[5] / np.linalg.norm(ring[5])
    # Turned half round in its plane, atom 0 of the second ring would point back: atom 2 is opposite to 5.
    other = np.roll(ring, -2, axis=0) + axis * (gap + 2 * np.linalg.norm(ring[5]))
    return Chem.MolFromSmiles("c1ccccc1Cc1ccccc1"), [*range(6), *range(7, 13)], np.concatenate([ring, other])


@pytest.mark.parametrize("gap", [3.2, 5.0, 25.0])
def test_a_linker_that_cannot_reach_is_refused_with_a_reason(gap):
    graph, match, places = rings_apart(gap)
    assert np.linalg.norm(places[5] - places[6]) == pytest.approx(gap, abs=0.05)
    reason = shape_posed(graph, match, places, embeddings=2)
    assert isinstance(reason, str)
    assert "Å" in reason and "\n" not in reason


def test_what_the_judge_refuses():
    mol, (start, *_) = embedded("CCCCCC(=O)NCC")
    start, _ = relax_around(mol, (), start)
    judge = Judge(mol, [0])
    assert judge.problem(start) is None
    for factor in (0.85, 1.15):
        assert "bond" in judge.problem(start * factor)
    shifted = start.copy()
    shifted[-1] = start[1] + [0.5, 0.5, 0.5]
    assert judge.problem(shifted) is not None
    folded = start.copy()
    folded[8] = folded[0] + 1.7 * np.array([0.0, 0.0, 1.0])
    assert judge.problem(folded) is not None
    assert "finite" in judge.problem(np.full_like(start, np.nan))


def test_given_atoms_are_not_judged_against_each_other():
    mol, (start, *_) = embedded("CCO")
    assert Judge(mol, range(mol.GetNumAtoms())).unreachable(start * 3) is None
    assert Judge(mol, [0, 1, 2]).unreachable(start[:3] * 3) is None  # one piece: posed as it is
    assert Judge(mol, [0, 2]).unreachable(start[[0, 2]] * 3) is not None


def test_real_geometries_pass_the_judge():
    for mol in pack(CASCADE):
        assert Judge(mol, [0]).problem(positions(mol)) is None


def test_same_seed_same_geometry_other_seed_another():
    task, graph, match = links()[0]
    whole = free_stereo(graph)
    first = around(whole, match, task.positions, seed=1, embeddings=2)
    np.testing.assert_array_equal(first[0], around(whole, match, task.positions, seed=1, embeddings=2)[0])
    others = [around(whole, match, task.positions, seed=seed, embeddings=1)[0] for seed in (2, 3)]
    assert any(np.abs(first[0] - other).max() > 0.01 for other in others)
    a, b = (shape_posed(graph, match, task.positions, seed=-5, embeddings=1) for _ in range(2))
    np.testing.assert_array_equal(positions(a), positions(b))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_extension_follows_every_rigid_motion_of_what_is_given(seed):
    rng = np.random.default_rng(seed)
    mol, (start, *_) = embedded("CC(=O)Oc1ccccc1C(=O)O")
    match = rng.choice(mol.GetNumAtoms(), int(rng.integers(1, 9)), replace=False).tolist()
    extension = harmonic_extension(mol, match)
    np.testing.assert_allclose(extension.sum(1), 1.0, atol=1e-9)
    np.testing.assert_array_equal(extension[match], np.eye(len(match)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    where = start @ turn + rng.normal(size=3)
    np.testing.assert_allclose(superposed(start, match, where[match])[match], where[match], atol=1e-6)
    # A mirror image of the molecule is put right as well.
    moved = placed(start * [-1.0, 1.0, 1.0], match, where[match], extension)
    np.testing.assert_array_equal(moved[match], where[match])
    thickness = np.linalg.svd(start[match] - start[match].mean(0), compute_uv=False)[-1]
    if len(match) > 3 and thickness > 0.3:  # atoms in a plane have no handedness
        np.testing.assert_allclose(moved, where, atol=1e-6)


def test_relaxing_around_atoms_leaves_them_and_lowers_the_energy():
    mol, (start, *_) = embedded("CC(=O)Oc1ccccc1C(=O)O")
    match = [3, 4, 5, 6]
    _, before = relax_around(mol, match, start, steps=0)
    relaxed, energy = relax_around(mol, match, start)
    np.testing.assert_array_equal(relaxed[match], start[match])
    assert energy < before
    assert np.abs(relaxed - start).max() > 0.01
