"""Sizes and values that are asked of the model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoregen.errors import InputError
from scoregen.molecules.design.shaping import draw_sizes, draw_values, sizes_of_mass
from scoregen.molecules.design.targets import DOMAINS, parse_target
from scoregen.molecules.design.tokens import PROPERTIES, PROPERTY_SCALES

SIZES = {4: 1.0, 5: 3.0, 8: 4.0}


def test_sizes_are_those_of_training():
    drawn = draw_sizes(SIZES, None, 2, 8000, np.random.default_rng(0))
    found = {n: (drawn == n).mean() for n in range(2, 10)}
    assert found == pytest.approx(
        {4: 0.125, 5: 0.375, 8: 0.5} | dict.fromkeys((2, 3, 6, 7, 9), 0.0), abs=0.02
    )


@given(st.integers(2, 8), st.integers(0, 4), st.integers(2, 9))
def test_sizes_stay_within_limits(low, more, least):
    limits = (low, low + more)
    if least > low + more:
        with pytest.raises(InputError, match="heavy atoms"):
            draw_sizes(SIZES, limits, least, 5, np.random.default_rng(1))
        return
    drawn = draw_sizes(SIZES, limits, least, 50, np.random.default_rng(1))
    assert drawn.min() >= max(low, least)
    assert drawn.max() <= low + more


@pytest.mark.parametrize(
    "text",
    [
        "qed=0.9",
        "qed=0.9..",
        "qed=..0.1",
        "logp=2..3",
        "tpsa=..90",
        "mw=300..",
        "mw=700..",
        "sa=..1.5",
        "tpsa=..1",
    ],
)
def test_values_lie_in_what_is_asked(text):
    target = parse_target(text)
    told = draw_values([target], 200, np.random.default_rng(2))
    place = PROPERTIES.index(target.name)
    centre, width = PROPERTY_SCALES[place]
    values = centre + width * told[:, place]
    assert all(target.hit(float(v), 1e-3) for v in values)
    domain = DOMAINS[target.name]
    assert (values >= domain.low - 1e-3).all() and (values <= domain.high + 1e-3).all()
    assert np.isnan(np.delete(told, place, 1)).all()
    assert np.unique(values).size == (1 if target.low == target.high else 200)


def test_a_mass_asks_for_its_sizes():
    even = dict.fromkeys(range(10, 41), 1.0)
    law = sizes_of_mass(350.0, 14.0, 0.5)
    drawn = draw_sizes(even, None, 2, 4000, np.random.default_rng(0), law)
    assert drawn.mean() == pytest.approx(25, abs=0.3)
    assert drawn.std() < 1.5
    # A mass that no size has is asked of the nearest, not of all.
    heavy = draw_sizes(even, None, 2, 50, np.random.default_rng(0), sizes_of_mass(5000.0, 14.0, 0.5))
    assert (heavy == 40).all()
