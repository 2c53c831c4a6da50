"""What ``scoregen evaluate candidates`` shows to people."""

from __future__ import annotations

from typing import Any


def candidates_table(result: dict[str, Any]) -> str:
    """Lines of a result of :func:`scoregen.molecules.design.evaluation.evaluate_candidates`."""
    from scoregen.molecules.design.descriptors import DESCRIPTORS
    from scoregen.molecules.design.distributions import UNITS

    reasons = ", ".join(f"{name} {count}" for name, count in result["invalid"].items())
    lines = [
        _line("molecules", str(result["molecules"])),
        _line("valid", _percent(result["validity"]), f"not: {reasons}" if reasons else ""),
        _line("stable atoms", _percent(result["atom_stability"])),
        _line("stable molecules", _percent(result["molecule_stability"])),
        _line("unique", _percent(result["uniqueness"]), "of the valid"),
        _line("new", _percent(result["novelty_to_file"]), f"not among {result['reference_molecules']} known"),
        _line("diversity", _number(result["diversity"]), "mean 1 − Tanimoto"),
        _line("Lipinski", _percent(result["lipinski"])),
        _line("Veber", _percent(result["veber"])),
        _line("PAINS alerts", _percent(result["pains_alerts"])),
        _line("Brenk alerts", _percent(result["brenk_alerts"])),
    ]
    if result["poses"]:
        failures = ", ".join(f"{name} {count}" for name, count in result["pose_failures"].items())
        note = f"of {result['poses']}" + (f"; not: {failures}" if failures else "")
        lines.append(_line("PoseBusters", _percent(result["pose_ok"]), note))
    if (strain := result["strain_kcal_mol"]) is not None:
        note = f"kcal/mol, median of {strain['count']}"
        lines.append(_line("strain", _number(strain["median"]), note))
    lines += ["", f"{'descriptor':<20}{'mean':>10}{'median':>10}"]
    for name in DESCRIPTORS:
        if (spread := result.get(name)) is not None:
            lines.append(f"{name:<20}{spread['mean']:>10.3f}{spread['median']:>10.3f}")
    lines += ["", f"{'distance':<20}{'to it':>10}{'within it':>10}"]
    within = result["distances_within_reference"] or {}
    for name, value in (result["distances"] or {}).items():
        lines.append(f"{name:<20}{_number(value):>10}{_number(within.get(name)):>10}  {UNITS[name]}")
    return "\n".join(lines)


def _line(title: str, value: str, note: str = "") -> str:
    return f"{title:<20}{value:>10}  {note}".rstrip()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
