"""How far two sets of molecules are apart, one property at a time.

Numbers are compared by the Wasserstein-1 distance, in the unit of the number; kinds (elements, bond types) by
the total variation distance of their shares, between 0 and 1. A distance is not 0 between two samples of one
set either: :func:`split` says what to expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol
from scipy.stats import wasserstein_distance

from scoregen.errors import InputError

from .descriptors import describe, heavy_graph

NUMBERS = ("heavy_atoms", "logp", "qed", "sa", "mw", "tpsa", "rings")
"""Descriptors that are compared; ``rings`` is the number of rings in a molecule."""
_BOND = Chem.BondType
_BONDS = {_BOND.SINGLE: 0, _BOND.DOUBLE: 1, _BOND.TRIPLE: 2, _BOND.AROMATIC: 3}
_ORDERS = np.array([1.0, 2.0, 3.0, 1.5])
_LARGEST = 20  # larger rings count as this

UNITS: dict[str, str] = {
    "heavy_atoms_w1": "atoms",
    "logp_w1": "log units",
    "qed_w1": "QED",
    "sa_w1": "SA score",
    "mw_w1": "g/mol",
    "tpsa_w1": "Å²",
    "rings_w1": "rings",
    "bond_orders_w1": "bond order",
    "bond_types_tv": "share",
    "elements_tv": "share",
    "ring_sizes_w1": "atoms",
    "ring_sizes_tv": "share",
}
"""Every distance and its unit. Bonds are those between heavy atoms: single, double, triple and (order 1.5)
aromatic."""


@dataclass(frozen=True)
class Profile:
    """What is compared, molecule by molecule, so that parts of a set need no new computation.

    Attributes:
        numbers: ``(M,)`` of each of :data:`NUMBERS`.
        elements: ``(M, 119)``: atoms of each atomic number, hydrogens left out.
        bonds: ``(M, 4)``: single, double, triple, aromatic.
        rings: ``(M, 21)``: rings of each size.
    """

    numbers: dict[str, np.ndarray]
    elements: np.ndarray
    bonds: np.ndarray
    rings: np.ndarray

    def __len__(self) -> int:
        return len(self.bonds)

    def take(self, index: Sequence[int] | np.ndarray) -> Profile:
        """Profile of some of the molecules."""
        numbers = {name: values[index] for name, values in self.numbers.items()}
        return Profile(numbers, self.elements[index], self.bonds[index], self.rings[index])


def profile(mols: Iterable[Mol]) -> Profile:
    """Profile of sanitised molecules, with or without hydrogen atoms."""
    flat = [heavy_graph(mol) for mol in mols]
    values = [describe(mol, NUMBERS) for mol in flat]
    elements = np.zeros((len(flat), 119))
    bonds = np.zeros((len(flat), len(_BONDS)))
    rings = np.zeros((len(flat), _LARGEST + 1))
    for row, mol in enumerate(flat):
        for atom in mol.GetAtoms():
            elements[row, atom.GetAtomicNum()] += 1
        for bond in mol.GetBonds():
            bonds[row, _BONDS[bond.GetBondType()]] += 1
        for ring in mol.GetRingInfo().AtomRings():
            rings[row, min(len(ring), _LARGEST)] += 1
    numbers = {name: np.array([value[name] for value in values], float) for name in NUMBERS}
    return Profile(numbers, elements, bonds, rings)


def distances(one: Profile, other: Profile) -> dict[str, float]:
    """Distances between two sets; keys and units are those of :data:`UNITS`.

    Of bonds and rings all of a set are pooled. NaN where one set has none of what is compared and the other
    has; 0 where neither has.

    Raises:
        InputError: an empty set.
    """
    if not len(one) or not len(other):
        raise InputError("no molecules to compare")
    found = {
        f"{name}_w1": float(wasserstein_distance(one.numbers[name], other.numbers[name])) for name in NUMBERS
    }
    found["bond_orders_w1"] = _wasserstein(_ORDERS, one.bonds, other.bonds)
    found["bond_types_tv"] = _variation(one.bonds, other.bonds)
    found["elements_tv"] = _variation(one.elements, other.elements)
    found["ring_sizes_w1"] = _wasserstein(np.arange(_LARGEST + 1.0), one.rings, other.rings)
    found["ring_sizes_tv"] = _variation(one.rings, other.rings)
    return found


def split(reference: Profile, size: int, seed: int = 0) -> dict[str, float]:
    """Distances between two parts of one set: what a perfect generator would measure.

    Args:
        reference: of at least two molecules.
        size: molecules of the first part, drawn at random, at most half of them; the rest is the second part.
        seed: of the draw.

    Raises:
        InputError: fewer than two molecules.
    """
    if len(reference) < 2 or size < 1:
        raise InputError("a split needs two molecules at least")
    order = np.random.default_rng(seed).permutation(len(reference))
    size = min(size, len(reference) // 2)
    return distances(reference.take(order[:size]), reference.take(order[size:]))


def _variation(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.sum(0), other.sum(0)
    if not a.sum() or not b.sum():
        return 0.0 if a.sum() == b.sum() else float("nan")
    return float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)


def _wasserstein(values: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.sum(0), other.sum(0)
    if not a.sum() or not b.sum():
        return 0.0 if a.sum() == b.sum() else float("nan")
    return float(wasserstein_distance(values, values, a, b))
