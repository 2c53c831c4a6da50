"""The tables: on the terminal, and between two marks of docs/ablation.md."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import print_table
from scoregen.errors import InputError
from scoregen.files import atomic_path

from .arms import ARMS
from .scoring import BANDS
from .speed import SPEED

BEGIN, END = "<!-- ablation: begin (filled by --write-docs) -->", "<!-- ablation: end -->"
Result = Mapping[str, Any]
Rows = list[list[str]]


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Finished arms by name, in the order of the lists of arms."""
    names = [*ARMS, *SPEED]
    return {name: json.loads(path(folder, name).read_text()) for name in names if path(folder, name).exists()}


def path(folder: Path, name: str) -> Path:
    """Where an arm's result lies."""
    return folder / f"{name}.json"


ACCURACY = (
    "arm",
    "what differs",
    "k par.",
    "MFLOP",
    "cost",
    "steps",
    *(f"σ {low:g}–{high:g}" for low, high in BANDS),
    "AMR-R Å",
    "COV-R %",
    "AMR-P Å",
    "wrong %",
)
SPEEDS = ("arm", "way", "ms, plain", "ms", "cost", "warm-up s", "first loss", "last losses")


def accuracy_rows(results: Mapping[str, Result]) -> Rows:
    """One row for each finished arm; see :data:`ACCURACY`."""
    return [
        [
            name,
            ARMS[name].change,
            f"{result['parameters'] / 1e3:.0f}",
            f"{result['mflop_per_molecule']:.0f}",
            f"{result['cost_ratio']:.2f}",
            str(result["steps"]),
            *(f"{error:.3f}{'' if ARMS[name].comparable else ' †'}" for error in result["errors"]),
            *_sampled(result["sampled"]),
        ]
        for name, result in results.items()
        if name in ARMS
    ]


def speed_rows(results: Mapping[str, Result]) -> Rows:
    """One row for each finished speed arm; see :data:`SPEEDS`."""
    return [
        [
            name,
            SPEED[name].change,
            f"{result['ms_per_step_plain']:.0f}",
            f"{result['ms_per_step']:.0f}",
            f"{result['cost_ratio']:.2f}",
            f"{result['warm_up_seconds']:.0f}",
            f"{result['first_loss_difference']:.1e}",
            f"{100 * result['last_loss_difference']:+.1f} %",
        ]
        for name, result in results.items()
        if name in SPEED
    ]


def _sampled(sampled: Result) -> list[str]:
    if "error" in sampled:
        return ["diverged", "–", "–", "–"]
    wrong = sampled["wrong_stereo"]
    return [
        f"{sampled['amr_r']:.3f}",
        f"{100 * sampled['cov_r_0.5']:.1f}",
        f"{sampled['amr_p']:.3f}",
        "–" if wrong is None else f"{100 * wrong:.1f}",
    ]


def show(results: Mapping[str, Result]) -> None:
    """Print both tables; what each arm changes stands in the page."""
    print_table("Ablation: equal CPU budgets", _short(ACCURACY), list(map(_short, accuracy_rows(results))))
    if rows := speed_rows(results):
        print_table("Ways to run the baseline", SPEEDS, rows)


def _short(row: Sequence[str]) -> list[str]:
    return [row[0], *row[2:]]


def setting(results: Mapping[str, Result]) -> str:
    """One paragraph: budget and data of the finished arms, which must agree."""
    settings = [result["settings"] for name, result in results.items() if name in ARMS]
    if not settings:
        raise InputError("no arm is finished: run some before writing the page")
    if any(other != settings[0] for other in settings):
        raise InputError("the arms were run with different settings: give each setting its own folder")
    first = settings[0]
    seconds = [result["cpu_seconds"] for name, result in results.items() if name in ARMS]
    sampled = next(r["sampled"] for r in results.values() if "conformers" in r.get("sampled", {}))
    return (
        f"Budget: the CPU time of {first['budget']} baseline steps, {min(seconds):.0f} to {max(seconds):.0f} "
        f"s on one busy core, batches of {first['pairs']} atom pairs. "
        f"Drawn: {sampled['conformers']} conformers of {sampled['molecules']} held-out molecules, "
        f"{first['calls']} calls. {len(seconds)} of {len(ARMS)} arms are finished."
    )


def markdown(results: Mapping[str, Result]) -> str:
    """What stands between the marks."""
    parts = [setting(results), _markdown_table(ACCURACY, accuracy_rows(results))]
    if rows := speed_rows(results):
        parts.append(_markdown_table(SPEEDS, rows))
    return "\n\n".join(parts)


def write_docs(page: Path, results: Mapping[str, Result]) -> None:
    """Put the tables between the marks of a page.

    Raises:
        InputError: the page lacks the marks, or nothing is finished.
    """
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise InputError(f"{page}: needs the lines '{BEGIN}' and '{END}', once each")
    middle = f"{BEGIN}\n\n{markdown(results)}\n\n{END}"
    text = re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _: middle, text, flags=re.DOTALL)
    with atomic_path(page) as temporary:
        temporary.write_text(text)


def _markdown_table(columns: Sequence[str], rows: Rows) -> str:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(columns), rule, *rows])
