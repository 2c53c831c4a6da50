"""The main loop of a benchmark with sections: what is done is kept, what cannot run is reported."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from common import provenance, write_json

from scoregen.errors import ScoregenError

Bench = TypeVar("Bench")
Opts = TypeVar("Opts")


@dataclass(frozen=True)
class Section(Generic[Bench, Opts]):
    """One question of a benchmark.

    Args:
        defaults: its options, a dataclass.
        run: makes its result, JSON-able.
        show: prints it.
    """

    defaults: Opts
    run: Callable[[Bench, Opts], dict[str, Any]]
    show: Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Keeping:
    """Where results go and which of an earlier run stay.

    Args:
        path: JSON; None writes none.
        resume: keep sections with the same settings, weights, data and code.
        resume_any: also those of other code.
    """

    path: Path | None
    resume: bool = False
    resume_any: bool = False

    def finished(self) -> dict[str, Any]:
        """Sections of the earlier run that may stay."""
        if not (self.resume or self.resume_any) or self.path is None or not self.path.is_file():
            return {}
        sections = json.loads(self.path.read_text()).get("sections", {})
        return sections if isinstance(sections, dict) else {}


def run_sections(
    name: str,
    registry: Mapping[str, Section[Any, Any]],
    plan: Mapping[str, Any],
    bench: Any,
    fingerprint: Mapping[str, Any],
    keeping: Keeping,
) -> list[str]:
    """Run the sections of ``plan`` (section → options) and write each when it is done.

    Args:
        name: of the benchmark.
        registry: all sections, in order.
        plan: what to run.
        bench: handed to every section.
        fingerprint: code (key ``code``), data and weights that decide the figures.
        keeping: where results go.

    Returns:
        Sections that failed.
    """
    done, failed = keeping.finished(), []
    for section, options in plan.items():
        settings = json.loads(json.dumps({**fingerprint, **asdict(options)}), parse_constant=str)
        earlier = done.get(section, {}).get("settings", {})
        if {**earlier, "code": None} == {**settings, "code": None}:
            same_code = earlier.get("code") == settings["code"]
            if same_code or keeping.resume_any:
                progress(f"{section}: done before{'' if same_code else ', by other code'}\n")
                registry[section].show(done[section])
                continue
            progress(f"{section}: the code has changed, so again; --resume-any would keep what was done\n")
        start = time.perf_counter()
        try:
            result = registry[section].run(bench, options)
        except (ScoregenError, ModuleNotFoundError) as error:
            failed.append(section)
            print(f"error: section {section}: {error}", file=sys.stderr)
            continue
        registry[section].show(result)
        made = {key: value for key, value in provenance().items() if key in ("command", "time", "versions")}
        done[section] = {"settings": settings, **made, "wall_seconds": time.perf_counter() - start, **result}
        if keeping.path is not None:
            ordered = {key: done[key] for key in registry if key in done}
            write_json(keeping.path, {"benchmark": name, "sections": ordered})
    return failed


def progress(text: str) -> None:
    """A line on a terminal's standard error that the next one overwrites; elsewhere whole lines only."""
    if sys.stderr.isatty() or text.endswith("\n"):
        sys.stderr.write(f"\r\033[K{text}" if sys.stderr.isatty() else text)
        sys.stderr.flush()
