"""A shortlist: the best of many candidates by several values, none too much like a better one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import DataStructs
from rdkit.Chem import Mol

from scoregen.errors import InputError, require
from scoregen.files import spared
from scoregen.molecules.chem import canonical_smiles, check_supported, has_3d
from scoregen.molecules.prepare import is_sdf
from scoregen.molecules.records import Record, SdfWriter, write_sdf
from scoregen.molecules.sdf import Block, number, parse_block, properties, read_blocks

from .assess import Row, write_csv
from .criteria import Criterion
from .descriptors import DESCRIPTORS, describe
from .filters import Filter, first_reason, named
from .novelty import fingerprints
from .pipeline import outputs, table_path
from .selection import quantiles
from .targets import DOMAINS

PathLike = str | os.PathLike[str]


@dataclass
class Shortlist:
    """What :func:`shortlist` did.

    Args:
        written: molecules on the list.
        read: records of the sources.
        left_out: records that were not considered, by reason; and those too much like a better one.
        missing: records without a usable value of what was ranked by, by its name; they stand last in it.
        output, table: the SDF and the CSV.
    """

    written: int = 0
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    missing: dict[str, int] = field(default_factory=dict)
    output: str = ""
    table: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return {**vars(self), "left_out": dict(self.left_out.most_common())}


def shortlist(
    sources: Sequence[PathLike],
    out: PathLike,
    n: int,
    criteria: Sequence[Criterion],
    *,
    filters: Sequence[Filter] = (),
    alike: float = 0.6,
) -> Shortlist:
    """The ``n`` best records of SDF files into one SDF with a CSV beside it; both appear whole.

    A record's worth is the mean of its quantiles in all criteria, so that they count alike whatever their
    units. From the best downwards a record is taken unless it is too much like one taken before (sphere
    exclusion; Gobbi & Lee 2003).

    Args:
        sources: SDF files, such as ``scoregen design`` writes.
        out: ``.sdf`` or ``.sdf.gz``.
        n: records wanted.
        criteria: what counts: data items of the records, or descriptors, which are computed where missing.
        filters: reasons to leave a record out.
        alike: Tanimoto similarity (ECFP4), above 0, from which two are too much alike; above 1 nothing is.

    Raises:
        InputError: a value out of range, a file that is no SDF or would be overwritten, nothing to rank, or a
            value that no record has.
    """
    require(
        [
            (n >= 1, f"-n must be at least 1, got {n}"),
            (alike > 0, f"--alike must be above 0, got {alike:g}"),
            (bool(criteria), "nothing to rank by: give --rank, e.g. --rank qed"),
        ]
    )
    SdfWriter(Path(out))  # refuses a wrong suffix before any work is done
    spared(outputs(Path(out)), sources)
    done = Shortlist(output=str(out), table=str(table_path(Path(out))))
    mols, rows = _read(sources, filters, done)
    if not mols:
        reasons = ", ".join(f"{reason} {count}" for reason, count in done.left_out.items())
        named_sources = ", ".join(map(str, sources))
        raise InputError(f"no record is left of {named_sources}: {reasons or 'there was none'}")
    values = [_values(mols, rows, criterion) for criterion in criteria]
    absent = {
        criterion.name: int(np.isnan(row).sum()) for criterion, row in zip(criteria, values, strict=True)
    }
    done.missing = {name: count for name, count in absent.items() if count}
    value = np.mean([_standing(row) for row in values], axis=0)
    chosen = apart(mols, np.argsort(-value, kind="stable").tolist(), n, alike, done.left_out)
    records, table = [], []
    for place, i in enumerate(chosen, 1):
        own = {"name": rows[i]["name"], "place": place, "worth": float(value[i])}
        row = {**own, **rows[i], **own}  # a list made of a list has places and worths of its own
        table.append(row)
        facts = {name: value for name, value in row.items() if name != "name"}
        records.append(Record(mols[i], mols[i].GetConformer().GetPositions(), row["name"], facts))
    done.written = write_sdf(Path(out), records)
    write_csv(done.table, table)
    return done


def apart(
    mols: Sequence[Mol], order: Sequence[int], n: int, alike: float, left_out: Counter[str]
) -> list[int]:
    """The first ``n`` of an order that are less than ``alike`` to all taken before."""
    prints = fingerprints(mols)
    taken: list[int] = []
    for i in order:
        if len(taken) == n:
            break
        near = DataStructs.BulkTanimotoSimilarity(prints[i], [prints[k] for k in taken])
        if max(near, default=0.0) >= alike:
            left_out["like a better one"] += 1
        else:
            taken.append(i)
    return taken


def _read(
    sources: Sequence[PathLike], filters: Sequence[Filter], done: Shortlist
) -> tuple[list[Mol], list[Row]]:
    mols: list[Mol] = []
    rows: list[Row] = []
    for source in map(Path, sources):
        if not is_sdf(source) or not source.is_file():
            raise InputError(f"{source}: no such SDF file (.sdf, .sdf.gz)")
        try:
            for block in read_blocks(source):
                done.read += 1
                if isinstance(found := _record(block, filters), str):
                    done.left_out[found] += 1
                    continue
                mols.append(found)
                name = block.title.strip() or f"{source.name}-{done.read}"
                own = {"name": name, "smiles": canonical_smiles(found), "file": source.name}
                rows.append({**own, **properties(block), **own})
        except (OSError, EOFError) as error:
            raise InputError(f"{source}: cannot be read ({error}); give a whole SDF") from None
    return mols, rows


def _record(block: Block, filters: Sequence[Filter]) -> Mol | str:
    """The molecule of a record, or why it is left out."""
    try:
        mol = parse_block(block)
    except InputError:
        return "unreadable"
    try:
        check_supported(mol)
    except InputError:
        return "a salt, a metal or otherwise unsupported"
    if not has_3d(mol):
        return "no 3D coordinates"
    if not mol.GetNumHeavyAtoms():
        return "no heavy atoms"
    reason = first_reason(mol, filters)
    return mol if reason is None else named(reason)


def _values(mols: Sequence[Mol], rows: Sequence[Row], criterion: Criterion) -> np.ndarray:
    """One value a record, better ones larger, NaN where one is missing; computed ones go into rows.

    A value that no molecule can have counts as missing.
    """
    name = criterion.name
    found = np.array([number(row.get(name)) for row in rows])
    domain = DOMAINS.get(name)
    low, high = (domain.low, domain.high) if domain else (-np.inf, np.inf)
    found[~np.isfinite(found) | (found < low) | (found > high)] = np.nan
    if name in DESCRIPTORS:
        for i in np.flatnonzero(np.isnan(found)).tolist():
            found[i] = rows[i][name] = describe(mols[i], (name,))[name]
    if np.isnan(found).all():
        raise InputError(
            f"--rank {name}: no record has it, and it is no descriptor ({', '.join(DESCRIPTORS)})"
        )
    return criterion.sign * found


def _standing(values: np.ndarray) -> np.ndarray:
    """Quantiles among all records; those without a value are below the others, at 0."""
    absent = np.isnan(values)
    return np.where(absent, 0.0, quantiles(np.where(absent, -np.inf, values)))
