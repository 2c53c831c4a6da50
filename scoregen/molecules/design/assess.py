"""Everything that is known of a set of candidates: one row a molecule, and a summary.

The rows go into the CSV beside an SDF, the summary into reports; benchmarks and the command line share it.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError, MissingExtra
from scoregen.files import atomic_path
from scoregen.molecules import relax
from scoregen.molecules.chem import canonical_smiles, has_3d

from . import pose, strain
from .descriptors import DESCRIPTORS, describe, heavy_graph, sa_score
from .filters import Filter, alerts, first_reason, lipinski, veber
from .novelty import contains, fingerprints, internal_diversity, key, nearest
from .validity import as_generated, kind, problem, stable_atoms

Row = dict[str, Any]


@dataclass(frozen=True)
class AssessSettings:
    """What is looked at besides validity, uniqueness and diversity.

    Attributes:
        descriptors: names of :data:`~scoregen.molecules.design.descriptors.DESCRIPTORS`.
        filters: a row names the first reason to drop its molecule.
        training: table of :func:`~scoregen.molecules.design.novelty.hashes` of what a model was trained on.
        known: the same of molecules that someone knows.
        references: sanitised molecules among which the nearest is looked up.
        pose: a level of :func:`~scoregen.molecules.design.pose.check_pose`; None leaves it out.
        pose_limit: valid molecules it is done for, from the first; None: all.
        strain: a method of :func:`~scoregen.molecules.design.strain.strain`; None leaves it out.
        strain_limit: valid molecules it is done for, from the first; None: all.
        timeout: seconds for one calculation of strain, and for one check of ``"mol"``.
    """

    descriptors: Sequence[str] = tuple(DESCRIPTORS)
    filters: Sequence[Filter] = ()
    training: np.ndarray | None = None
    known: np.ndarray | None = None
    references: Sequence[Mol] = ()
    pose: str | None = None
    pose_limit: int | None = None
    strain: str | None = None
    strain_limit: int | None = None
    timeout: float | None = 300.0

    def check(self) -> None:
        """Raise now what would fail for every molecule.

        Raises:
            InputError: an unknown descriptor, level or method, or a program that is missing.
            MissingExtra: PoseBusters is not installed.
            ScoregenError: this RDKit has no SA score.
        """
        for name in self.descriptors:
            if name not in DESCRIPTORS:
                raise InputError(f"unknown descriptor '{name}'; there are {', '.join(DESCRIPTORS)}")
        if "sa" in self.descriptors:
            sa_score(Chem.MolFromSmiles("C"))
        if self.pose is not None:
            pose.check_available(self.pose)
        if self.strain is not None:
            if self.strain not in strain.METHODS:
                raise InputError(f"strain method '{self.strain}' is not one of {', '.join(strain.METHODS)}")
            relax.check_available(self.strain)


@dataclass
class Assessment:
    """What :func:`assess` found.

    Attributes:
        rows: one for each molecule, in order. ``problem`` says why it is not valid (then nothing else is
            known), ``error`` what could not be computed.
        summary: counts, rates and medians, ready for JSON.
        valid: the sanitised molecules of the valid rows.
    """

    rows: list[Row]
    summary: dict[str, Any]
    valid: list[Mol] = field(repr=False)


def assess(
    mols: Sequence[Mol],
    settings: AssessSettings | None = None,
    *,
    sanitised: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Assessment:
    """Look at every molecule; what fails for one does not stop the rest.

    Args:
        mols: as generated (see :func:`~scoregen.molecules.design.validity.problem`), or sanitised. Left
            unchanged. Geometry is judged where there is a conformer.
        settings: what is looked at.
        sanitised: ``mols`` are sanitised: their hydrogens and bonds are taken as RDKit has them.
        on_progress: called with the number of molecules done and of all.

    Raises:
        InputError, MissingExtra, ScoregenError: see :meth:`AssessSettings.check`.
    """
    settings = settings or AssessSettings()
    settings.check()
    rows: list[Row] = []
    valid: list[Mol] = []
    stable: list[tuple[int, int]] = []
    for index, mol in enumerate(mols):
        row: Row = {"index": index, "smiles": None, "problem": None}
        rows.append(row)
        try:
            raw = as_generated(mol) if sanitised else mol
            stable.append(stable_atoms(raw))
            row["problem"] = problem(raw)
        except (ValueError, RuntimeError) as error:
            row["problem"] = f"unreadable: {_line(error)}"
        if row["problem"] is None:
            clean = _sanitised(mol)
            valid.append(clean)
            _describe(row, clean, settings, len(valid))
        on_progress(index + 1, len(mols))
    good = [row for row in rows if row["problem"] is None]
    prints = fingerprints(valid)
    _mark_known(good, settings)
    if settings.references:
        for row, neighbour in zip(good, nearest(prints, fingerprints(settings.references)), strict=True):
            row["nearest_similarity"] = neighbour.similarity if neighbour else None
            row["nearest"] = key(settings.references[neighbour.place]) if neighbour else None
    summary = summarise(rows, stable, settings)
    summary["diversity"] = _number(internal_diversity(prints))
    return Assessment(rows, summary, valid)


def summarise(
    rows: Sequence[Row], stable: Sequence[tuple[int, int]] = (), settings: AssessSettings | None = None
) -> dict[str, Any]:
    """Counts, rates and medians of rows; None where there is nothing to take one of.

    Args:
        rows: of :func:`assess`.
        stable: of :func:`~scoregen.molecules.design.validity.stable_atoms`, for each molecule.
        settings: descriptors to summarise.
    """
    settings = settings or AssessSettings()
    good = [row for row in rows if row["problem"] is None]
    distinct = [row for row in good if row.get("duplicate_of") is None]
    atoms = sum(total for _, total in stable)
    found: dict[str, Any] = {
        "molecules": len(rows),
        "valid": len(good),
        "validity": _rate(len(good), len(rows)),
        "invalid": dict(Counter(kind(row["problem"]) for row in rows if row["problem"]).most_common()),
        "atom_stability": _rate(sum(count for count, _ in stable), atoms),
        "molecule_stability": _rate(sum(count == total for count, total in stable), len(stable)),
        "unique": len(distinct),
        "uniqueness": _rate(len(distinct), len(good)),
    }
    for name, column in (("novelty", "in_training"), ("novelty_to_file", "in_file")):
        seen = [row[column] for row in distinct if row.get(column) is not None]
        found[name] = _rate(len(seen) - sum(seen), len(seen))
    for name in ("lipinski", "veber"):
        found[name] = _share(good, name)
    for name in ("pains", "brenk"):
        seen = [bool(row[name]) for row in good if row.get(name) is not None]
        found[f"{name}_alerts"] = _rate(sum(seen), len(seen))
    if settings.filters:
        found["passed_filters"] = sum(row.get("filter") == "" for row in good)
    for name in settings.descriptors:
        found[name] = _spread([row[name] for row in good if row.get(name) is not None])
    found["poses"] = sum(row.get("pose_ok") is not None for row in good)
    found["pose_ok"] = _share(good, "pose_ok")
    failed = Counter(name for row in good for name in (row.get("pose_failed") or "").split(";") if name)
    found["pose_failures"] = dict(failed.most_common())
    for name in ("strain_kcal_mol", "strain_per_atom", "nearest_similarity"):
        found[name] = _spread([row[name] for row in good if row.get(name) is not None])
    found["errors"] = sum(bool(row.get("error")) for row in rows)
    return found


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a table with a header, columns in order of appearance; the file appears whole.

    Numbers have six significant digits, booleans are ``true`` and ``false``, None is empty.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["index", "smiles", "problem"]
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        table.writerows([_cell(row.get(name)) for name in columns] for row in rows)


def _describe(row: Row, mol: Mol, settings: AssessSettings, number: int) -> None:
    """Fill in what is known of one valid molecule; ``number`` counts the valid ones from 1."""
    errors: list[str] = []

    def attempt(name: str, work: Callable[[], Row]) -> None:
        try:
            row.update(work())
        except MissingExtra:
            raise
        except (ValueError, RuntimeError, ArithmeticError) as error:
            errors.append(f"{name}: {_line(error)}")

    flat = heavy_graph(mol)  # once, instead of in every function
    attempt("smiles", lambda: {"smiles": canonical_smiles(mol), "key": key(flat)})
    attempt("descriptors", lambda: describe(flat, settings.descriptors))
    attempt("lipinski", lambda: {"lipinski": lipinski(flat) is None, "veber": veber(flat) is None})
    attempt("alerts", lambda: {name: ";".join(alerts(flat, name.upper())) for name in ("pains", "brenk")})
    if settings.filters:
        attempt("filter", lambda: {"filter": first_reason(flat, settings.filters) or ""})
    if (level := settings.pose) is not None and _within(number, settings.pose_limit):
        attempt("pose", lambda: _pose(mol, level, settings.timeout))
    if (method := settings.strain) is not None and _within(number, settings.strain_limit):
        attempt("strain", lambda: _strain(mol, method, settings.timeout))
    row["error"] = "; ".join(errors)


def _pose(mol: Mol, level: str, timeout: float | None) -> Row:
    # The other checks take no time to speak of, and a process of its own does.
    found = pose.check_pose(mol, level, timeout if level == "mol" else None)
    return {"pose_ok": found.passed, "pose_failed": ";".join(found.failed)}


def _strain(mol: Mol, method: str, timeout: float | None) -> Row:
    found = strain.strain(mol, method, timeout)
    return {"strain_kcal_mol": found.total, "strain_per_atom": found.per_atom}


def _mark_known(good: Sequence[Row], settings: AssessSettings) -> None:
    first: dict[str, int] = {}
    keyed = [row for row in good if "key" in row]
    for row in keyed:
        before = first.setdefault(row["key"], row["index"])
        row["duplicate_of"] = None if before == row["index"] else before
    for column, table in (("in_training", settings.training), ("in_file", settings.known)):
        if table is not None:
            for row, seen in zip(keyed, contains(table, [row["key"] for row in keyed]), strict=True):
                row[column] = bool(seen)
    for row in keyed:
        del row["key"]


def _sanitised(mol: Mol) -> Mol:
    clean = Chem.Mol(mol)
    with rdBase.BlockLogs():
        Chem.SanitizeMol(clean)
        if has_3d(clean):
            Chem.AssignStereochemistryFrom3D(clean, replaceExistingTags=True)
    return clean


def _within(number: int, limit: int | None) -> bool:
    return limit is None or number <= limit


def _rate(count: float, total: int) -> float | None:
    return count / total if total else None


def _share(rows: Sequence[Row], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return _rate(sum(values), len(values))


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    array = np.array(values, float)
    return {"mean": float(array.mean()), "median": float(np.median(array)), "count": len(values)}


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _cell(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    return "" if value is None else value
