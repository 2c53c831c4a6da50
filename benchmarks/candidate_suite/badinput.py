"""Section ``badinput``: what people really type, through ``scoregen design`` in another process.

A wish that cannot be served must give exactly one line that names it, exit code 2 (or 1), no traceback and no
file; sound wishes beside them must be served, so that a command that refuses everything does not pass.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem, Mol
from suite.runner import progress

from scoregen.errors import InputError

from .options import Options
from .workbench import Workbench

DEFAULTS = Options(timeout=600.0)
COMMAND = (sys.executable, "-c", "from scoregen.cli import main; main()")
NOTES = ("note:", "warning:")
"""Lines that tell of counts are not counted."""

Writer = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One wish.

    Args:
        name: what it is.
        arguments: of ``scoregen design``; ``{file}`` is the file that ``write`` writes.
        said: pattern that the line must match: it names the input; None where the wish is sound.
        write: writes the file.
    """

    name: str
    arguments: tuple[str, ...]
    said: str | None
    write: Writer | None = None


def posed(smiles: str, apart: float) -> Writer:
    """Two fragments in one record, the second a copy of the first's frame shifted by ``apart`` Å."""

    def write(path: Path) -> None:
        parts = [_placed(part, k * apart) for k, part in enumerate(smiles.split("."))]
        both = parts[0]
        for part in parts[1:]:
            both = Chem.CombineMols(both, part)
        with Chem.SDWriter(str(path)) as writer:
            writer.write(both)

    return write


def _placed(smiles: str, shift: float) -> Mol:
    mol = Chem.MolFromSmiles(smiles)
    with rdBase.BlockLogs():
        AllChem.EmbedMolecule(mol, randomSeed=1)  # dummy atoms are no atoms to its force field
    conformer = mol.GetConformer()
    conformer.SetPositions(conformer.GetPositions() + np.array([shift, 0.0, 0.0]))
    return mol


def _flat(path: Path) -> None:
    mol = Chem.MolFromSmiles("*c1ccccc1.*C1CCNCC1")
    AllChem.Compute2DCoords(mol)
    with Chem.SDWriter(str(path)) as writer:
        writer.write(mol)


def _no_molecule(path: Path) -> None:
    path.write_text("This is no molecule.\n")


LINK = ("--link", "{file}")
CASES: tuple[Case, ...] = (
    Case("nothing asked for", (), None),
    Case("a scaffold", ("--scaffold", "*C1CC1"), None),
    Case("QED above 1", ("--property", "qed=1.5"), r"qed=1\.5"),
    Case("range upside down", ("--property", "logp=3..2"), r"logp=3\.\.2"),
    Case("negative surface", ("--property", "tpsa=..-5"), r"tpsa=\.\.-5"),
    Case("negative mass", ("--property", "mw=-100"), r"mw=-100"),
    Case("no number", ("--property", "qed=high"), r"qed=high"),
    Case("unknown property", ("--property", "taste=0.9"), r"taste"),
    Case("a property twice", ("--property", "qed=0.9", "--property", "qed=0.5"), r"qed"),
    Case("scaffold with bad valence", ("--scaffold", "CC(C)(C)(C)C"), r"CC\(C\)\(C\)\(C\)C"),
    Case("scaffold is no SMILES", ("--scaffold", "c1ccccc"), r"c1ccccc"),
    Case("scaffold with a metal", ("--scaffold", "*[Fe]C"), r"Fe"),
    Case("scaffold in two pieces", ("--scaffold", "*CC.*CC"), r"\*CC\.\*CC"),
    Case("no open position", ("--scaffold", "FC(F)(F)F"), r"FC\(F\)\(F\)F.*open"),
    Case("scaffold larger than --atoms", ("--scaffold", "*c1ccccc1", "--atoms", "3-5"), r"3-5"),
    Case("overlapping fragments", LINK, r"case\.sdf.*overlap", posed("*C1CCCCC1.*C1CCCCC1", 0.2)),
    Case("no anchor", LINK, r"case\.sdf.*anchor", posed("*CCO.C1CCCCC1", 8.0)),
    Case("one fragment", LINK, r"case\.sdf", posed("*CCO", 0.0)),
    Case("fragments without 3D", LINK, r"case\.sdf.*3D", _flat),
    Case("no molecule in the file", LINK, r"case\.sdf", _no_molecule),
    Case("no such file", ("--link", "absent.sdf"), r"absent\.sdf"),
    Case("no atoms", ("--atoms", "0-0"), r"0-0"),
    Case("atoms upside down", ("--atoms", "9-5"), r"9-5"),
    Case("more atoms than it makes", ("--atoms", "5-5000"), r"5-5000"),
    Case("unknown filter", ("--filter", "tasty"), r"tasty"),
    Case("none wanted", ("-n", "0"), r"-n"),
    Case("another suffix", ("-o", "{folder}/out.txt"), r"out\.txt"),
)


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """A row for every case, with the first model that is there."""
    label = bench.chosen(options)[0]
    model = bench.entries[label].model
    rows = []
    for case in CASES:
        progress(f"badinput: {case.name}")
        rows.append(check(case, model, options))
    progress(f"badinput: {sum(row['right'] for row in rows)} of {len(rows)} as expected\n")
    return {"model": label, "right": sum(row["right"] for row in rows), "rows": rows}


