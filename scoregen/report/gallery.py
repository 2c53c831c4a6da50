"""A page of candidates to look through: structure, 3D view and figures of each, sortable, in one file."""

from __future__ import annotations

import csv
import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import Mol, rdCoordGen, rdMolAlign, rdMolTransforms

from scoregen.errors import InputError
from scoregen.files import atomic_path
from scoregen.molecules.chem import canonical_smiles, has_3d
from scoregen.molecules.design.kept import Scaffold
from scoregen.molecules.design.targets import Target
from scoregen.molecules.sdf import Block, number, parse_block, properties, read_blocks

from .molecules import describe, drawing
from .page import MoleculeCard, Section, build_page

Row = Mapping[str, object]


class Figure(NamedTuple):
    """A value that is shown: its name and other names of its column, how it is labelled and written, and
    which end is listed first."""

    column: str
    also: tuple[str, ...]
    label: str
    hint: str
    unit: str
    digits: int
    high_first: bool


FIGURES: tuple[Figure, ...] = (
    Figure("shape", (), "shape", "overlap with the reference, Tanimoto of volumes, 0 to 1", "", 2, True),
    Figure("score", (), "score", "your own score", "", 2, True),
    Figure("qed", (), "QED", "drug-likeness, 0 to 1 (Bickerton et al. 2012)", "", 2, True),
    Figure(
        "sa",
        ("sa_score",),
        "SA",
        "synthetic accessibility, 1 easy to 10 hard (Ertl & Schuffenhauer 2009)",
        "",
        1,
        False,
    ),
    Figure("logp", (), "logP", "octanol-water, Crippen (Wildman & Crippen 1999)", "", 1, False),
    Figure("mw", (), "MW", "molar mass, Da", "", 0, False),
    Figure("tpsa", (), "TPSA", "topological polar surface area, Å² (Ertl et al. 2000)", "", 0, False),
    Figure(
        "strain", ("strain_kcal_mol",), "strain", "energy above the relaxed geometry", "kcal/mol", 1, False
    ),
)
"""In the order shown."""

ALERTS = {"alerts": "", "alert": "", "pains": "PAINS", "brenk": "Brenk", "pose_failed": "pose:"}
"""Columns that name what speaks against a molecule, separated by semicolons, and what is put before each."""

RULES = {"lipinski": "outside Lipinski", "veber": "outside Veber"}
"""Columns that say whether a rule of thumb holds, and what is said where it does not."""

_NO_ALERT = {"", "0", "none", "no", "false", "pass", "ok", "-", "nan"}


