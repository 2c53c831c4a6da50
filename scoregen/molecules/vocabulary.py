"""The categories a molecule is described by: plain numbers, importable without RDKit.

Training reads these constants beside a prepared cache; :mod:`scoregen.molecules.features` fills the
arrays they describe.
"""

from __future__ import annotations

ELEMENTS: tuple[str, ...] = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I", "Se")
"""Supported elements; column ``element`` of ``atom`` is an index into this list."""

ATOMIC_NUMBERS: tuple[int, ...] = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53, 34)
"""Atomic number of each entry of :data:`ELEMENTS`."""

HYBRIDISATIONS: tuple[str, ...] = ("OTHER", "S", "SP", "SP2", "SP3", "SP3D", "SP3D2")
"""RDKit hybridisation names; anything else counts as ``OTHER``."""

ATOM_COLUMNS: tuple[str, ...] = (
    "element",
    "charge",
    "degree",
    "hybridisation",
    "aromatic",
    "ring_size",
    "hydrogens",
)
"""Columns of the ``atom`` array, in order."""

NUM_CATEGORIES: dict[str, int] = {
    "element": len(ELEMENTS),
    "charge": 7,  # formal charge + 3, clipped to 0..6
    "degree": 7,  # bonded atoms, hydrogens included, clipped to 6
    "hybridisation": len(HYBRIDISATIONS),
    "aromatic": 2,
    "ring_size": 8,  # smallest ring: 0 none, 3..8 -> 1..6, larger 7
    "hydrogens": 5,  # bonded hydrogens, clipped to 4
}
"""Number of categories of each column of ``atom``."""

BOND_SINGLE, BOND_DOUBLE, BOND_TRIPLE, BOND_AROMATIC = 1, 2, 3, 4
NUM_BOND_TYPES = 5
"""Bond types with 0 = not bonded."""

FLAG_RING, FLAG_CONJUGATED = 1, 2
NUM_BOND_FLAGS = 4
"""``bond_flag`` is a bit field: in a ring, conjugated."""

MAX_HOPS = 15
NUM_HOPS = MAX_HOPS + 1
"""Topological distances are clipped at :data:`MAX_HOPS`."""

CIS, TRANS = 1, 2
"""Codes of the last column of ``cistrans``."""

THEORIES: tuple[str, ...] = ("unknown", "dft", "gfn2", "mmff", "experiment")
"""Where reference geometries come from: minima of a level of theory, or structures seen bound or in crystals.
The network is told, so that sources that disagree (bond lengths, the reach of weak contacts) do not blur."""

MAX_HEAVY_ATOMS = 200
"""Larger molecules are refused."""
