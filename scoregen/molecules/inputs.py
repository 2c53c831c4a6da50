"""The molecules a person asks for: SMILES on the line, files of several kinds, or standard input.

A bad entry becomes a :class:`MoleculeInput` with an error instead of an exception, so that one bad input
never stops the others.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, has_3d, standardise, stereo_from_3d
from scoregen.molecules.sdf import SUFFIXES, Block, open_text, parse_block, read_blocks

SMILES_SUFFIXES = (".smi", ".smiles", ".ism", ".txt")
CSV_SUFFIXES = (".csv", ".tsv")
_KNOWN = "SMILES, .smi, .csv, .sdf (each also .gz), or - for standard input"
# Suffixes of chemistry files we do not read: named as such instead of being parsed as SMILES.
_FOREIGN = (".mol2", ".pdb", ".cif", ".xyz", ".inchi", ".xlsx", ".json", ".parquet", ".gz")
_HEADERS = ("smiles", "smile", "canonical_smiles", "isomeric_smiles")


@dataclass(frozen=True)
class MoleculeInput:
    """One molecule asked for.

    Attributes:
        text: what was given: the SMILES, or ``record 3`` of an SDF; the argument itself for a bad file.
        name: the input's name, else its SMILES.
        line: line of the file where it stands, or position of the argument on the command line, from 1.
        source: file as given, ``stdin`` or ``arguments``.
        mol: sanitised, hydrogens explicit, no coordinates; ``None`` when there is an error.
        error: one line that says why it cannot be used; ``None`` when it can.
    """

    text: str
    name: str
    line: int
    source: str
    mol: Mol | None
    error: str | None


# os.path rather than Path in this module: a long SMILES is no legal path, and os.path then answers "no".
Reader = Callable[[str], Iterator[MoleculeInput]]


def read_inputs(args: Iterable[str], stdin: TextIO | None = None) -> Iterator[MoleculeInput]:
    """Yield every molecule of the arguments in order; never raises for what an argument holds.

    Args:
        args: each a SMILES (optionally followed by a name), a path to ``.smi``, ``.csv`` (column ``smiles``
            in any case, optional column ``name``) or ``.sdf``, plain or gzipped, or ``-`` for SMILES lines on
            standard input.
        stdin: what ``-`` reads; default ``sys.stdin``.

    Example:
        >>> [entry.error for entry in read_inputs(["CCO", "C(C"])]
        [None, 'not a valid SMILES']
    """
    for position, argument in enumerate(args, 1):
        arg = str(argument)
        if arg == "-":
            yield from _nonempty(_smiles_lines(stdin or sys.stdin, "stdin"), arg, "stdin")
            continue
        reader = _reader(arg)
        if reader is None:
            yield _from_smiles(arg, position, "arguments", argument=True)
            continue
        if not os.path.isfile(arg):
            problem = "is a folder, not a file" if os.path.isdir(arg) else "no such file"
            yield _bad(arg, position, "arguments", f"{arg}: {problem}")
            continue
        yield from _nonempty(_guarded(reader, arg), arg, arg)


def _reader(arg: str) -> Reader | None:
    """Function that reads the file ``arg`` names, or None when it is to be taken as SMILES."""
    low = arg.lower()
    stem = low.removesuffix(".gz")
    if stem.endswith(SUFFIXES):
        return _sdf_records
    if stem.endswith(CSV_SUFFIXES):
        return _csv_rows
    if stem.endswith(SMILES_SUFFIXES):
        return _smi_lines
    if low.endswith(_FOREIGN) or os.path.isdir(arg):
        return _unknown_type
    # A file without a known suffix: only when the text is no SMILES.
    with rdBase.BlockLogs():
        foreign = os.path.isfile(arg) and Chem.MolFromSmiles(arg, sanitize=False) is None
    return _unknown_type if foreign else None


def _guarded(reader: Reader, path: str) -> Iterator[MoleculeInput]:
    try:
        yield from reader(path)
    except (OSError, EOFError, csv.Error, UnicodeError) as error:
        yield _bad(path, 0, path, f"{path}: cannot be read ({error})")


def _nonempty(entries: Iterator[MoleculeInput], arg: str, source: str) -> Iterator[MoleculeInput]:
    count = 0
    for count, entry in enumerate(entries, 1):  # noqa: B007
        yield entry
    if not count:
        yield _bad(arg, 0, source, f"{source}: holds no molecules")


def _smi_lines(path: str) -> Iterator[MoleculeInput]:
    with open_text(path) as stream:
        yield from _smiles_lines(stream, path)


def _smiles_lines(stream: Iterable[str], source: str) -> Iterator[MoleculeInput]:
    first = True
    for number, line in enumerate(stream, 1):
        text = line.strip().lstrip("\ufeff")
        if not text or text.startswith("#"):
            continue
        is_header = first and text.replace(",", " ").split()[0].lower() in _HEADERS
        first = False
        if not is_header:
            yield _from_smiles(text, number, source)


def _csv_rows(path: str) -> Iterator[MoleculeInput]:
    with open_text(path) as stream:
        header = stream.readline()
        delimiter = max(",;\t", key=header.count)
        columns = [cell.strip().lower() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        if "smiles" not in columns:
            found = ", ".join(columns) or "none"
            yield _bad(path, 1, path, f"{path}: no column 'smiles' (columns: {found})")
            return
        smiles_at = columns.index("smiles")
        name_at = columns.index("name") if "name" in columns else None
        rows = csv.reader(stream, delimiter=delimiter)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            smiles = row[smiles_at].strip() if smiles_at < len(row) else ""
            name = row[name_at].strip() if name_at is not None and name_at < len(row) else ""
            yield _entry(smiles, name, rows.line_num + 1, path)


def _sdf_records(path: str) -> Iterator[MoleculeInput]:
    for number, block in enumerate(read_blocks(path), 1):
        text = f"record {number}"
        try:
            mol = _from_block(block)
        except InputError as error:
            yield _bad(text, block.line, path, str(error), block.title)
            continue
        yield MoleculeInput(text, block.title or canonical_smiles(mol), block.line, path, mol, None)


def _from_block(block: Block) -> Mol:
    mol = parse_block(block)
    if has_3d(mol):
        stereo_from_3d(mol)
    return standardise(mol)


def _unknown_type(path: str) -> Iterator[MoleculeInput]:
    yield _bad(path, 0, path, f"{path}: unknown file type; give {_KNOWN}")


def _from_smiles(text: str, line: int, source: str, *, argument: bool = False) -> MoleculeInput:
    parts = text.strip().split(None, 1)
    smiles, rest = (parts[0], parts[1].strip()) if len(parts) == 2 else (text.strip(), "")
    extension = ""
    if rest.startswith("|"):  # ChemAxon extension between SMILES and name: it may state stereo
        inside, _, rest = rest[1:].partition("|")
        extension, rest = f" |{inside}|", rest.strip()
    entry = _entry(smiles, rest, line, source, extension)
    if argument and entry.error == "not a valid SMILES" and ("." in text[-6:] and "/" in text):
        return _bad(text, line, source, f"{text}: neither a valid SMILES nor an existing file")
    return entry


def _entry(smiles: str, name: str, line: int, source: str, extension: str = "") -> MoleculeInput:
    try:
        return MoleculeInput(smiles, name or smiles, line, source, standardise(smiles + extension), None)
    except InputError as error:
        return _bad(smiles, line, source, str(error), name)


def _bad(text: str, line: int, source: str, error: str, name: str = "") -> MoleculeInput:
    return MoleculeInput(text, name or text, line, source, None, " ".join(error.split()))