@dataclass(frozen=True)
class Candidate(MoleculeCard):
    """One candidate to show.

    Args:
        figures: column of :data:`FIGURES` → value.
        alerts: what speaks against it: structural alerts, failed checks of its pose.
        broken: rules of thumb it breaks.
        met: columns whose value meets what was asked for.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    alerts: Sequence[str] = ()
    broken: Sequence[str] = ()
    met: frozenset[str] = frozenset()


def gallery(
    sdf: str | os.PathLike[str],
    rows: str | os.PathLike[str] | Sequence[Row] | None,
    out_html: str | os.PathLike[str],
    *,
    title: str = "Candidates",
    lead: str = "",
    scaffold: Scaffold | None = None,
    targets: Sequence[Target] = (),
) -> int:
    """Write the page.

    Args:
        sdf: one record for each candidate, best first, hydrogens and 3D coordinates in it.
        rows: values of each record in the same order: a CSV file, or mappings; None reads the data items of
            the records. Columns :data:`FIGURES`, :data:`ALERTS` and :data:`RULES` are
            shown, in capitals or not.
        out_html: the page, complete in itself.
        title, lead: heading and the sentence below it.
        scaffold: what the candidates keep; it is coloured, and drawn and turned alike in all of them.
        targets: what was asked for; values that meet it are marked.

    Returns:
        Candidates shown.

    Raises:
        InputError: no records, a record that cannot be read, or another number of rows than of records.
    """
    cards = read_candidates(sdf, rows, scaffold, targets)
    text = lead or f"{len(cards)} molecules in the order of the SDF beside this page."
    page = build_page(title, text, [candidate_section(cards, scaffold)], cards)
    with atomic_path(out_html) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return len(cards)


def read_candidates(
    sdf: str | os.PathLike[str],
    rows: str | os.PathLike[str] | Sequence[Row] | None = None,
    scaffold: Scaffold | None = None,
    targets: Sequence[Target] = (),
) -> list[Candidate]:
    """Cards of the records of an SDF; for the arguments and errors see :func:`gallery`."""
    try:
        blocks = list(read_blocks(sdf))
    except (OSError, EOFError) as error:
        raise InputError(f"{sdf}: cannot be read ({error}); give the SDF of the candidates") from None
    if not blocks:
        raise InputError(f"{sdf}: holds no molecules; there is nothing to show")
    values = _rows(rows, blocks)
    if len(values) != len(blocks):
        name = rows if isinstance(rows, (str, os.PathLike)) else "the table"
        raise InputError(
            f"{name}: {len(values)} rows for {len(blocks)} records of {sdf}; give one row for each"
        )
    return candidates([_mol(block, i, sdf) for i, block in enumerate(blocks, 1)], values, scaffold, targets)


def candidates(
    mols: Sequence[Mol],
    rows: Sequence[Row],
    scaffold: Scaffold | None = None,
    targets: Sequence[Target] = (),
) -> list[Candidate]:
    """Cards of molecules; their conformers are turned in place, all alike where they keep a scaffold."""
    kept = [scaffold.contained(mol) or () if scaffold else () for mol in mols]
    _turn(mols, kept)
    template = None
    if scaffold:
        template = Chem.Mol(scaffold.mol)
        rdCoordGen.AddCoords(template)
    cards = []
    for place, (mol, row, atoms) in enumerate(zip(mols, rows, kept, strict=True), 1):
        figures = _figures(row)
        title = mol.GetProp("_Name").strip() if mol.HasProp("_Name") else ""
        if has_3d(mol):
            Chem.AssignStereochemistryFrom3D(mol)
        smiles = canonical_smiles(mol)
        cards.append(
            Candidate(
                name=title if title not in ("", smiles) else f"Candidate {place}",
                smiles=smiles,
                facts=describe(mol, 1, 0.0),
                drawing=drawing(mol, (300, 230), kept=atoms, template=template, bond=26.0),
                blocks=[Chem.MolToMolBlock(mol)],
                kept=atoms,
                figures=figures,
                alerts=_alerts(row),
                broken=_broken(row),
                met=frozenset(t.name for t in targets if t.hit(figures.get(t.name, math.nan), t.tolerance)),
            )
        )
    return cards


def candidate_section(
    cards: Sequence[Candidate], scaffold: Scaffold | None = None, *, title: str = "", first: int = 0
) -> Section:
    """The cards below a bar that sorts them by any value and can hide those with alerts.

    Args:
        cards: best first.
        scaffold: what they keep.
        title: heading; their number where it is empty.
        first: place of the first card among the ``molecules`` of :func:`~scoregen.report.page.build_page`.
    """
    shown = [f for f in FIGURES if any(f.column in card.figures for card in cards)]
    buttons = ["<button data-sort='' aria-pressed='true'>as ranked</button>"]
    buttons += [
        f"<button data-sort='{f.column}' data-first='{'high' if f.high_first else 'low'}' "
        f"aria-pressed='false' title='{html.escape(f.hint, quote=True)}'>{html.escape(f.label)}</button>"
        for f in shown
    ]
    clean = sum(not card.alerts for card in cards)
    hide = ""
    if clean < len(cards):
        hide = f"<button data-hide='alerts' aria-pressed='false'>only the {clean} without alerts</button>"
    bar = (
        f"<div class='sortbar' role='toolbar' aria-label='Sort'><span>Sort by</span>{''.join(buttons)}"
        f"{hide}<span class='count' aria-live='polite'>{len(cards)} shown</span></div>"
    )
    body = "".join(_card(i, first, card, shown) for i, card in enumerate(cards))
    reading = (
        "Drag turns a molecule, the wheel zooms, H shows its hydrogens. A second click sorts upside down."
    )
    if scaffold:
        reading += " What was to be kept is tinted."
    count = "1 candidate" if len(cards) == 1 else f"{len(cards)} candidates"
    return Section(title or count, reading, f"{bar}<div class='grid candidates'>{body}</div>")


def _card(index: int, first: int, card: Candidate, shown: Sequence[Figure]) -> str:
    chips = [_chip(figure, card) for figure in shown if figure.column in card.figures]
    chips += [f"<li class='warn'>{html.escape(text)}</li>" for text in card.broken]
    chips += [f"<li class='bad' title='alert'>{html.escape(name)}</li>" for name in card.alerts]
    order = html.escape(json.dumps(dict(card.figures)), quote=True)
    return (
        f"<article class='card candidate' data-molecule='{first + index}' data-order='{order}' "
        f"data-alerts='{len(card.alerts)}'><div class='views'><div class='sheet'>{card.drawing}</div>"
        "<div class='frame'><div class='stage'></div><button class='corner' data-show='hydrogens' "
        "aria-pressed='false' title='show hydrogens'>H</button></div></div><div class='body'>"
        f"<div><h3><span class='rank'>{index + 1}</span>{html.escape(card.name)}</h3>"
        f"<p class='facts'>{html.escape(card.facts)}</p></div>"
        f"<ul class='values'>{''.join(chips)}</ul><code>{html.escape(card.smiles)}</code></div></article>"
    )


def _chip(figure: Figure, card: Candidate) -> str:
    met = figure.column in card.met
    value = f"{card.figures[figure.column]:.{figure.digits}f}".replace("-", "−")
    unit = f" <small>{html.escape(figure.unit)}</small>" if figure.unit else ""
    hint = figure.hint + ("; as asked for" if met else "")
    kind = " class='met'" if met else ""
    label = html.escape(figure.label)
    return f"<li{kind} title='{html.escape(hint, quote=True)}'><b>{label}</b> {value}{unit}</li>"


def _rows(rows: str | os.PathLike[str] | Sequence[Row] | None, blocks: Sequence[Block]) -> Sequence[Row]:
    if rows is None:
        return [properties(block) for block in blocks]
    if not isinstance(rows, (str, os.PathLike)):
        return rows
    if not Path(rows).is_file():
        raise InputError(f"{rows}: no such file; give the CSV that belongs to the SDF")
    with open(rows, encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def _mol(block: Block, number: int, sdf: str | os.PathLike[str]) -> Mol:
    try:
        return parse_block(block)
    except InputError as error:
        raise InputError(f"{sdf}: record {number}: {error}; leave it out") from None


def _figures(row: Row) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, text in row.items():
        column = str(name).strip().lower()
        for figure in FIGURES:
            if column == figure.column or column in figure.also:
                value = number(text)
                if math.isfinite(value):
                    found.setdefault(figure.column, value)
    return found


def _alerts(row: Row) -> list[str]:
    names: list[str] = []
    for column, value in row.items():
        prefix = ALERTS.get(str(column).strip().lower())
        if prefix is None or value is None:
            continue
        for part in str(value).split(";"):
            if (name := part.strip()).lower() not in _NO_ALERT:
                names.append(f"{prefix} {name}".strip().replace("_", " "))
    return names


def _broken(row: Row) -> list[str]:
    values = {str(column).strip().lower(): str(value).strip().lower() for column, value in row.items()}
    return [text for column, text in RULES.items() if values.get(column) in ("false", "0", "no")]


def _turn(mols: Sequence[Mol], kept: Sequence[Sequence[int]]) -> None:
    """Long axes horizontal; molecules that keep a scaffold follow the first of them."""
    first: tuple[Mol, Sequence[int]] | None = None
    for mol, atoms in zip(mols, kept, strict=True):
        if not mol.GetNumConformers():
            continue
        if first and len(atoms) > 2:
            rdMolAlign.AlignMol(mol, first[0], atomMap=list(zip(atoms, first[1], strict=True)))
            continue
        rdMolTransforms.CanonicalizeConformer(mol.GetConformer(), ignoreHs=True)
        if len(atoms) > 2:
            first = mol, atoms
