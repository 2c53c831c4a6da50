"""What is asked for in numbers: every form, every error, and distances to intervals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoregen.errors import InputError
from scoregen.molecules.design.targets import DOMAINS, Target, check_targets, parse_atoms, parse_target

NUMBERS = st.floats(-50, 50).map(lambda x: round(x, 3))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("qed=0.9", Target("qed", 0.9, 0.9)),
        ("logp=2..3", Target("logp", 2.0, 3.0)),
        ("tpsa=..90", Target("tpsa", -math.inf, 90.0)),
        ("mw=300..", Target("mw", 300.0, math.inf)),
        ("logP=-1..-.5", Target("logp", -1.0, -0.5)),
        (" QED = .5 .. 1 ", Target("qed", 0.5, 1.0)),
        ("logp=1e-1", Target("logp", 0.1, 0.1)),
        ("sa=1..10", Target("sa", 1.0, 10.0)),
        ("mw=0..300", Target("mw", 0.0, 300.0)),
        ("tpsa=0", Target("tpsa", 0.0, 0.0)),
    ],
)
def test_every_form_is_read(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("color=3", "unknown property 'color'; known: qed, logp, tpsa, mw, sa"),
        ("=3", "unknown property ''"),
        ("qed", "write NAME=VALUE"),
        ("qed=", "write NAME=VALUE"),
        ("qed=high", "'high' is not a number"),
        ("logp=2-3", "'2-3' is not a number; give a value"),
        ("logp=1..2..3", "'2..3' is not a number"),
        ("mw=nan", "'nan' is not a number"),
        ("mw=inf..", "'inf' is not a number"),
        ("mw=1_000", "'1_000' is not a number"),
        ("mw=1e999", "'1e999' is not a number"),
        ("mw=..", "bounds nothing"),
        ("logp=3..2", "did you mean 2..3?"),
        ("qed=1.2", "qed lies between 0 and 1"),
        ("qed=-0.1..0.5", "qed lies between 0 and 1"),
        ("qed=5..", "qed lies between 0 and 1"),
        ("mw=0", "mw is positive"),
        ("mw=-5..300", "mw is positive"),
        ("mw=..0", "mw is positive"),
        ("tpsa=..-1", "tpsa is never negative"),
        ("sa=0.5", "sa lies between 1"),
        ("sa=11..", "sa lies between 1"),
    ],
)
def test_every_error_is_one_line_with_the_text(text: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_target(text)
    message = str(caught.value)
    assert reason in message
    assert f"'{text}'" in message
    assert "\n" not in message


def test_no_property_twice() -> None:
    targets = [parse_target(text) for text in ("qed=0.9", "mw=300..", "mw=..500")]
    assert check_targets(targets[:2]) == tuple(targets[:2])
    with pytest.raises(InputError, match=r"mw=\.\.500: mw is already asked for by 'mw=300\.\.'; write one"):
        check_targets(targets)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_miss_is_the_distance_to_the_nearest_point_inside(a: float, b: float, value: float) -> None:
    target = Target("logp", min(a, b), max(a, b))
    nearest = min(max(value, target.low), target.high)
    assert target.miss(value) == pytest.approx(abs(value - nearest))
    assert target.hit(value) == (target.low <= value <= target.high)
    assert target.hit(value, target.miss(value))
    if target.miss(value) > 1e-6:
        assert not target.hit(value, target.miss(value) * 0.999)


def test_open_ends_and_unknown_values() -> None:
    target = parse_target("tpsa=..90")
    assert target.miss(-1e9) == target.miss(90) == 0
    assert target.miss(100) == 10
    assert math.isnan(target.miss(math.nan))
    assert not target.hit(math.nan, 1e9)


def test_a_value_has_a_tolerance_and_an_interval_none() -> None:
    assert parse_target("qed=0.9").tolerance == DOMAINS["qed"].tolerance > 0
    assert parse_target("qed=0.8..0.9").tolerance == 0


@given(st.integers(3, 60), st.integers(3, 60))
def test_atoms(a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    assert parse_atoms(f"{low}-{high}", (3, 60)) == (low, high)
    assert parse_atoms(f" {low} - {high} ", (3, 60)) == (low, high)
    assert parse_atoms(str(a), (3, 60)) == (a, a)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0-0", "at least one heavy atom"),
        ("0", "at least one heavy atom"),
        ("20-10", "did you mean 10-20?"),
        ("ten", "write LO-HI or N"),
        ("", "write LO-HI or N"),
        ("-5", "write LO-HI or N"),
        ("5-", "write LO-HI or N"),
        ("10.5-20", "write LO-HI or N"),
        ("10..20", "write LO-HI or N"),
        ("1-20-30", "write LO-HI or N"),
        ("٣", "write LO-HI or N"),
        ("0-20", "makes molecules of 3 to 60"),
        ("10-61", "makes molecules of 3 to 60"),
        ("2", "makes molecules of 3 to 60"),
    ],
)
def test_atoms_that_cannot_be(text: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_atoms(text, (3, 60))
    assert reason in str(caught.value)
    assert f"--atoms '{text}'" in str(caught.value)
