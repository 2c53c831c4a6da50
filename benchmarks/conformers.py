"""Conformers of the model beside ETKDGv3 and ETKDGv3 + MMFF94s: every question in one run, one JSON.

    python benchmarks/conformers.py --data PACK_FOLDER --model conformer-small --json out.json
    python benchmarks/conformers.py --sections qm9 pdb --split dev --limit 20 --set pdb.count=10

Sections: qm9 (GFN2-xTB ensembles), druglike (DFT ensembles), pdb (protein-bound poses), geometry (against
DFT, with strain), stereo (1,000 SMILES through the pipeline), steps (network calls by solver), speed (and
memory), likelihood (against energies). The input of every method is a SMILES, never coordinates; every method
makes the same number of conformers, on one thread (section speed apart). The folder holds the packs of
data/README.md.

Each section is written to the JSON when it is done; with --resume one that stands there with the same
settings, weights, data and code is not run again, and the others in the file stay. --resume-any takes those
of other code too. With --store the conformers of each method and molecule (sections qm9, druglike, pdb and
geometry) are kept with the times they took, for runs with the same code, weights and settings; those of the
peers do not depend on weights.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy read it

import argparse
import sys
from pathlib import Path

from conformer_suite.options import Options
from conformer_suite.registry import REGISTRY
from conformer_suite.workbench import Workbench
from suite.options import overrides, planned
from suite.runner import Keeping, run_sections

from scoregen.errors import ScoregenError


def main() -> None:
    """Run the sections asked for; a section that cannot run is reported and the others go on."""
    args = _arguments()
    bench = Workbench(args.data, args.model, args.device, args.store)
    try:
        plan = _plan(args)
        fingerprint = bench.fingerprint
    except ScoregenError as error:
        sys.exit(f"error: {error}")
    keeping = Keeping(args.json, args.resume, args.resume_any)
    sys.exit(1 if run_sections("conformers", REGISTRY, plan, bench, fingerprint, keeping) else 0)


def _plan(args: argparse.Namespace) -> dict[str, Options]:
    """Options of each section asked for: its defaults, the flags given, then --set."""
    flags = {
        key: getattr(args, key) for key in ("split", "limit", "seed", "theory", "steps", "sigma", "solver")
    }
    flags.update(
        {key: tuple(v) for key in ("init", "relax", "draws") if (v := getattr(args, key)) is not None}
    )
    special = overrides(args.set, list(REGISTRY), Options)
    for section, key, value in (("pdb", "count", args.pdb_count), ("geometry", "strain", args.strain_limit)):
        if value is not None:
            special.setdefault(section, {}).setdefault(key, value)
    return planned(REGISTRY, args.sections, flags, special)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=Path(os.environ.get("SCOREGEN_DATA", "data/molecules")))
    add("--sections", nargs="+", choices=list(REGISTRY), default=list(REGISTRY), help="default: all")
    add("--model", default="conformer-small", help="name or folder; 'none' for the peers alone")
    add("--device", default="cpu", help="where the model runs: cpu (default) or cuda")
    add("--split", choices=["test", "dev"], help="test: reported; dev: for tuning (default: the section's)")
    add("--limit", type=int, help="molecules of each section, the first (default: the section's)")
    add("--init", nargs="+", choices=["noise", "etkdg", "mmff", "mix", "auto"], help="starts of the model")
    add("--relax", nargs="+", choices=["none", "mmff", "gfn2"], help="what follows the draws (default none)")
    add("--draws", nargs="+", type=float, help="draws per conformer; 0: its own; > 1 selects, peers too")
    add("--theory", help="geometry asked of the model: a level of theory, or 'reference' (default: its own)")
    add("--solver", help="integration rule of the model (default: its own)")
    add("--steps", type=int, help="network calls of the model (default: its own)")
    add("--sigma", type=float, help="starting noise from ETKDG (default: the model's)")
    add("--pdb-count", type=int, help="conformers of a ligand (default 50)")
    add("--strain-limit", type=int, help="molecules whose strain is computed (default 20; 0: none)")
    add("--set", nargs="+", default=[], metavar="SECTION.OPTION=VALUE", help="one option of one section")
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write results here")
    add("--store", type=Path, help="keep the conformers here: a stopped run goes on molecule by molecule")
    add("--resume", action="store_true", help="keep the sections of --json that are done")
    add("--resume-any", action="store_true", help="as --resume, even where the code has changed since")
    return parser.parse_args()


if __name__ == "__main__":
    main()
