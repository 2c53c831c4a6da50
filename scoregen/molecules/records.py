"""Writing molecules and errors; files appear whole or not at all."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, TextIO

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.files import atomic_path
from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.stereo import with_positions


class Record(NamedTuple):
    """One conformer to write: graph with hydrogens, positions ``(N, 3)`` Å, title and properties."""

    mol: Mol
    positions: np.ndarray
    name: str
    properties: Mapping[str, Any]


class SdfWriter:
    """Stream records into an SDF (gzipped when the name ends in ``.gz``) that appears when the block ends.

    On an error inside the ``with`` block nothing is written and an existing file stays as it was.

    Example:
        >>> with SdfWriter("out.sdf") as sdf:                                        # doctest: +SKIP
        ...     sdf.write(mol, positions, name="aspirin", properties={"conformer": 0})
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.count = 0
        self._stream: TextIO
        self._raw: IO[bytes] | None = None
        if not self.path.name.lower().removesuffix(".gz").endswith((".sdf", ".sd")):
            raise InputError(f"{self.path}: the output must end in .sdf or .sdf.gz")

    def __enter__(self) -> SdfWriter:
        self._context = atomic_path(self.path)
        temporary = self._context.__enter__()
        if self.path.suffix.lower() == ".gz":
            # mtime 0: the same records give the same bytes.
            self._raw = open(temporary, "wb")
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0)
            self._stream = io.TextIOWrapper(packed, encoding="utf-8", newline="\n")
        else:
            self._stream = open(temporary, "w", encoding="utf-8", newline="\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if self._raw is not None:
            self._raw.close()
        self._context.__exit__(kind, error, trace)

    def write(
        self, mol: Mol, positions: np.ndarray, *, name: str = "", properties: Mapping[str, Any] | None = None
    ) -> None:
        """Append one record; bonds, formal charges and hydrogens are those of ``mol``.

        Args:
            mol: with explicit hydrogens.
            positions: ``(N, 3)``, Å.
            name: title line; the canonical SMILES when empty.
            properties: data items, in order; floats are written with four decimals, booleans as true/false,
                ``None`` values left out.

        Raises:
            InputError: wrong shape or non-finite positions.
        """
        positions = np.asarray(positions, np.float64)
        if positions.shape != (mol.GetNumAtoms(), 3) or not np.isfinite(positions).all():
            raise InputError(f"{name}: positions must be finite and of shape ({mol.GetNumAtoms()}, 3)")
        placed = with_positions(mol, positions)
        placed.SetProp("_Name", " ".join((name or canonical_smiles(mol)).split()))
        items = [f">  <{key}>\n{_value(v)}\n\n" for key, v in (properties or {}).items() if v is not None]
        self._stream.write(Chem.MolToMolBlock(placed) + "".join(items) + "$$$$\n")
        self.count += 1


def write_sdf(path: str | os.PathLike[str], records: Iterable[Record]) -> int:
    """Write all records to ``path`` and return how many there were; the file appears whole."""
    with SdfWriter(path) as sdf:
        for record in records:
            sdf.write(record.mol, record.positions, name=record.name, properties=record.properties)
    return sdf.count


def write_errors(path: str | os.PathLike[str], errors: Iterable[tuple[str, int, str]]) -> int:
    """Write ``errors.csv`` with columns input, line, reason; the file appears whole, header also if empty.

    Args:
        path: file to write.
        errors: triples of the input as given, its line and the reason.

    Returns:
        Number of errors written.
    """
    count = 0
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["input", "line", "reason"])
        for text, line, reason in errors:
            table.writerow([text, line, reason])
            count += 1
    return count


def _value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return f"{value:.4f}"
    # A blank line or $$$$ would end the data item: one line only.
    return " ".join(str(value).split())
