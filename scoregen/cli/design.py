"""``scoregen design``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scoregen.molecules.design.pipeline import Summary


def design(
    out: Annotated[Path, typer.Option("-o", "--out", help="SDF; a CSV and an HTML page get its name.")],
    n: Annotated[int, typer.Option("-n", help="Candidates wanted.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same candidates.")] = 0,
    model: Annotated[
        str, typer.Option(help="Shipped name, model folder, or owner/name on the Hugging Face Hub.")
    ] = "design-druglike",
    steps: Annotated[
        int | None, typer.Option(help="Network calls a draw.", show_default="the model's own")
    ] = None,
    atoms: Annotated[
        str | None, typer.Option(metavar="LO-HI", help="Heavy atoms; as the model was trained if left out.")
    ] = None,
    wanted: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            metavar="NAME=VALUE",
            help="qed, logp, tpsa, mw or sa: a value (0.9), a range (2..3), an end (..90 or 300..).",
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Weight of the properties; 1 is what was learned.", show_default="1"),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:NAME", help="Your function of a molecule, to be made large."),
    ] = None,
    particles: Annotated[
        int, typer.Option(help="Draws that compete for properties and score; 1: none do.")
    ] = 16,
    scaffold: Annotated[
        str | None,
        typer.Option(metavar="FILE|SMILES", help="Keep this and grow from its open positions (*)."),
    ] = None,
    link: Annotated[
        Path | None, typer.Option(metavar="FILE.sdf", help="Join two posed fragments at their anchors.")
    ] = None,
    similar: Annotated[str | None, typer.Option(metavar="SMILES|FILE", help="Vary this molecule.")] = None,
    resemble: Annotated[
        str | None,
        typer.Option("--shape", metavar="FILE.sdf", help="Resemble this conformer in shape, laid upon it."),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="How far variations go, 0 to 1.", show_default="0.5")
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="NAME", help="druglike, leadlike, pains, sa=4, … drop the others."),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(metavar="NAME[:END]", help="Best first by qed, sa, logp:low, …; else by the targets."),
    ] = None,
    known: Annotated[
        Path | None, typer.Option(help="Molecules you know (.smi .csv .sdf): marked where they come again.")
    ] = None,
    pose: Annotated[
        bool, typer.Option("--pose", help="PoseBusters checks of every candidate (chem extra).")
    ] = False,
    strain: Annotated[
        str | None, typer.Option(metavar="mmff|gfn2", help="Relaxation energy of every candidate.")
    ] = None,
    tries: Annotated[int, typer.Option(help="Draws at most, for each candidate wanted.")] = 20,
    conformer_model: Annotated[str, typer.Option(help="Model that draws the shapes.")] = "conformer-small",
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the HTML page.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """New molecules in 3D: free, towards properties, from a scaffold, between fragments, around a molecule.

    Every candidate is valid as it was drawn: no valence is repaired, no fragment thrown away. What was drawn
    and dropped is counted.

    Exit code: 0 all wanted, 1 fewer (the reasons on stderr), 2 wrong usage.
    """
    from scoregen.errors import require
    from scoregen.files import spared
    from scoregen.molecules.conformers import ConformerGenerator
    from scoregen.molecules.design.assess import AssessSettings
    from scoregen.molecules.design.criteria import check_descriptor, parse_criterion
    from scoregen.molecules.design.generator import CandidateGenerator
    from scoregen.molecules.design.novelty import hashes_of_file
    from scoregen.molecules.design.pipeline import outputs, run_design
    from scoregen.molecules.design.request import Request, competing
    from scoregen.molecules.design.targets import parse_atoms
    from scoregen.molecules.records import SdfWriter

    from .ui import emit, pick_device, progress

    # What is asked for is read first: a slip shows at once, not after the model has loaded.
    SdfWriter(out)  # refuses a wrong suffix
    require(
        [
            (guidance is None or bool(wanted), "--guidance weighs properties: give --property with it"),
            (strength is None or similar is not None, "--strength is of variations: give --similar with it"),
        ]
    )
    read = (known, scaffold, link, similar, resemble, (score or "").rpartition(":")[0])
    spared(outputs(out), [source for source in read if source])
    order = None
    if rank is not None:
        check_descriptor(rank.partition(":")[0])
        order = parse_criterion(rank)
    parts = _read(wanted or [], filters or [], scaffold, link, similar, score, resemble)
    parts |= {"n": n, "seed": seed, "tries": tries, "selection": competing(particles)}
    said = {"steps": steps, "guidance": guidance, "strength": strength}
    parts |= {name: value for name, value in said.items() if value is not None}
    request = Request(**parts)
    settings = AssessSettings(
        known=None if known is None else hashes_of_file(known),
        pose="mol_fast" if pose else None,
        strain=strain,
    )
    settings.check()
    generator = CandidateGenerator.from_pretrained(model, pick_device(device))
    if atoms is not None:
        request = replace(request, atoms=parse_atoms(atoms, generator.limits))
    conformers = ConformerGenerator.from_pretrained(conformer_model, pick_device(device))
    with progress("candidates") as on_done:
        summary = run_design(
            request, out, generator, conformers, settings=settings, rank=order, on_done=on_done
        )
    files: dict[str, Any] = {}
    if page and summary.written:
        from scoregen.report.gallery import gallery

        _, table, target = outputs(out)
        title = f"{summary.written} candidates"
        lead = f"{title} drawn by {Path(generator.name).name}, seed {seed}."
        gallery(
            out,
            table,
            target,
            title=title,
            lead=lead,
            scaffold=request.scaffold,
            targets=request.targets,
        )
        files["page"] = str(target)
    _tell_losses(summary)
    emit(as_json, {**summary.as_dict(), **files}, _line(summary))
    raise typer.Exit(0 if summary.written == n else 1)


def _read(
    wanted: list[str],
    filters: list[str],
    scaffold: str | None,
    link: Path | None,
    similar: str | None,
    score: str | None,
    resemble: str | None,
) -> dict[str, Any]:
    """The parts of a request that need no model."""
    from scoregen.errors import InputError
    from scoregen.molecules.design.filters import parse_filter
    from scoregen.molecules.design.fragments import read_link, read_scaffold
    from scoregen.molecules.design.overlay import read_shape
    from scoregen.molecules.design.scores import read_score
    from scoregen.molecules.design.shaping import read_seed
    from scoregen.molecules.design.targets import check_targets, parse_target

    if scaffold is not None and link is not None:
        raise InputError("--scaffold and --link exclude each other: a link is a scaffold of two pieces")
    kept = None
    if scaffold is not None:
        kept = read_scaffold(scaffold)
    elif link is not None:
        kept = read_link(link)
    return {
        "targets": check_targets([parse_target(text) for text in wanted]),
        "filters": tuple(parse_filter(text) for text in filters),
        "scaffold": kept,
        "similar": None if similar is None else read_seed(similar),
        "shape": None if resemble is None else read_shape(resemble),
        "score": None if score is None else read_score(score),
    }


def _tell_losses(summary: Summary) -> None:
    """On stderr, what was drawn and dropped."""
    draws = summary.draws
    lines = [f"{draws['drawn']} drawn, {draws['validity']:.1%} valid"] if draws.get("drawn") else []
    for name in ("invalid", "filtered"):
        if reasons := draws.get(name):
            lines.append(f"{name}: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items()))
    for name, said in (("duplicates", "duplicates"), ("lost", "did not keep the scaffold")):
        if count := draws.get(name):
            lines.append(f"{said}: {count}")
    if summary.unscored:
        lines.append(f"the score failed on {summary.unscored} of {summary.written}")
    lines += [f"no shape: {reason} ({count})" for reason, count in summary.shapeless.items()]
    for line in lines:
        typer.echo(f"note: {line}", err=True)


def _line(summary: Summary) -> str:
    hits = "".join(f", {target} met by {share:.0%}" for target, share in summary.hits.items())
    fewer = "" if summary.written == summary.wanted else f" of {summary.wanted} wanted"
    where = f"→ {summary.output}" if summary.written else "; nothing was written"
    return f"{summary.written} candidates{fewer} in {summary.seconds:.1f} s{hits} {where}"
