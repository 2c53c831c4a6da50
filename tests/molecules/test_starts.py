"""Starts: kinds in turn, representatives, strain."""

import numpy as np
import pytest

from scoregen.molecules import starts
from scoregen.molecules.chem import standardise
from scoregen.molecules.metrics import pairwise_rmsd
from scoregen.molecules.starts import Start, make_starts, representatives, unstrained

PENTANOL = "CCCCCO"


def test_kinds_come_in_the_order_asked_for_and_only_relaxed_ones_have_energies():
    made = make_starts(standardise(PENTANOL), ["mmff", "etkdg", "mmff"], seed=1)
    assert [start.kind for start in made] == ["mmff", "etkdg", "mmff"]
    assert [start.energy is None for start in made] == [False, True, False]


def test_without_parameters_a_start_stays_as_embedded():
    (made,) = make_starts(standardise("C[Se]C"), ["mmff"], seed=1)
    assert made.kind == "etkdg" and made.energy is None


def test_too_few_geometries_repeat(monkeypatch):
    mol = standardise("CCO")
    one = starts.embed(mol, 1, 3)
    monkeypatch.setattr(starts, "embed", lambda *a, **k: one)
    made = make_starts(mol, ["etkdg"] * 3, seed=1, oversampling=2)
    assert len(made) == 3 and all(start.positions is made[0].positions for start in made)


def test_starts_chosen_among_more_stand_for_all_of_them():
    mol = standardise(PENTANOL)
    pool = make_starts(mol, ["mmff"] * 20, seed=5)
    few = representatives(mol, pool, 5)
    low = min(start.energy for start in pool)
    assert all(start.energy <= low + starts.STRAIN for start in few)
    assert sum(start.population for start in few) == pytest.approx(1)
    distances = pairwise_rmsd(mol, np.stack([start.positions for start in pool]))
    index = [next(i for i, p in enumerate(pool) if p.positions is start.positions) for start in few]
    assert distances[:, index].min(1).sum() < distances[:, :5].min(1).sum()
    # The same starts, asked for in one go.
    again = make_starts(mol, ["mmff"] * 5, seed=5, oversampling=4)
    assert [start.energy for start in again] == [start.energy for start in few]


def test_strained_starts_represent_nobody_while_enough_others_are_left():
    pool = [Start("mmff", np.zeros((1, 3)), energy) for energy in (3.0, 40.0, 0.0, 12.0, 10.0)]
    free = Start("etkdg", np.zeros((1, 3)))
    assert [start.energy for start in unstrained([*pool, free], 2)] == [3.0, 0.0, 10.0, None]
    assert [start.energy for start in unstrained(pool, 4)] == [3.0, 0.0, 10.0, 12.0]
    assert unstrained([free, free], 1) == [free, free]
