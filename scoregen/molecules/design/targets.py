"""What a person asks of candidates in numbers: ``--property NAME=VALUE`` and ``--atoms LO-HI``, as data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scoregen.errors import InputError

from .tokens import PROPERTIES, PROPERTY_SCALES

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_FORMS = "give a value (0.9), a range (2..3), an upper bound (..90) or a lower bound (300..)"

_WIDTHS = {name: width for name, (_, width) in zip(PROPERTIES, PROPERTY_SCALES, strict=True)}


class Domain(NamedTuple):
    """What values a property can have at all, and how far from a value still counts as met."""

    low: float
    high: float
    said: str
    tolerance: float


DOMAINS: dict[str, Domain] = {
    "qed": Domain(0.0, 1.0, "lies between 0 and 1", 0.05),
    "logp": Domain(-math.inf, math.inf, "", 0.5),
    "tpsa": Domain(0.0, math.inf, "is never negative (Å²)", 10.0),
    "mw": Domain(0.0, math.inf, "is positive (Da)", 25.0),
    "sa": Domain(1.0, 10.0, "lies between 1 (easy) and 10 (hard)", 0.5),
}
"""Properties that can be asked for: drug-likeness (QED; Bickerton et al. 2012), octanol-water logP (Wildman &
Crippen 1999), polar surface in Å² (Ertl et al. 2000), mass in Da, synthetic accessibility (SA; Ertl &
Schuffenhauer 2009)."""


@dataclass(frozen=True)
class Target:
    """A property wanted inside an interval.

    Args:
        name: one of :data:`DOMAINS`.
        low, high: ends of the interval, both included; ``-inf`` or ``inf`` where it is open; equal for a
            single value.
    """

    name: str
    low: float
    high: float

    def miss(self, value: float) -> float:
        """Distance from ``value`` to the interval, 0 inside; NaN for a value that is not known.

        Example:
            >>> parse_target("logp=2..3").miss(3.5)
            0.5
        """
        if math.isnan(value):
            return math.nan
        return max(self.low - value, value - self.high, 0.0)

    def hit(self, value: float, tolerance: float = 0.0) -> bool:
        """Whether ``value`` is at most ``tolerance`` away from the interval; never for NaN."""
        return self.miss(value) <= tolerance

    @property
    def tolerance(self) -> float:
        """A miss that still counts as met: that of :data:`DOMAINS` for a single value, 0 for an interval."""
        return DOMAINS[self.name].tolerance if self.low == self.high else 0.0

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.name}={self.low:g}"
        low = "" if math.isinf(self.low) else f"{self.low:g}"
        high = "" if math.isinf(self.high) else f"{self.high:g}"
        return f"{self.name}={low}..{high}"


def parse_target(text: str) -> Target:
    """A target from ``qed=0.9``, ``logp=2..3``, ``tpsa=..90`` or ``mw=300..``.

    Raises:
        InputError: an unknown name, no number, ends the wrong way round, or a value no molecule has.

    Example:
        >>> parse_target("mw=300..")
        Target(name='mw', low=300.0, high=inf)
    """
    shown = f"--property '{text}'"
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value:
        raise InputError(f"{shown}: no value; write NAME=VALUE, e.g. qed=0.9 or logp=2..3")
    name = name.lower()
    if name not in DOMAINS:
        raise InputError(f"{shown}: unknown property '{name}'; known: {', '.join(DOMAINS)}")
    low, high = _interval(value, shown)
    if low > high:
        raise InputError(f"{shown}: the lower end is above the upper one; did you mean {high:g}..{low:g}?")
    domain = DOMAINS[name]
    ends = [end for end in (low, high) if math.isfinite(end)]
    if any(not domain.low <= end <= domain.high for end in ends) or (name == "mw" and high <= 0):
        raise InputError(f"{shown}: no molecule has that; {name} {domain.said}")
    return Target(name, low, high)


def check_targets(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The same targets, if no property is asked for twice.

    Raises:
        InputError: one is.
    """
    seen: dict[str, Target] = {}
    for target in targets:
        if other := seen.get(target.name):
            raise InputError(
                f"--property {target}: {target.name} is already asked for by '{other}'; "
                f"write one range, {target.name}=LOW..HIGH"
            )
        seen[target.name] = target
    return tuple(targets)


def misses(values: Mapping[str, float], targets: Sequence[Target]) -> float:
    """How far values are from all targets together, in the properties' widths among drug-like molecules."""
    return sum(target.miss(values[target.name]) / _WIDTHS[target.name] for target in targets)


def parse_atoms(text: str, limits: tuple[int, int]) -> tuple[int, int]:
    """Fewest and most heavy atoms from ``LO-HI`` or ``N``.

    Args:
        text: what was given.
        limits: fewest and most heavy atoms that the model makes.

    Raises:
        InputError: no integers, none at all, the wrong way round, or beyond ``limits``.

    Example:
        >>> parse_atoms("12-20", (1, 60))
        (12, 20)
    """
    shown = f"--atoms '{text}'"
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text, re.ASCII)
    if found is None:
        raise InputError(f"{shown}: not a number of heavy atoms; write LO-HI or N, e.g. 15-25")
    low = int(found[1])
    high = int(found[2]) if found[2] else low
    least, most = limits
    if low > high:
        raise InputError(f"{shown}: the lower end is above the upper one; did you mean {high}-{low}?")
    if high == 0:
        raise InputError(f"{shown}: a molecule has at least one heavy atom; write e.g. 15-25")
    if low < least or high > most:
        raise InputError(
            f"{shown}: this model makes molecules of {least} to {most} heavy atoms; ask within that range"
        )
    return low, high


def _interval(value: str, shown: str) -> tuple[float, float]:
    if ".." not in value:
        number = _number(value, shown)
        return number, number
    first, _, last = (part.strip() for part in value.partition(".."))
    if not first and not last:
        raise InputError(f"{shown}: '..' alone bounds nothing; {_FORMS}")
    low = _number(first, shown) if first else -math.inf
    high = _number(last, shown) if last else math.inf
    return low, high


def _number(text: str, shown: str) -> float:
    # float() also takes nan, inf and 1_000, none of which anybody means here.
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise InputError(f"{shown}: '{text}' is not a number; {_FORMS}")
    return float(text)
