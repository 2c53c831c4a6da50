"""Is what was drawn around given atoms a possible geometry, or one stretched to fit?

Lengths and angles are compared with those that distance geometry would allow (RDKit's bounds). The limits
lie outside what DFT geometries of 124 real molecules show: bonds 0.927 to 1.086 of the reference, distances
across an angle 0.866 to 1.075, atoms four or more bonds apart 0.82 of their van der Waals distance, and 0.63
with one hydrogen (hydrogen bonds). Given atoms are not judged against each other: experimental poses are
noisy, and they are not ours to change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol, rdDistGeom
from scipy.sparse.csgraph import connected_components

from scoregen.molecules.stereo import geometry_ok

BOND = (0.90, 1.10)
"""Bond length, in references."""

ANGLE = (0.85, 1.15)
"""Distance between two neighbours of an atom, in references."""

CLASH = (0.75, 0.60)
"""Least distance of atoms four or more bonds apart, in sums of van der Waals radii: of two heavy atoms or two
hydrogens, and of a heavy atom and a hydrogen."""

REACH = 1.10
"""A pose may ask for so many times the longest distance that the bonds between two atoms can span."""


class Judge:
    """Checks of one molecule around given atoms."""

    def __init__(self, mol: Mol, match: Sequence[int]):
        """Prepare the references.

        Args:
            mol: sanitised, with hydrogen atoms.
            match: indices of the given atoms.
        """
        self.mol, self.match = mol, list(match)
        bounds = rdDistGeom.GetMoleculeBoundsMatrix(mol)
        self._high, low = np.triu(bounds, 1), np.tril(bounds, -1).T
        table = Chem.GetPeriodicTable()
        numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
        radii = np.array([table.GetRvdw(int(z)) for z in numbers])
        given = np.zeros(len(numbers), bool)
        given[self.match] = True
        i, j = np.triu_indices(len(numbers), 1)
        judged = ~(given[i] & given[j])
        self._i, self._j = i, j = i[judged], j[judged]
        self._hops = Chem.GetDistanceMatrix(mol)[i, j]
        # The angles of a hydrogen on a given atom to other given atoms depend on the pose as well.
        hangs = (Chem.GetAdjacencyMatrix(mol)[:, given].any(1) & (numbers == 1)) | given
        self._angles = (self._hops == 2) & ~(hangs[i] & hangs[j])
        self._reference = (low + self._high)[i, j] / 2
        self._least = np.where((numbers[i] == 1) == (numbers[j] == 1), *CLASH) * (radii[i] + radii[j])

    def unreachable(self, positions: np.ndarray) -> str | None:
        """Why no geometry can hold the given atoms where they are, if two are further apart than bonds span.

        Args:
            positions: ``(k, 3)`` Å, of the given atoms.
        """
        first, second = np.triu_indices(len(self.match), 1)
        index = np.sort(np.array(self.match)[np.stack([first, second])], axis=0)
        longest = self._high[index[0], index[1]]
        distance = np.linalg.norm(positions[first] - positions[second], axis=-1)
        # Within a piece the pose is as it is; what new bonds must span is between pieces.
        excess = np.where(self._pieces()[first] != self._pieces()[second], distance / longest, 0.0)
        if not len(excess) or excess.max() <= REACH:
            return None
        worst = int(excess.argmax())
        return (
            f"atoms {self._name(index[0, worst])} and {self._name(index[1, worst])} are "
            f"{distance[worst]:.1f} Å apart, the bonds between them span at most {longest[worst]:.1f} Å"
        )

    def problem(self, positions: np.ndarray) -> str | None:
        """What is wrong with a geometry, in one line, or None.

        Args:
            positions: ``(N, 3)`` Å, of all atoms.
        """
        if not np.isfinite(positions).all():
            return "coordinates are not finite"
        distance = np.linalg.norm(positions[self._i] - positions[self._j], axis=-1)
        share = distance / self._reference
        checks = (self._hops == 1, BOND, "bond "), (self._angles, ANGLE, "angle between ")
        for judged, (low, high), what in checks:
            off = np.where(judged, np.maximum(low - share, share - high), -1.0)
            if len(off) and off.max() > 0:
                return self._say(what, int(off.argmax()), distance)
        near = np.where(self._hops >= 4, distance / self._least, np.inf)
        if len(near) and near.min() < 1:
            return self._say("clash of ", int(near.argmin()), distance)
        return None if geometry_ok(self.mol, positions) else "a broken bond or two atoms that overlap"

    def _pieces(self) -> np.ndarray:
        """Number of the connected piece of each given atom, ``(k,)``."""
        bonds = Chem.GetAdjacencyMatrix(self.mol)[np.ix_(self.match, self.match)]
        return np.asarray(connected_components(bonds, directed=False)[1])

    def _say(self, what: str, k: int, distance: np.ndarray) -> str:
        names = f"{self._name(self._i[k])}-{self._name(self._j[k])}"
        return f"{what}{names} ({distance[k]:.2f} Å apart)"

    def _name(self, i: int) -> str:
        return f"{self.mol.GetAtomWithIdx(int(i)).GetSymbol()}{int(i) + 1}"
