"""Section ``geometry``: bond lengths, angles and torsions against DFT.

The reference is one conformer a molecule, so

- bonds and angles are compared one by one: the median over the generated conformers against the DFT value;
- torsions are compared as distributions. A rotatable bond gives all dihedrals over its heavy-atom neighbours,
  with one weight in all, folded to 0–180° (the mirror image of an achiral molecule is as good). Those of all
  molecules are pooled in classes by the elements and hybridisations of the two atoms, and the distance of two
  pools is Wasserstein-1 (degrees) and total variation (bins of 15°); a mean over classes weighs each by its
  reference bonds. One DFT minimum is no thermal ensemble: the figure is for comparison between methods.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from common import print_table
from rdkit.Chem import BondType, Mol
from scipy.stats import wasserstein_distance

from . import references, strain
from .options import Options
from .workbench import Made, Workbench, time_ratios

DEFAULTS = Options(limit=150, count=10, draws=(0.0,), strain=20)
MIN_BONDS = 5  # rotatable bonds of a class, for its own distance

Pool = dict[str, list[tuple[np.ndarray, np.ndarray]]]
"""Folded dihedrals in degrees and their weights, by class."""


@dataclass
class Errors:
    """Deviations from DFT of one method, collected over molecules."""

    bonds: list[float] = field(default_factory=list)
    hydrogen_bonds: list[float] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)
    flat: list[float] = field(default_factory=list)
    reference: Pool = field(default_factory=lambda: defaultdict(list))
    generated: Pool = field(default_factory=lambda: defaultdict(list))

    def add(self, made: Made) -> None:
        """Take in the conformers of one molecule.

        Raises:
            ValueError: the generated graph is not the reference's.
        """
        mol, xyz = made.mol, made.positions
        match = made.reference.mol.GetSubstructMatch(mol, useChirality=True)
        match = match or made.reference.mol.GetSubstructMatch(mol)
        if len(match) != mol.GetNumAtoms():
            raise ValueError(f"{made.reference.name}: the generated graph is another than the reference's")
        ref = made.reference.positions[:1][:, list(match)]
        for bond in mol.GetBonds():
            ends = np.array([[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]])
            error = abs(float(np.median(lengths(xyz, ends))) - float(lengths(ref, ends)[0, 0]))
            light = 1 in (bond.GetBeginAtom().GetAtomicNum(), bond.GetEndAtom().GetAtomicNum())
            (self.hydrogen_bonds if light else self.bonds).append(error)
        triples = heavy_angles(mol)
        if len(triples):
            self.angles += np.abs(np.median(angles(xyz, triples), 0) - angles(ref, triples)[0]).tolist()
        rings = aromatic_torsions(mol)
        if len(rings):
            self.flat += folded_flat(dihedrals(xyz, rings)).mean(0).tolist()
        for kind, quads in rotor_torsions(mol):
            for pool, positions in ((self.reference, ref), (self.generated, xyz)):
                values = np.abs(dihedrals(positions, quads)).ravel()
                pool[kind].append((values, np.full(len(values), 1 / len(values))))

    def summary(self) -> dict[str, Any]:
        """Median absolute errors, torsion distances, and counts."""
        whole, variation, classes = torsion_distance(self.reference, self.generated)
        return {
            "bond": _median(self.bonds),
            "bond_h": _median(self.hydrogen_bonds),
            "angle": _median(self.angles),
            "aromatic_torsion": float(np.mean(self.flat)) if self.flat else None,
            "torsion_w1": whole,
            "torsion_tv": variation,
            "torsion_classes": classes,
            "bonds": len(self.bonds),
            "angles": len(self.angles),
            "rotors": sum(map(len, self.reference.values())),
        }


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows of all methods, with the strain of a subset where xtb is installed."""
    molecules = references.cascade(bench.data, options.split, options.limit)
    rows, all_made = [], {}
    for made, row in bench.run(options, "dft", molecules, lambda _: options.count):
        errors = Errors()
        for item in made:
            if len(item.positions):
                errors.add(item)
        row.update(errors.summary())
        rows.append(row)
        all_made[row["method"]] = made
    time_ratios(rows, bench.device)
    result = {"molecules": len(molecules), "n": options.count, "rows": rows}
    if options.strain:
        result["strain"] = strain.run(molecules[: options.strain], all_made)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    columns = {
        "method": "method",
        "bond": "bond Å",
        "bond_h": "bond to H Å",
        "angle": "angle °",
        "torsion_w1": "torsion W1 °",
        "torsion_tv": "torsion TV",
        "aromatic_torsion": "ring flatness °",
        "failures": "failures",
        "wrong_stereo": "wrong",
        "cpu_seconds": "CPU s",
        "time_ratio": "× ETKDG",
    }
    rows = [[f"{row[k]:.4f}" if "bond" in k else row[k] for k in columns] for row in result["rows"]]
    title = (
        f"Median absolute error against DFT, {result['molecules']} molecules, {result['n']} conformers each"
    )
    print_table(title, list(columns.values()), rows)
    if "strain" in result:
        strain.show(result["strain"])


