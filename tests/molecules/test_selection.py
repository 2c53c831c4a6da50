"""Medoids against exhaustive search, populations, duplicates."""

from itertools import combinations

import numpy as np
import pytest

from scoregen.molecules.metrics import pairwise_rmsd, rmsd_matrix
from scoregen.molecules.selection import distinct, medoids, select
from tests.molecules.helpers import with_geometry


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def cost(matrix: np.ndarray, picked: list[int]) -> float:
    return float(matrix[:, picked].min(1).sum())


def test_medoids_are_near_the_best_there_are() -> None:
    """Against all subsets: within 12 % always, within 1 % on average, over structureless clouds."""
    ratios = []
    for seed in range(6):
        matrix = distances(np.random.default_rng(seed).normal(size=(12, 2)))
        for k in range(1, 6):
            picked = medoids(matrix, k)
            assert len(set(picked)) == k
            best = min(cost(matrix, list(subset)) for subset in combinations(range(12), k))
            ratios.append(cost(matrix, picked) / best)
    assert min(ratios) >= 1 - 1e-9 and max(ratios) < 1.12 and np.mean(ratios) < 1.01


def test_modes_are_picked_before_an_outlier() -> None:
    """Two clusters and a far point, which farthest-point picking would take second."""
    random = np.random.default_rng(0)
    points = np.concatenate([random.normal(0, 0.1, (10, 2)), random.normal(2, 0.1, (8, 2)), [[4.0, 4.0]]])
    matrix = distances(points)
    first, second = medoids(matrix, 2)
    assert first < 10 <= second < 18
    assert matrix[first].argmax() == 18


def test_the_order_is_greedy_and_ties_go_to_the_lower_index() -> None:
    matrix = distances(np.array([[0.0], [0.0], [10.0], [10.0], [10.0]]))
    assert medoids(matrix, 2) == [2, 0]
    assert sorted(medoids(matrix, 9)) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(medoids(np.zeros((3, 3)), 2), [0, 1])


def test_populations_count_the_draws_around_each() -> None:
    matrix = distances(np.array([[0.0], [1.0], [2.0], [10.0]]))
    selection = select(matrix, 2)
    assert selection.picked == [1, 3]
    population, spread = selection.shares()
    np.testing.assert_allclose(population, [0.75, 0.25])
    np.testing.assert_allclose(spread, [np.sqrt(2 / 3), 0])
    population, spread = selection.only([0]).shares()
    np.testing.assert_allclose([population[0], spread[0]], [1, np.sqrt(83 / 4)])


def test_distinct_keeps_the_first_of_near_ones() -> None:
    assert distinct(distances(np.array([[0.0], [0.4], [0.8], [0.0]])), 0.5) == [0, 2]


def test_pairwise_rmsd_is_the_rmsd_matrix() -> None:
    """Symmetric groups included: a tert-butyl and a carboxylate."""
    mol, first = with_geometry("CC(C)(C)CC(=O)[O-]")
    positions = np.stack([first] + [with_geometry("CC(C)(C)CC(=O)[O-]", seed)[1] for seed in range(2, 6)])
    found = pairwise_rmsd(mol, positions)
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(found[off], rmsd_matrix(mol, positions, mol, positions)[off], atol=1e-5)
    assert pairwise_rmsd(mol, positions[:1]).tolist() == [[0.0]]


def test_one_heavy_atom_has_no_distances() -> None:
    mol, positions = with_geometry("C")
    assert pairwise_rmsd(mol, np.stack([positions, positions + 1])).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("matrix", "k"), [(np.zeros((2, 3)), 1), (np.zeros((2, 2)), 0)])
def test_nonsense_is_refused(matrix: np.ndarray, k: int) -> None:
    with pytest.raises(ValueError, match="square matrix"):
        medoids(matrix, k)
