"""Is a geometry plausible? The checks of PoseBusters (Buttenschoen et al. 2024), an optional package.

It ignores hydrogens and has no stereo check for molecules without a reference; see
:mod:`scoregen.molecules.stereo` for that. On one core a drug-like molecule takes 0.1 to 0.2 s with
``"mol_fast"`` and one to four seconds with ``"mol"``, which also compares its energy with that of 50 others;
of a cage it may embed these for hours, so give it a limit.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple

import rdkit
from rdkit import rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError, MissingExtra
from scoregen.molecules.stereo import with_positions

if TYPE_CHECKING:
    from posebusters import PoseBusters

LEVELS = ("mol", "mol_fast")
"""Sets of checks; published pass rates are of ``"mol"``."""


class Pose(NamedTuple):
    """Outcome of the checks.

    Attributes:
        checks: whether each check passed; one that could not be computed did not.
        passed: whether all did.
    """

    checks: dict[str, bool]
    passed: bool

    @property
    def failed(self) -> list[str]:
        """Names of the checks that did not pass."""
        return [name for name, good in self.checks.items() if not good]


def check_available(level: str = "mol") -> None:
    """Raise where :func:`check_pose` cannot run.

    Raises:
        MissingExtra: PoseBusters is not installed.
        InputError: ``level`` is not one of :data:`LEVELS`.
    """
    if level not in LEVELS:
        raise InputError(f"PoseBusters checks '{level}' are not one of {', '.join(LEVELS)}")
    with _own_logging():
        try:
            import posebusters  # noqa: F401
        except ImportError:
            raise MissingExtra("posebusters", "chem") from None


def check_pose(mol: Mol, level: str = "mol", timeout: float | None = None) -> Pose:
    """Check the first conformer of a molecule.

    Args:
        mol: sanitised, with hydrogen atoms.
        level: one of :data:`LEVELS`.
        timeout: seconds it may take, in a process of its own; None: any number, in this one.

    Raises:
        MissingExtra: PoseBusters is not installed.
        InputError: no conformer, an unknown level, or PoseBusters failed on this molecule or took too long.
    """
    check_available(level)
    if not mol.GetNumConformers():
        raise InputError("no 3D coordinates to check")
    return _checked(mol, level) if timeout is None else _limited(mol, level, timeout)


def _limited(mol: Mol, level: str, timeout: float) -> Pose:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, mol, level), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            raise InputError(f"PoseBusters took longer than {timeout:g} s")
        found = receiver.recv()
    except EOFError:
        raise InputError("PoseBusters died") from None
    finally:
        child.kill()
        child.join()
        receiver.close()
    if isinstance(found, str):
        raise InputError(found)
    return Pose(*found)


def _answer(sender: Connection, mol: Mol, level: str) -> None:
    """In a process of its own: the outcome, or why there is none."""
    try:
        sender.send(tuple(_checked(mol, level)))
    except InputError as error:
        sender.send(str(error))


def _checked(mol: Mol, level: str) -> Pose:
    # PoseBusters looks for conformer 0 by its number.
    placed = with_positions(mol, mol.GetConformer().GetPositions())
    with _own_logging():
        try:
            row = _checker(level).bust(placed).iloc[0]
        except Exception as error:
            raise InputError(f"PoseBusters failed: {' '.join(str(error).split())}") from None
    checks = {str(name): value is True or str(value) == "True" for name, value in row.items()}
    return Pose(checks, all(checks.values()))


@cache
def _checker(level: str) -> PoseBusters:
    from posebusters import PoseBusters

    checker = PoseBusters(level, max_workers=0)
    for module in checker.config["modules"]:
        if module["function"] == "energy_ratio":
            module.setdefault("parameters", {})["num_threads"] = 1  # its default takes every core
    return checker


@contextmanager
def _own_logging() -> Iterator[None]:
    """Let PoseBusters have RDKit's log, and give it back.

    It sends the log to Python's for good, where it hides remarks of InChI, and switches all of it on. It also
    flushes the stream of RDKit's handler; where that was closed meanwhile (a redirected stderr), the check at
    hand would count as failed.
    """
    before = dict(line.split(":") for line in rdBase.LogStatus().splitlines())
    stream = rdkit.log_handler.stream
    rdBase.LogToPythonLogger()
    rdkit.log_handler.stream = sys.__stderr__
    try:
        yield
    finally:
        rdkit.log_handler.stream = stream
        rdBase.LogToCppStreams()
        for name, state in before.items():
            switch = rdBase.EnableLog if state == "enabled" else rdBase.DisableLog
            switch(name)
