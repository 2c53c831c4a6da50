"""Section ``stereo``: is the stated stereo right in every record of the pipeline's SDF?

One conformer of each SMILES in ``splits/stereo_1000.smi`` goes through the job of ``scoregen conformers``;
its file is read again with RDKit and checked by :class:`~conformer_suite.stereo_check.StereoCheck`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import print_table
from rdkit import Chem, rdBase
from suite.runner import progress

from scoregen.errors import InputError
from scoregen.molecules.records import SdfWriter
from scoregen.molecules.sdf import read_blocks

from .methods import peers, variants
from .options import Options
from .references import SPLITS
from .stereo_check import StereoCheck
from .workbench import Workbench

DEFAULTS = Options(init=("auto",), draws=(0.0,))
LIST = SPLITS / "stereo_1000.smi"
MANY = 3

# Writes one conformer of each (SMILES, name) to an SDF.
Writer = Callable[[list[tuple[str, str]], Path], None]


def run(bench: Workbench, options: Options) -> dict[str, Any]:
    """Rows of all methods: records, wrong records, share of the inputs served."""
    lines = [line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    inputs = [(smiles, name) for smiles, name in lines][: options.limit]
    rows = []
    for name, write in _writers(bench, options).items():
        progress(f"stereo, {name}: {len(inputs)} molecules\n")
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out.sdf")
            start = time.perf_counter()
            write(inputs, out)
            seconds = time.perf_counter() - start
            rows.append({"method": name, **check(inputs, out), "seconds": seconds})
    elements = [StereoCheck(smiles).elements for smiles, _ in inputs]
    counts = {
        "molecules": len(inputs),
        "elements": sum(elements),
        "with_many": sum(e >= MANY for e in elements),
    }
    return {**counts, "rows": rows}


def check(inputs: list[tuple[str, str]], sdf: Path) -> dict[str, Any]:
    """Read an SDF again: records, wrong ones (of all, of inputs with many elements), share served."""
    checks = {name: StereoCheck(smiles) for smiles, name in inputs}
    records, wrong, many, many_wrong = 0, [], 0, 0
    served: set[str] = set()
    for block in read_blocks(sdf):
        stated = checks[block.title]
        with rdBase.BlockLogs():
            mol = Chem.MolFromMolBlock(block.text, removeHs=False)
        bad = mol is None or stated.wrong(mol)
        records += 1
        served.add(block.title)
        many += stated.elements >= MANY
        if bad:
            many_wrong += stated.elements >= MANY
            shown = "unreadable" if mol is None else stated.read(mol)
            wrong.append({"name": block.title, "stated": stated.smiles, "shown": shown})
    return {
        "records": records,
        "wrong": len(wrong),
        "records_many": many,
        "wrong_many": many_wrong,
        "served": len(served) / len(inputs),
        "wrong_records": wrong[:20],
        "unserved": [name for name in checks if name not in served][:20],
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    keys = ("method", "records", "wrong", "records_many", "wrong_many", "served", "seconds")
    heads = ["method", "records", "wrong", f"of ≥ {MANY} elements", "wrong", "inputs served", "s"]
    rows = [[f"{row[k]:.2%}" if k == "served" else row[k] for k in keys] for row in result["rows"]]
    title = (
        f"Stereo of {result['molecules']} inputs with {result['elements']} stated elements, one record each"
    )
    print_table(title, heads, rows)


def _writers(bench: Workbench, options: Options) -> dict[str, Writer]:
    # A selection does not change the stereo of the peers: they have one row each.
    plain = peers(replace(options, draws=(1.0,)))
    found: dict[str, Writer] = {name: _peer(method) for name, method in plain.items()}
    if bench.model != "none":
        for name, settings in variants(bench.label, options).items():
            found[name] = _pipeline(bench, options, settings)
    return found


def _peer(method: Any) -> Writer:
    def write(inputs: list[tuple[str, str]], out: Path) -> None:
        with SdfWriter(out) as sdf:
            for smiles, name in inputs:
                try:
                    mol, positions = method(smiles, 1)
                except InputError:
                    continue
                sdf.write(mol, positions[0], name=name)

    return write


def _pipeline(bench: Workbench, options: Options, variant: dict[str, Any]) -> Writer:
    from scoregen.molecules.conformers import Settings
    from scoregen.molecules.pipeline import run_conformers

    given: dict[str, Any] = {"steps": options.steps, "sigma": options.sigma, "solver": options.solver}
    given["theory"] = None if options.theory == "reference" else options.theory
    given = {key: value for key, value in given.items() if value is not None}
    settings = Settings(n=1, seed=options.seed, **variant, **given)

    def write(inputs: list[tuple[str, str]], out: Path) -> None:
        source = out.with_name("in.smi")
        source.write_text("".join(f"{smiles} {name}\n" for smiles, name in inputs))
        run_conformers([str(source)], out, bench.generator, settings)

    return write
