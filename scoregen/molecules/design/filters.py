"""Filters: small functions that say why a molecule is not wanted, composed by tables.

A filter is a rule (``pains``), a limit on a descriptor (``sa=4``, ``mw=250..350``) or a preset of several
(``druglike``). A new rule is one function and one line in :data:`RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from rdkit import Chem
from rdkit.Chem import Mol, rdMolDescriptors
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from scoregen.errors import InputError

from .descriptors import DESCRIPTORS, describe, heavy_graph

Rule = Callable[[Mol], str | None]
MAX_RING = 8
"""Atoms of the largest ring that :func:`ring_sizes` lets pass."""


@dataclass(frozen=True)
class Filter:
    """A named rule; call it with a sanitised molecule for the reason to drop it, or None.

    Attributes:
        name: as given, such as ``sa=4``.
        rule: the function.
    """

    name: str
    rule: Rule

    def __call__(self, mol: Mol) -> str | None:
        return self.rule(mol)


def lipinski(mol: Mol) -> str | None:
    """More than one violation of the rule of five (Lipinski et al. 1997), which counts N–H and O–H bonds as
    donors, N and O as acceptors."""
    broken = _above(mol, {"mw": 500, "logp": 5})
    flat = heavy_graph(mol)
    donors = rdMolDescriptors.CalcNumLipinskiHBD(flat)
    acceptors = rdMolDescriptors.CalcNumLipinskiHBA(flat)
    broken += [f"NH and OH {donors} > 5"] if donors > 5 else []
    broken += [f"N and O {acceptors} > 10"] if acceptors > 10 else []
    return f"lipinski: {', '.join(broken)}" if len(broken) > 1 else None


def veber(mol: Mol) -> str | None:
    """Over ten rotatable bonds or over 140 Å² of polar surface (Veber et al. 2002)."""
    broken = _above(mol, {"rotatable_bonds": 10, "tpsa": 140})
    return f"veber: {', '.join(broken)}" if broken else None


def alerts(mol: Mol, catalogue: str) -> list[str]:
    """Names of the structural alerts of a catalogue that a molecule hits.

    Args:
        mol: sanitised, with or without hydrogen atoms.
        catalogue: ``"PAINS"`` (Baell and Holloway 2010) or ``"BRENK"`` (Brenk et al. 2008), or another of
            RDKit's ``FilterCatalogs``.
    """
    return [match.GetDescription() for match in _catalogue(catalogue).GetMatches(heavy_graph(mol))]


def pains(mol: Mol) -> str | None:
    """A pan-assay interference alert (Baell and Holloway 2010)."""
    return _first_alert(mol, "PAINS")


def brenk(mol: Mol) -> str | None:
    """An unwanted group: reactive, unstable or toxic (Brenk et al. 2008)."""
    return _first_alert(mol, "BRENK")


def ring_sizes(mol: Mol) -> str | None:
    """A ring of more than eight atoms: drugs have them, but a graph drawn by chance has them by mistake."""
    largest = max(map(len, mol.GetRingInfo().AtomRings()), default=0)
    return f"ring_sizes: ring of {largest}" if largest > MAX_RING else None


def strained(mol: Mol) -> str | None:
    """Rings that few would try to make.

    They are: two rings of three or four atoms that share one bond (bicyclo[1.1.1]pentanes share two, and are
    in use); a double bond within a ring of three; a triple bond or cumulated double bonds within a ring of at
    most eight; a double bond at the bridgehead of small bridged rings (Bredt's rule).
    """
    rings = [frozenset(ring) for ring in mol.GetRingInfo().AtomRings()]
    small = [ring for ring in rings if len(ring) <= 4]
    if any(len(one & two) == 2 for one, two in combinations(small, 2)):
        return "strained: fused small rings"
    for name, pattern in _strained_patterns().items():
        if mol.HasSubstructMatch(pattern):
            return f"strained: {name}"
    return "strained: double bond at a bridgehead" if _breaks_bredt(mol, rings) else None


RULES: dict[str, Rule] = {
    "lipinski": lipinski,
    "veber": veber,
    "pains": pains,
    "brenk": brenk,
    "ring_sizes": ring_sizes,
    "strained": strained,
}
"""Filters without a value."""

LOWER_BOUNDS = frozenset({"qed", "fsp3"})
"""Descriptors of which a single number is the least allowed."""

EXACT = frozenset({"charge"})
"""Descriptors of which a single number is the only one allowed; of all others it is the most."""

_SOUND = ("ring_sizes", "strained")
PRESETS: dict[str, tuple[str, ...]] = {
    "druglike": ("lipinski", "veber", "qed=0.4", "sa=5", "charge=-1..1", "pains", *_SOUND),
    "leadlike": ("mw=250..350", "logp=3.5", "rotatable_bonds=7", "sa=5", "charge=-1..1", "pains", *_SOUND),
    "fragment": (
        *("mw=300", "logp=3", "hbd=3", "hba=3", "rotatable_bonds=3", "tpsa=60"),
        *("sa=5", "charge=-1..1", "pains", *_SOUND),
    ),
    "clean": ("pains", "brenk", *_SOUND),
}
"""Filters made of others: ``leadlike`` has the limits of Teague et al. (1999) as ZINC uses them, ``fragment``
the rule of three (Congreve et al. 2003)."""

FILTERS: tuple[str, ...] = (*PRESETS, *RULES, *(f"{name}=VALUE" for name in DESCRIPTORS))
"""Everything :func:`parse_filter` takes."""


def parse_filter(text: str) -> Filter:
    """The filter a person names.

    Args:
        text: a preset, a rule, or NAME=VALUE with the name of a descriptor and ``LO..HI``, ``..HI``, ``LO..``
            or one number: the least ``qed`` and ``fsp3``, the very ``charge``, the most of everything else.

    Raises:
        InputError: unknown name or bad value; the message lists what there is.

    Example:
        >>> parse_filter("mw=..20")(Chem.MolFromSmiles("CCO"))
        'mw 46.07 > 20'
    """
    text = text.strip()
    name, given, value = (part.strip() for part in text.partition("="))
    if name in PRESETS and not given:
        parts = [parse_filter(part) for part in PRESETS[name]]
        return Filter(name, lambda mol: first_reason(mol, parts))
    if name in RULES and not given:
        return Filter(name, RULES[name])
    if name in DESCRIPTORS and given:
        low, high = _range(name, value)
        return Filter(f"{name}={value}", lambda mol: _outside(mol, name, low, high))
    if name in DESCRIPTORS:
        raise InputError(f"filter '{text}' needs a value: {name}=NUMBER or {name}=LO..HI")
    if given and name in (*PRESETS, *RULES):
        raise InputError(f"filter '{name}' takes no value; leave '={value}' out")
    raise InputError(f"unknown filter '{text}'; there are {', '.join(FILTERS)}")


def first_reason(mol: Mol, filters: Iterable[Rule]) -> str | None:
    """The first reason that any of the filters has to drop a molecule; None keeps it."""
    return next((reason for check in filters if (reason := check(mol)) is not None), None)


def named(reason: str) -> str:
    """The filter that gave a reason, without the particulars, so that counts add up."""
    return reason.split(":", maxsplit=1)[0].split(" ", maxsplit=1)[0]


def _above(mol: Mol, limits: dict[str, float]) -> list[str]:
    values = describe(mol, limits)
    return [f"{name} {values[name]:.4g} > {limit}" for name, limit in limits.items() if values[name] > limit]


def _range(name: str, value: str) -> tuple[float, float]:
    low, dots, high = value.partition("..")
    try:
        if dots:
            bounds = (float(low) if low.strip() else -math.inf, float(high) if high.strip() else math.inf)
        else:
            number = float(value)
            bounds = (
                number if name in LOWER_BOUNDS | EXACT else -math.inf,
                math.inf if name in LOWER_BOUNDS else number,
            )
    except ValueError:
        bounds = (math.nan, math.nan)
    if any(map(math.isnan, bounds)) or bounds == (-math.inf, math.inf):
        raise InputError(f"filter '{name}={value}' needs a number or a range such as 2..3, ..3 or 2..")
    if bounds[0] > bounds[1]:
        raise InputError(f"filter '{name}={value}': the range is empty; put the smaller number first")
    return bounds


def _outside(mol: Mol, name: str, low: float, high: float) -> str | None:
    value = describe(mol, (name,))[name]
    if low <= value <= high:
        return None
    return f"{name} {value:.4g} < {low:g}" if value < low else f"{name} {value:.4g} > {high:g}"


def _first_alert(mol: Mol, catalogue: str) -> str | None:
    match = _catalogue(catalogue).GetFirstMatch(heavy_graph(mol))
    return f"{catalogue.lower()}: {match.GetDescription()}" if match is not None else None


@cache
def _catalogue(name: str) -> FilterCatalog:
    params = FilterCatalogParams()
    params.AddCatalog(getattr(FilterCatalogParams.FilterCatalogs, name))
    return FilterCatalog(params)


@cache
def _strained_patterns() -> dict[str, Mol]:
    small = "r3,r4,r5,r6,r7,r8"
    patterns = {
        "double bond in a ring of three": "[r3]=@[r3]",
        "triple bond in a ring": f"[{small}]#@[{small}]",
        "cumulated double bonds in a ring": f"[{small}]=@[C,N;{small}]=@[{small}]",
    }
    return {name: Chem.MolFromSmarts(smarts) for name, smarts in patterns.items()}


def _breaks_bredt(mol: Mol, rings: list[frozenset[int]]) -> bool:
    """Whether a double bond (or an aromatic one) ends at the bridgehead of bridged rings of at most seven.

    Rings are bridged when they share more than one bond; the ends of what they share are the bridgeheads.
    """
    for one, two in combinations(rings, 2):
        shared = one & two
        if len(shared) < 3 or max(len(one), len(two)) > 7:
            continue
        for i in shared:
            atom = mol.GetAtomWithIdx(i)
            inside = sum(other.GetIdx() in shared for other in atom.GetNeighbors())
            if inside == 1 and any(
                bond.GetBondTypeAsDouble() > 1 and bond.GetOtherAtomIdx(i) in one | two
                for bond in atom.GetBonds()
            ):
                return True
    return False
