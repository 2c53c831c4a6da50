"""The alphabet of candidate molecules: plain numbers, importable without RDKit.

A candidate is a graph of heavy atoms. The *token* of an atom is its element, formal charge and number of
hydrogens, so a token and the orders of its bonds say whether its valence is one that exists; nothing has to
be filled in afterwards. Bonds are kekulised: no bond is aromatic.
"""

from __future__ import annotations

from typing import NamedTuple


class Token(NamedTuple):
    """An atom: element symbol, formal charge, hydrogens."""

    element: str
    charge: int
    hydrogens: int

    def __str__(self) -> str:
        sign = "" if self.charge == 0 else f"{self.charge:+d}"
        return f"{self.element}{sign}H{self.hydrogens}" if self.hydrogens else f"{self.element}{sign}"


# Element, charge, most hydrogens, and the orders that all its bonds sum to, hydrogens included.
_KINDS: tuple[tuple[str, int, int, int], ...] = (
    ("C", 0, 3, 4),
    ("C", -1, 1, 3),
    ("N", 0, 2, 3),
    ("N", 1, 3, 4),
    ("N", -1, 1, 2),
    ("O", 0, 1, 2),
    ("O", -1, 0, 1),
    ("O", 1, 1, 3),
    ("F", 0, 0, 1),
    ("S", 0, 1, 2),
    ("S", 1, 0, 3),
    ("S", -1, 0, 1),
    ("Cl", 0, 0, 1),
    ("Br", 0, 0, 1),
    ("I", 0, 0, 1),
    ("P", 0, 1, 5),
    ("P", 1, 1, 4),
    ("B", 0, 2, 3),
    ("Si", 0, 3, 4),
    ("Se", 0, 1, 2),
)

TOKENS: tuple[Token, ...] = tuple(
    Token(element, charge, hydrogens) for element, charge, most, _ in _KINDS for hydrogens in range(most + 1)
)
"""All tokens; ``token`` arrays hold indices into it."""

OPEN_ORDERS: tuple[int, ...] = tuple(
    valence - hydrogens for _, _, most, valence in _KINDS for hydrogens in range(most + 1)
)
"""Bond orders to other heavy atoms that each token has in its commonest valence."""

INDEX: dict[Token, int] = {token: i for i, token in enumerate(TOKENS)}
"""Index of each token."""

NUM_TOKENS = len(TOKENS)

NUM_ORDERS = 4
"""Orders of a bond: none, single, double, triple."""

PROPERTIES: tuple[str, ...] = ("qed", "logp", "tpsa", "mw", "sa")
"""What a model can be told of the molecule that is wanted; rows of ``property`` arrays are in this order."""

PROPERTY_SCALES: tuple[tuple[float, float], ...] = (
    (0.65, 0.2),
    (2.5, 1.5),
    (65.0, 25.0),
    (330.0, 80.0),
    (3.0, 1.0),
)
"""Centre and width of each property among drug-like molecules: networks see (value − centre) / width."""
