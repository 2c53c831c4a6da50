"""``scoregen shortlist``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def shortlist(
    sources: Annotated[
        list[str], typer.Argument(metavar="FILE.sdf", help="Candidates, of one run or of many.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="SDF; a CSV and an HTML page get its name.")],
    n: Annotated[int, typer.Option("-n", help="Molecules wanted.")] = 10,
    rank: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:END]", help="What counts: qed, sa, score, tpsa:low, …; several count alike."
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="NAME", help="druglike, clean, sa=4, … leave the others out."),
    ] = None,
    alike: Annotated[
        float, typer.Option(help="Tanimoto similarity from which one of two is left out; 2: never.")
    ] = 0.6,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the HTML page.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The best of many candidates, ranked, none too much like a better one.

    Exit code: 0 all wanted, 1 fewer (the reasons on stderr), 2 wrong usage.
    """
    from scoregen.molecules.design.criteria import parse_criterion
    from scoregen.molecules.design.filters import parse_filter
    from scoregen.molecules.design.pipeline import outputs
    from scoregen.molecules.design.shortlist import shortlist as choose

    from .ui import emit

    found = choose(
        sources,
        out,
        n,
        [parse_criterion(text) for text in rank or ["qed"]],
        filters=[parse_filter(text) for text in filters or []],
        alike=alike,
    )
    shown: dict[str, str] = {}
    if page:
        from scoregen.report.gallery import gallery

        _, table, target = outputs(out)
        lead = f"The best {found.written} of {found.read} records by {', '.join(rank or ['qed'])}."
        gallery(out, table, target, title="Shortlist", lead=lead)
        shown["page"] = str(target)
    for reason, count in found.left_out.most_common():
        typer.echo(f"note: left out, {reason}: {count}", err=True)
    for name, count in found.missing.items():
        typer.echo(f"note: without a usable {name}, so last in it: {count}", err=True)
    emit(as_json, {**found.as_dict(), **shown}, f"{found.written} of {found.read} records → {out}")
    raise typer.Exit(0 if found.written == n else 1)
