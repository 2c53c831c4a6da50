"""Random kept sets: sizes, connectedness, all three kinds, and no RDKit."""

import subprocess
import sys

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoregen.molecules.design.masks import random_kept


def molecule_like(n: int, seed: int) -> nx.Graph:
    """A random tree of degree at most 4 with a few ring closures."""
    rng = np.random.default_rng(seed)
    graph = nx.Graph()
    graph.add_node(0)
    for i in range(1, n):
        graph.add_edge(i, int(rng.choice([j for j in graph if graph.degree[j] < 4])))
    for _ in range(n // 6):
        i, j = rng.integers(n, size=2).tolist()
        if i != j:
            graph.add_edge(i, j)
    return graph


@given(st.integers(2, 60), st.integers(0, 10**6))
def test_kept_sets_are_regions_or_leave_one(n: int, seed: int) -> None:
    graph = molecule_like(n, seed)
    kept = random_kept(np.array(graph.edges), n, np.random.default_rng(seed))
    assert kept.dtype == bool
    assert kept.shape == (n,)
    assert max(1, round(0.2 * n - 0.5)) <= kept.sum() <= min(n - 1, 0.9 * n + 0.5)
    inside = graph.subgraph(np.flatnonzero(kept).tolist())
    outside = graph.subgraph(np.flatnonzero(~kept).tolist())
    # A region is connected, a complement leaves a connected hole, two regions are two.
    assert nx.is_connected(outside) or nx.number_connected_components(inside) <= 2


def test_all_three_kinds_come_up_and_sizes_spread() -> None:
    graph = nx.path_graph(40)
    bonds, rng = np.array(graph.edges), np.random.default_rng(0)
    sizes, gaps, ends = [], 0, 0
    for _ in range(600):
        kept = random_kept(bonds, 40, rng)
        runs = int(kept[0]) + int((np.diff(kept.astype(int)) == 1).sum())
        assert runs in (1, 2)
        gaps += runs == 2
        ends += bool(kept[0] and kept[-1])
        sizes.append(kept.mean())
    # A path tells a complement (both ends kept, mostly) from a region (one run).
    assert 150 < gaps < 450
    assert ends > 60
    assert np.quantile(sizes, 0.1) < 0.32
    assert np.quantile(sizes, 0.9) > 0.75
    assert 0.48 < np.mean(sizes) < 0.62


def test_two_regions_do_not_touch() -> None:
    graph = nx.path_graph(12)
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(300):
        inside = graph.subgraph(np.flatnonzero(random_kept(np.array(graph.edges), 12, rng)).tolist())
        seen += nx.number_connected_components(inside) == 2
    assert seen > 50


def test_small_and_odd_graphs() -> None:
    rng = np.random.default_rng(0)
    assert not random_kept(np.zeros((0, 2), int), 1, rng).any()
    for _ in range(50):
        assert random_kept(np.array([[0, 1]]), 2, rng).sum() == 1
        star = np.array([[0, i] for i in range(1, 5)])
        assert 1 <= random_kept(star, 5, rng).sum() <= 4
        assert 1 <= random_kept(np.zeros((0, 2), int), 4, rng).sum() <= 3


@pytest.mark.parametrize("seed", range(5))
def test_the_generator_decides(seed: int) -> None:
    bonds = np.array(molecule_like(30, 3).edges)
    first, again = (random_kept(bonds, 30, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    draws = {random_kept(bonds, 30, np.random.default_rng(k)).tobytes() for k in range(20)}
    assert len(draws) > 15


def test_training_imports_it_without_rdkit() -> None:
    code = "import sys, scoregen.molecules.design.masks; sys.exit('rdkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
