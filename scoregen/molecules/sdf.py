"""Reading SDF files record by record, so that a broken record never hides those after it."""

from __future__ import annotations

import gzip
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError

SUFFIXES = (".sdf", ".sd", ".mol")


class Block(NamedTuple):
    """One record as text: title, the line it starts on (from 1), the mol block and its data lines."""

    title: str
    line: int
    text: str


def open_text(path: str | os.PathLike[str]) -> TextIO:
    """Open a plain or gzipped text file; odd bytes become replacement characters instead of an error."""
    raw = gzip.open(path, "rb") if Path(path).suffix.lower() == ".gz" else open(path, "rb")  # noqa: SIM115
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace")


def read_blocks(path: str | os.PathLike[str]) -> Iterator[Block]:
    """Yield the records of an SDF, plain or gzipped, without interpreting them.

    Raises:
        OSError, EOFError: the file is missing, unreadable or a truncated gzip.
    """
    lines: list[str] = []
    start = 1
    with open_text(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.startswith("$$$$"):
                yield Block(lines[0].strip() if lines else "", start, "".join(lines))
                lines, start = [], number + 1
            else:
                lines.append(line)
    if any(line.strip() for line in lines):
        yield Block(lines[0].strip(), start, "".join(lines))


def parse_block(block: Block) -> Mol:
    """Sanitised molecule of a record, explicit hydrogens kept; stereo from its 3D, else from its wedges.

    Raises:
        InputError: not a mol block, or chemically impossible.
    """
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMolBlock(block.text, removeHs=False)
        except RuntimeError:
            mol = None
        if mol is not None:
            return mol
        try:
            raw = Chem.MolFromMolBlock(block.text, removeHs=False, sanitize=False)
        except RuntimeError:
            raw = None
        if raw is None:
            raise InputError("not a readable SDF record")
        problems = Chem.DetectChemistryProblems(raw)
        reason = problems[0].Message() if problems else "RDKit cannot sanitise it"
        raise InputError(f"chemically impossible: {reason}")


def number(item: object) -> float:
    """The value of a data item; NaN where it is none."""
    try:
        return float(str(item))
    except ValueError:
        return math.nan


def properties(block: Block) -> dict[str, str]:
    """Data items of a record (``> <name>`` sections)."""
    items: dict[str, str] = {}
    name: str | None = None
    values: list[str] = []
    for line in [*block.text.splitlines(), ""]:
        if line.startswith(">") and "<" in line:
            name, values = line[line.index("<") + 1 :].split(">")[0], []
        elif name is not None and not line.strip():
            items[name], name = "\n".join(values), None
        elif name is not None:
            values.append(line)
    return items
