"""Selection among draws: who is copied, how often, and that a group knows nothing of other groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoregen.errors import InputError
from scoregen.molecules.design.encode import decode
from scoregen.molecules.design.sampler import Draw, Schedule, draw_candidates
from scoregen.molecules.design.scores import Jury
from scoregen.molecules.design.selection import Selection, quantiles
from scoregen.molecules.design.state import Layout
from tests.molecules.design.helpers import small_model


def test_quantiles_have_no_units_and_what_is_unknown_is_in_the_middle():
    np.testing.assert_allclose(quantiles(np.array([3.0, -1.0, 40.0])), [0.5, 0, 1])
    np.testing.assert_allclose(quantiles(np.array([np.nan, 1.0, 2.0])), [0.5, 0, 1])
    np.testing.assert_allclose(quantiles(np.array([np.nan, 1.0])), 0.5)
    np.testing.assert_allclose(quantiles(np.array([7.0, 7.0, 7.0])), 0.5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.floats(0.1, 100), st.floats(-10, 10))
def test_quantiles_do_not_see_scale_or_shift(values, scale, shift):
    before = np.round(np.array(values), 3)
    after = np.round(before * scale + shift, 9)
    if len(np.unique(after)) == len(np.unique(before)):
        np.testing.assert_allclose(quantiles(after), quantiles(before))


@given(st.integers(2, 24), st.floats(0, 5), st.integers(0, 2**32))
def test_systematic_resampling_copies_in_proportion(count, pressure, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(1, count))
    chosen = Selection(particles=count, pressure=pressure).ancestors(values, rng)
    weights = np.exp(pressure * quantiles(values[0]))
    expected = count * weights / weights.sum()
    copies = np.bincount(chosen, minlength=count)
    assert copies.sum() == count
    assert np.all(copies >= np.floor(expected - 1e-9)) and np.all(copies <= np.ceil(expected + 1e-9))
    stays = np.unique(chosen)
    np.testing.assert_array_equal(chosen[stays], stays)  # who stays is left in place


def test_copies_are_unbiased():
    values, selection = np.array([[0.0, 1.0, 2.0, 3.0]]), Selection(particles=4, pressure=2)
    copies = [
        np.bincount(selection.ancestors(values, np.random.default_rng(k)), minlength=4) for k in range(4000)
    ]
    weights = np.exp(2 * np.arange(4) / 3)
    np.testing.assert_allclose(np.mean(copies, axis=0), 4 * weights / weights.sum(), atol=0.03)


def test_without_pressure_or_knowledge_nobody_is_replaced():
    rng = np.random.default_rng(0)
    values = np.array([[3.0, 1.0, 2.0, 5.0]])
    np.testing.assert_array_equal(Selection(particles=4, pressure=0).ancestors(values, rng), np.arange(4))
    unknown = np.full((1, 4), np.nan)
    np.testing.assert_array_equal(Selection(particles=4).ancestors(unknown, rng), np.arange(4))


def test_criteria_count_alike_whatever_their_units():
    rng = np.random.default_rng(0)
    values = np.array([[0.0, 1.0, 2.0, 3.0], [3e9, 2e9, 1e9, 0.0]])  # they cancel
    np.testing.assert_array_equal(Selection(particles=4).ancestors(values, rng), np.arange(4))


def test_selections_lie_between_the_first_call_and_the_last():
    selection = Selection(begin=0.5, end=0.8, times=4)
    assert selection.steps(100) == {50, 60, 70, 80}
    assert selection.steps(10) == {5, 6, 7, 8}
    assert all(0 < k < 5 for k in selection.steps(5))


@pytest.mark.parametrize(
    "wrong", [{"particles": 1}, {"pressure": -1.0}, {"begin": 0.9, "end": 0.5}, {"times": 0}]
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(InputError):
        Selection(**wrong)


def test_atoms_and_pairs_are_taken_from_whom_they_should_be():
    layout = Layout.of([3, 3, 2, 2])
    atoms, pairs = layout.taken(np.array([1, 1, 2, 2]))
    assert atoms.tolist() == [3, 4, 5, 3, 4, 5, 6, 7, 6, 7]
    assert pairs.tolist() == [3, 4, 5, 3, 4, 5, 6, 6]


def carbons(mol) -> float:
    """A score that says something of any drawing."""
    return float(sum(atom.GetSymbol() == "C" for atom in mol.GetAtoms()))


class Lenient(Jury):
    """Scores what a random network draws, possible or not."""

    def values(self, mols):
        return np.array([[score(mol) for mol in mols] for score in self.scores])


GROUP = Selection(particles=8, pressure=6, begin=0.3, end=0.8, times=4)


def test_selected_draws_score_better_than_free_ones():
    model = small_model()
    draws = [Draw(6, key) for key in range(256)]

    def mean(selection):
        schedule = Schedule(steps=10, selection=selection)
        jury = None if selection is None else Lenient((carbons,))
        found = draw_candidates(model, draws, schedule, 0, coordinates=False, jury=jury)
        return np.mean([carbons(decode(arrays)) for arrays in found])

    assert mean(GROUP) > mean(None) + 0.15


@pytest.mark.parametrize("coordinates", [False, True])
def test_a_group_does_not_depend_on_others(coordinates):
    model = small_model(coordinates)
    draws = [Draw(size, 100 * size + member) for size in (6, 4) for member in range(8)]
    schedule = Schedule(steps=8, selection=GROUP)

    def drawn(chosen, **options):
        jury = Lenient((carbons,))
        return draw_candidates(model, chosen, schedule, 0, coordinates=coordinates, jury=jury, **options)

    together, apart = drawn(draws), drawn(draws[:8]) + drawn(draws[8:])
    split = drawn(draws, pairs=100)
    for one, other, third in zip(together, apart, split, strict=True):
        for name in ("token", "bond", "order"):
            np.testing.assert_array_equal(one[name], other[name])
            np.testing.assert_array_equal(one[name], third[name])
        np.testing.assert_allclose(one["x"], other["x"], atol=1e-3)


def test_groups_are_whole_and_of_one_size():
    schedule = Schedule(steps=4, selection=GROUP)
    for draws in ([Draw(5, k) for k in range(7)], [Draw(5 + (k == 3), k) for k in range(8)]):
        with pytest.raises(ValueError, match="groups of 8"):
            draw_candidates(small_model(), draws, schedule, 0, coordinates=False, jury=Jury((carbons,)))
