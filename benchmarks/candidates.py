"""Candidate molecules: every question of the design models in one run, one JSON.

    python benchmarks/candidates.py --cache cache/qm9 cache/zinc --data ligands.sdf.gz --json out.json
    python benchmarks/candidates.py --models run/best --cache cache/qm9 --sections qm9 --set qm9.count=500

Sections: qm9 (draws of a model: strict validity, stability, uniqueness, novelty, distances to held-out
molecules beside those of training molecules, by network calls), druglike (the same with a 3D shape each:
PoseBusters, relaxation energy, QED, SA and alerts beside held-out molecules), steering (misses and hits of
what was asked for beside draws that were not asked), shape (likeness to posed molecules of --data), tasks
(scaffolds and links cut from held-out molecules; with --data posed ones), speed (seconds for a valid
molecule, memory, beside BRICS recombination), badinput (wishes that cannot be served, through the command
line).

A section runs on the models that have its name in theirs (steering, shape and tasks: druglike), else on all;
--set SECTION.models=LABEL,… says it otherwise. A cache belongs to the models that were trained on its
sources.

Each section is written to the JSON when it is done; with --resume one that stands there with the same
settings, weights, data and code is not run again, and the others in the file stay. --resume-any takes those
of other code too. With --store finished pieces are kept, so that a stopped run goes on.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy read it

import argparse
import sys
from pathlib import Path

import torch
from candidate_suite.options import Options
from candidate_suite.registry import REGISTRY
from candidate_suite.workbench import Workbench
from suite.options import overrides, planned
from suite.runner import Keeping, run_sections

from scoregen.errors import ScoregenError


def main() -> None:
    """Run the sections asked for; a section that cannot run is reported and the others go on."""
    args = _arguments()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        bench = Workbench(args.models, args.cache, args.data, args.conformers, args.device, args.store)
        plan = _plan(args)
        fingerprint = bench.fingerprint
    except ScoregenError as error:
        sys.exit(f"error: {error}")
    keeping = Keeping(args.json, args.resume, args.resume_any)
    sys.exit(1 if run_sections("candidates", REGISTRY, plan, bench, fingerprint, keeping) else 0)


def _plan(args: argparse.Namespace) -> dict[str, Options]:
    """Options of each section asked for: its defaults, the flags given, then --set."""
    flags = {key: getattr(args, key) for key in ("count", "steps", "seed")}
    special = overrides(args.set, list(REGISTRY), Options)
    return planned(REGISTRY, args.sections, flags, special)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--models", nargs="+", default=["design-qm9", "design-druglike"], help="shipped names or folders")
    add("--cache", type=Path, nargs="+", default=[], help="prepared caches that the models learned from")
    add(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        help="sections shape and tasks: SDF files of posed molecules",
    )
    add("--conformers", default="conformer-small", help="model that gives candidates their shape")
    add("--device", default="cpu", help="where models run: cpu (default) or cuda")
    add("--sections", nargs="+", choices=list(REGISTRY), default=list(REGISTRY), help="default: all")
    add("--count", type=int, help="draws (default: the section's)")
    add("--steps", type=int, help="network calls of a draw (default: the command's)")
    add("--set", nargs="+", default=[], metavar="SECTION.OPTION=VALUE", help="one option of one section")
    add("--seed", type=int, help="of every random choice (default 0)")
    add("--json", type=Path, help="write results here")
    add("--store", type=Path, help="keep finished pieces here: a stopped run goes on")
    add("--resume", action="store_true", help="keep the sections of --json that are done")
    add("--resume-any", action="store_true", help="as --resume, even where the code has changed since")
    return parser.parse_args()


if __name__ == "__main__":
    main()