def check(case: Case, model: str, options: Options, command: Sequence[str] = COMMAND) -> dict[str, Any]:
    """Run one case and look at what came of it.

    Args:
        case: the wish.
        model: name or folder.
        options: seed and timeout; ``steps`` of the sound wishes.
        command: that takes ``design …``.

    Raises:
        InputError: the command knows no ``design``.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name, "out"), Path(name, "case.sdf")
        folder.mkdir()
        if case.write is not None:
            case.write(source)
        given = [text.format(file=source, folder=folder) for text in case.arguments]
        found = Path(model)
        arguments = ["design", "--model", str(found.resolve()) if found.is_dir() else model]
        arguments += ["--seed", str(options.seed)]
        arguments += ["--steps", str(options.steps)] if options.steps else []
        if "-n" not in given:
            arguments += ["-n", "1"]
        if "-o" not in given:
            arguments += ["-o", str(folder / "out.sdf")]
        try:
            done = subprocess.run(
                [*command, *arguments, *given],
                capture_output=True,
                text=True,
                check=False,
                timeout=options.timeout,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            late = f"longer than {options.timeout:g} s"
            return {"case": case.name, "exit_code": None, "right": False, "why": late, "line": ""}
        if "No such command" in done.stderr:
            raise InputError("this scoregen has no command 'design'")
        left = sorted(path.name for path in folder.iterdir())
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(NOTES)]
    why = faults(case, done.returncode, lines, left, done.stdout)
    row = {"case": case.name, "expected": "served" if case.said is None else "refused"}
    said = (lines or [""])[-1].replace(f"{name}/", "")
    return {**row, "exit_code": done.returncode, "right": not why, "why": "; ".join(why), "line": said}


def faults(case: Case, code: int, lines: Sequence[str], left: Sequence[str], printed: str) -> list[str]:
    """What is wrong with how a case was met.

    Args:
        case: the wish.
        code: exit code.
        lines: of standard error, notes left out.
        left: names of files that were left.
        printed: standard output.
    """
    found = ["traceback"] if any("Traceback" in line for line in lines) else []
    if case.said is None:
        found += [f"exit code {code}"] if code else []
        return found + ([] if "out.sdf" in left else ["no output"])
    found += [] if code in (1, 2) else [f"exit code {code}"]
    found += [] if len(lines) == 1 else [f"{len(lines)} lines"]
    found += [] if any(re.search(case.said, line) for line in lines) else ["input not named"]
    found += [f"left {', '.join(left)}"] if left else []
    return found + (["printed to stdout"] if printed.strip() else [])


def show(result: dict[str, Any]) -> None:
    """Print what was said of each case."""
    rows = [
        [row["case"], row["exit_code"], "yes" if row["right"] else f"NO: {row['why']}", row["line"][:100]]
        for row in result["rows"]
    ]
    print_table("Wishes good and bad", ("case", "exit", "as expected", "what was said"), rows)
