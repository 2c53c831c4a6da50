"""Our vocoders beside Griffin-Lim and other packages: every question in one run, one JSON.

    python benchmarks/vocoder.py --data PACKS/speech --models vocoder-fast-22k wavegrad-22k --json out.json
    python benchmarks/vocoder.py --cache cache/audio --sections quality --clips 2 --set quality.steps=1,6

Sections: quality (clips never trained on, through their mel and back: PESQ-WB, STOI, MR-STFT, log-mel, MCD,
F0 and voicing, by speaker), phases (what the estimate owes to each of its parts), speed (one call beside the
networks of lmnt's wavegrad and of vocos, whole syntheses, memory by length; the bench extra), streaming
(pieces against the whole, lengths), restore (gaps, band limit, noise), badinput (files that people really
have, through the command line). All on one thread, section speed apart.

Clips come from a prepared cache (its dev and unseen splits) or from folders of recordings, one a speaker, by
the rule that 'scoregen prepare audio' splits by; speakers that the models' cards name as held out, and those
of --unseen, count as unseen with all their clips.

Each section is written to the JSON when it is done; with --resume one that stands there with the same
settings, weights, data and code is not run again, and the others in the file stay. --resume-any takes those
of other code too. With --store the scores of every method and clip are kept, so that a stopped run goes on.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy read it

import argparse
import sys
from pathlib import Path

import torch
from suite.options import overrides, planned, updated
from suite.runner import Keeping, run_sections
from vocoder_suite.options import Options
from vocoder_suite.registry import REGISTRY
from vocoder_suite.workbench import Workbench

from scoregen.errors import ScoregenError

HOUR = 60.0


def main() -> None:
    """Run the sections asked for; a section that cannot run is reported and the others go on."""
    args = _arguments()
    torch.set_num_threads(1)
    try:
        bench = Workbench(
            args.models,
            cache=args.cache,
            data=args.data,
            unseen=args.unseen,
            everything=args.everything,
            store=args.store,
        )
        plan = _plan(args)
        fingerprint = bench.fingerprint
    except ScoregenError as error:
        sys.exit(f"error: {error}")
    keeping = Keeping(args.json, args.resume, args.resume_any)
    sys.exit(1 if run_sections("vocoder", REGISTRY, plan, bench, fingerprint, keeping) else 0)


def _plan(args: argparse.Namespace) -> dict[str, Options]:
    """Options of each section asked for: its defaults, the flags given, then --set."""
    flags = {key: getattr(args, key) for key in ("clips", "seconds", "seed")}
    special = overrides(args.set, list(REGISTRY), Options)
    plan = planned(REGISTRY, args.sections, flags, special)
    if args.hour and "speed" in plan:
        plan["speed"] = updated(plan["speed"], {"minutes": (*plan["speed"].minutes, HOUR)})
    return plan


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, nargs="+", default=[Path("data/speech")], help="folders, one a speaker inside")
    add("--cache", type=Path, help="prepared cache, instead of --data")
    add("--models", nargs="+", default=["vocoder-fast-22k"], help="shipped names or model folders")
    add("--sections", nargs="+", choices=list(REGISTRY), default=list(REGISTRY), help="default: all")
    add("--clips", type=int, help="clips of each speaker, the first; 0 for all (default: the section's)")
    add("--seconds", type=float, help="longer clips are cut (default: the section's)")
    add("--unseen", nargs="+", default=[], help="speakers (folders of --data) that no model was trained on")
    add("--everything", action="store_true", help="use clips that were trained on too; for trials only")
    add("--hour", action="store_true", help="section speed: also the memory of an hour of sound")
    add("--set", nargs="+", default=[], metavar="SECTION.OPTION=VALUE", help="one option of one section")
    add("--seed", type=int, help="of every random choice (default 0)")
    add("--json", type=Path, help="write results here")
    add("--store", type=Path, help="keep scores here: a stopped run goes on clip by clip")
    add("--resume", action="store_true", help="keep the sections of --json that are done")
    add("--resume-any", action="store_true", help="as --resume, even where the code has changed since")
    return parser.parse_args()


if __name__ == "__main__":
    main()