def torsion_distance(reference: Pool, generated: Pool) -> tuple[float | None, float | None, dict[str, Any]]:
    """Mean W1 (degrees) and mean total variation over classes of two pools, and those of each class.

    Classes of fewer than :data:`MIN_BONDS` bonds are joined. None where there are no rotatable bonds.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for kind, entries in reference.items():
        groups[kind if len(entries) >= MIN_BONDS else "other"].append(kind)
    classes: dict[str, Any] = {}
    for name, kinds in sorted(groups.items()):
        u, uw = _joined(reference, kinds)
        v, vw = _joined(generated, kinds)
        bins = np.linspace(0, 180, 13)
        p, q = (np.histogram(x, bins, weights=w)[0] / w.sum() for x, w in ((u, uw), (v, vw)))
        classes[name] = {
            "bonds": sum(len(reference[kind]) for kind in kinds),
            "w1": float(wasserstein_distance(u, v, uw, vw)),
            "tv": float(np.abs(p - q).sum() / 2),
        }
    total = sum(entry["bonds"] for entry in classes.values())
    if not total:
        return None, None, {}
    means = (sum(e["bonds"] * e[key] for e in classes.values()) / total for key in ("w1", "tv"))
    return next(means), next(means), classes


def lengths(xyz: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Distances of ``pairs`` ``(P, 2)`` in ``xyz`` ``(K, N, 3)``: ``(K, P)``, Å."""
    return np.asarray(np.linalg.norm(xyz[:, pairs[:, 0]] - xyz[:, pairs[:, 1]], axis=-1))


def angles(xyz: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """Angles a-b-c of ``triples`` ``(P, 3)``: ``(K, P)``, degrees."""
    a, b = (xyz[:, triples[:, k]] - xyz[:, triples[:, 1]] for k in (0, 2))
    cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def dihedrals(xyz: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Dihedrals a-b-c-d of ``quads`` ``(P, 4)``: ``(K, P)``, degrees, −180 to 180."""
    a, b, c, d = (xyz[:, quads[:, k]] for k in range(4))
    axis = c - b
    first, second = np.cross(b - a, axis), np.cross(axis, d - c)
    sine = (np.cross(first, second) * axis).sum(-1) / np.maximum(np.linalg.norm(axis, axis=-1), 1e-9)
    return np.degrees(np.arctan2(sine, (first * second).sum(-1)))


def folded_flat(degrees: np.ndarray) -> np.ndarray:
    """Deviation from planarity, 0 to 90°: the distance to the nearer of 0 and 180°."""
    folded = np.abs(degrees)
    return np.minimum(folded, 180 - folded)


def heavy_angles(mol: Mol) -> np.ndarray:
    """All angles of heavy atoms ``(P, 3)``, the apex in the middle."""
    found = []
    for atom in mol.GetAtoms():
        around = _heavy(atom)
        found += [(a, atom.GetIdx(), b) for i, a in enumerate(around) for b in around[:i]]
    return np.array(found, int).reshape(-1, 3)


def aromatic_torsions(mol: Mol) -> np.ndarray:
    """The torsions along aromatic rings ``(P, 4)``."""
    found = []
    for ring in mol.GetRingInfo().AtomRings():
        if all(mol.GetAtomWithIdx(i).GetIsAromatic() for i in ring):
            found += [[ring[(k + j) % len(ring)] for j in range(4)] for k in range(len(ring))]
    return np.array(found, int).reshape(-1, 4)


def rotor_torsions(mol: Mol) -> list[tuple[str, np.ndarray]]:
    """Class and dihedrals ``(P, 4)`` over heavy neighbours of each rotatable bond: single, in no ring, both
    ends with another heavy neighbour, neither in a triple bond."""
    found = []
    for bond in mol.GetBonds():
        ends = (bond.GetBeginAtom(), bond.GetEndAtom())
        if bond.GetBondType() != BondType.SINGLE or bond.IsInRing() or any(map(_linear, ends)):
            continue
        b, c = (end.GetIdx() for end in ends)
        before, after = ([i for i in _heavy(end) if i not in (b, c)] for end in ends)
        if before and after:
            quads = np.array([[a, b, c, d] for a in before for d in after])
            found.append(("–".join(sorted(map(_kind, ends))), quads))
    return found


def _kind(atom: Any) -> str:
    return f"{atom.GetSymbol()}({'ar' if atom.GetIsAromatic() else str(atom.GetHybridization()).lower()})"


def _linear(atom: Any) -> bool:
    return any(bond.GetBondType() == BondType.TRIPLE for bond in atom.GetBonds())


def _heavy(atom: Any) -> list[int]:
    return [other.GetIdx() for other in atom.GetNeighbors() if other.GetAtomicNum() > 1]


def _joined(pool: Pool, kinds: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    entries = [entry for kind in kinds for entry in pool[kind]]
    return np.concatenate([v for v, _ in entries]), np.concatenate([w for _, w in entries])


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
