"""The design job: graphs, their shapes, their values, and one SDF with a CSV beside it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.conformers import ConformerGenerator
from scoregen.molecules.records import Record, SdfWriter, write_sdf

from .assess import Assessment, AssessSettings, Row, assess, write_csv
from .criteria import Criterion, check_descriptor
from .generator import Candidate, CandidateGenerator
from .request import Request
from .scores import Jury
from .selection import quantiles
from .shapes import shape, shape_posed
from .targets import Target, misses
from .validity import as_generated


@dataclass
class Summary:
    """What a design job did.

    Args:
        wanted, written: candidates.
        seconds: wall time; of the graphs alone and of the shapes alone.
        model: name of the model.
        output, table: the SDF and the CSV; empty where nothing was written.
        draws: :meth:`scoregen.molecules.design.generator.Tally.as_dict`.
        shapeless: accepted graphs that got no sound 3D shape, by reason.
        unscored: candidates on which the person's score failed.
        hits: share of the candidates that meet each target.
        candidates: summary of :func:`scoregen.molecules.design.assess.assess`.
    """

    wanted: int = 0
    written: int = 0
    seconds: float = 0.0
    graph_seconds: float = 0.0
    shape_seconds: float = 0.0
    model: str = ""
    output: str = ""
    table: str = ""
    draws: dict[str, Any] = field(default_factory=dict)
    shapeless: dict[str, int] = field(default_factory=dict)
    unscored: int = 0
    hits: dict[str, float] = field(default_factory=dict)
    candidates: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return asdict(self)


def run_design(
    request: Request,
    out: str | Path,
    generator: CandidateGenerator,
    conformers: ConformerGenerator,
    *,
    settings: AssessSettings | None = None,
    rank: Criterion | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> Summary:
    """Candidates into an SDF, their values into a CSV of the same name; both appear whole, or not at all.

    Args:
        request: what is wanted.
        out: ``.sdf`` or ``.sdf.gz``.
        generator: draws graphs.
        conformers: draws their shapes.
        settings: what is computed of each candidate.
        rank: descriptor to order by, its better end first; None orders by targets and score, where there are
            any.
        on_done: progress, called with (candidates, wanted).

    Raises:
        InputError: a wrong output name, or a wish that a model cannot serve.
    """
    started = time.monotonic()
    out = Path(out)
    SdfWriter(out)  # refuses a wrong suffix before any work is done
    if rank is not None:
        check_descriptor(rank.name)
    generator.check(request)
    summary = Summary(wanted=request.n, model=generator.name)
    made = _shaped(request, generator, conformers, summary, on_done)
    made, own = _judged(made, request)
    summary.unscored = int(np.isnan(own.get("score", np.zeros(0))).sum())
    settings = replace(settings or AssessSettings(), training=generator.training)
    found = assess([mol for _, mol in made], settings, sanitised=True)
    order = _order(found.rows, request.targets, rank, own)
    records, rows = [], []
    for place, i in enumerate(order, 1):
        candidate, mol = made[i]
        facts = {"smiles": canonical_smiles(mol), "candidate": candidate.number, "seed": request.seed}
        name = f"{Path(generator.name).name}-{place}"
        row: Row = {"name": name, **facts, **{k: _known(v[i]) for k, v in own.items()}}
        row |= _values(found.rows[i], request.targets)
        rows.append(row)
        properties = {**row, "model": generator.name}
        records.append(Record(mol, mol.GetConformer().GetPositions(), properties.pop("name"), properties))
    if records:  # an empty SDF would look like a result
        summary.written = write_sdf(out, records)
        write_csv(table_path(out), rows)
        summary.output, summary.table = str(out), str(table_path(out))
    summary.hits = _hits(found, request.targets)
    summary.candidates = found.summary
    summary.seconds = time.monotonic() - started
    return summary


def outputs(out: Path) -> tuple[Path, Path, Path]:
    """The SDF, and the CSV and the HTML page of the same name."""
    return out, table_path(out), table_path(out).with_suffix(".html")


def table_path(out: Path) -> Path:
    """``name.csv`` beside ``name.sdf`` or ``name.sdf.gz``."""
    return out.with_name(out.name.removesuffix(".gz").rsplit(".", 1)[0] + ".csv")


def _shaped(
    request: Request,
    generator: CandidateGenerator,
    conformers: ConformerGenerator,
    summary: Summary,
    on_done: Callable[[int, int], None] | None,
) -> list[tuple[Candidate, Mol]]:
    """Candidates with their shapes; a graph that gets none makes place for another."""
    hunt = generator.hunt(request)
    shapeless: Counter[str] = Counter()
    made: list[tuple[Candidate, Mol]] = []
    while len(made) < request.n and hunt.left:
        began = time.monotonic()
        taken = hunt.take(request.n - len(made))
        between = time.monotonic()
        for candidate, found in zip(taken, _shapes(taken, request, conformers), strict=True):
            if isinstance(found, str):
                shapeless[found.split(":")[0]] += 1
            else:
                made.append((candidate, found))
        summary.graph_seconds += between - began
        summary.shape_seconds += time.monotonic() - between
        if on_done is not None:
            on_done(len(made), request.n)
    summary.draws = hunt.tally.as_dict()
    summary.shapeless = dict(shapeless.most_common())
    return made


def _shapes(
    taken: Sequence[Candidate], request: Request, conformers: ConformerGenerator
) -> Sequence[Mol | str]:
    scaffold = request.scaffold
    if scaffold is None or scaffold.positions is None:
        return shape([candidate.mol for candidate in taken], conformers, seed=request.seed)
    match = list(range(scaffold.size))
    return [shape_posed(c.mol, match, scaffold.positions, conformers, seed=request.seed) for c in taken]


def _judged(
    made: Sequence[tuple[Candidate, Mol]], request: Request
) -> tuple[list[tuple[Candidate, Mol]], dict[str, np.ndarray]]:
    """Candidates, laid upon the shape to resemble; and by column what else draws competed in, ``(n,)``.

    Around a posed scaffold they stay where they are. A person's score is that of the graphs it was given
    while they were drawn, NaN where it failed.
    """
    own: dict[str, np.ndarray] = {}
    placed = request.scaffold is not None and request.scaffold.positions is not None
    if request.shape is not None and placed:
        own["shape"] = np.array([request.shape(mol) for _, mol in made])
    elif request.shape is not None:
        laid = [request.shape.laid(mol) for _, mol in made]
        made = [(candidate, mol) for (candidate, _), (mol, _) in zip(made, laid, strict=True)]
        own["shape"] = np.array([tanimoto for _, tanimoto in laid])
    if request.score is not None:
        flat = [as_generated(candidate.mol) for candidate, _ in made]
        for mol in flat:
            Chem.RemoveStereochemistry(mol)
        own["score"] = Jury((request.score,), patience=math.inf).values(flat)[0]
    return list(made), own


def _order(
    rows: Sequence[Row], targets: Sequence[Target], rank: Criterion | None, own: Mapping[str, np.ndarray]
) -> list[int]:
    """Places of the rows, best first."""
    if rank is not None:
        name, sign = rank.name, rank.sign
        return sorted(range(len(rows)), key=lambda i: -sign * rows[i][name])
    worth = np.zeros(len(rows))
    if targets:
        worth += quantiles(np.array([-misses(row, targets) for row in rows]))
    for values in own.values():
        worth += quantiles(np.nan_to_num(values, nan=-np.inf))
    return sorted(range(len(rows)), key=lambda i: -worth[i])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _values(row: Row, targets: Sequence[Target]) -> Row:
    hidden = ("index", "smiles", "problem", "duplicate_of")
    values = {name: value for name, value in row.items() if name not in hidden}
    if targets:
        values["misses"] = misses(row, targets)
    return values


def _hits(found: Assessment, targets: Sequence[Target]) -> dict[str, float]:
    rows = found.rows
    return {
        str(target): float(np.mean([target.hit(row[target.name], target.tolerance) for row in rows]))
        for target in targets
        if rows
    }
