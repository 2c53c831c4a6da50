"""Tasks cut from real molecules: sizes, marks, positions, and that the molecule itself is an answer."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.molecules.design.cuts import link_task, scaffold_task
from scoregen.molecules.design.kept import Link, Scaffold
from tests.molecules.samples import PACKS, pack


@cache
def molecules() -> tuple[Mol, ...]:
    """One record of each molecule of the shipped samples."""
    first: dict[str, Mol] = {}
    for name in PACKS:
        for mol in pack(name):
            first.setdefault(Chem.MolToSmiles(Chem.RemoveHs(mol)), mol)
    return tuple(first.values())


def heavy_positions(mol: Mol) -> np.ndarray:
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    return mol.GetConformer().GetPositions()[heavy]


def check_answer(task: Scaffold, mol: Mol) -> None:
    """The molecule contains what is kept: where it is, and also by graph and stereo alone."""
    match = task.contained(mol)
    assert match is not None
    np.testing.assert_array_equal(mol.GetConformer().GetPositions()[list(match)], task.positions)
    # Symmetry may allow another match, but there is one.
    assert replace(task, positions=None).contained(mol) is not None
    # New bonds of the answer are at marks only, and every mark is used up.
    inside = set(match)
    for i, j in enumerate(match):
        around = [n for n in mol.GetAtomWithIdx(j).GetNeighbors() if n.GetAtomicNum() > 1]
        new = [n for n in around if n.GetIdx() not in inside]
        assert len(new) == task.open.get(i, 0)


def test_scaffolds_are_parts_of_the_size_asked_for() -> None:
    rng = np.random.default_rng(0)
    made, marks = 0, set()
    for mol in molecules():
        task = scaffold_task(mol, rng)
        if task is None:
            continue
        made += 1
        assert len(task.pieces) == 1
        assert 0.4 <= task.size / mol.GetNumHeavyAtoms() <= 0.8
        assert sum(task.open.values()) in (1, 2)
        marks.add(sum(task.open.values()))
        assert task.source
        check_answer(task, mol)
    assert made > 0.8 * len(molecules())
    assert marks == {1, 2}


def test_links_are_two_ends_of_a_molecule() -> None:
    rng = np.random.default_rng(0)
    sizes = []
    for mol in molecules():
        made = link_task(mol, rng)
        if made is None:
            continue
        task, removed = made
        assert isinstance(task, Link)
        assert len(task.pieces) == 2
        assert min(map(len, task.pieces)) >= 4
        assert 2 <= removed <= 12
        assert task.size + removed == mol.GetNumHeavyAtoms()
        assert [len(anchors) for anchors in task.anchors] == [1, 1]
        assert set(task.open.values()) == {1}
        check_answer(task, mol)
        sizes.append(removed)
    assert len(sizes) >= 15
    assert len(set(sizes)) > 4


def test_the_generator_decides() -> None:
    mol = max(molecules(), key=lambda m: m.GetNumHeavyAtoms())

    def cut(seed: int) -> tuple[str, str]:
        scaffold, link = (task(mol, np.random.default_rng(seed)) for task in (scaffold_task, link_task))
        assert scaffold is not None
        assert link is not None
        return Chem.MolToSmiles(scaffold.mol), Chem.MolToSmiles(link[0].mol)

    assert cut(1) == cut(1)
    scaffolds, links = zip(*map(cut, range(20)), strict=True)
    assert len(set(scaffolds)) > 3
    assert len(set(links)) > 3


@pytest.mark.parametrize("smiles", ["C", "c1ccccc1", "C1CC2CCC1C2", "O=C=O", "CC.CC", "C=C"])
def test_what_cannot_be_cut(smiles: str) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert scaffold_task(mol, np.random.default_rng(0)) is None
    assert link_task(mol, np.random.default_rng(0)) is None


def test_without_coordinates_only_the_graph_is_kept() -> None:
    mol = Chem.MolFromSmiles("c1ccccc1CCCC1CCNCC1")
    scaffold, made = scaffold_task(mol, np.random.default_rng(0)), link_task(mol, np.random.default_rng(0))
    assert scaffold is not None
    assert made is not None
    assert scaffold.positions is None
    assert made[0].positions is None
    assert scaffold.contained(mol) is not None
    assert made[0].contained(mol) is not None


def test_cuts_avoid_rings_and_multiple_bonds() -> None:
    """Every ring atom and every double bond of a piece is as in the molecule."""
    rng = np.random.default_rng(3)
    for mol in molecules():
        task = scaffold_task(mol, rng)
        if task is None:
            continue
        match = task.contained(mol)
        assert match is not None
        for atom, j in zip(task.mol.GetAtoms(), match, strict=True):
            whole = mol.GetAtomWithIdx(j)
            assert atom.IsInRing() == whole.IsInRing()
            assert atom.GetIsAromatic() == whole.GetIsAromatic()
            orders = [sorted(b.GetBondTypeAsDouble() for b in a.GetBonds()) for a in (atom, whole)]
            assert [o for o in orders[0] if o > 1] == [o for o in orders[1] if o > 1]
