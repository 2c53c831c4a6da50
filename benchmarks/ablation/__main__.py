"""Ablation of the conformer network on fixed budgets; docs/ablation.md says what is compared and how.

    python -m benchmarks.ablation run --cache CACHE --out FOLDER        # all arms; finished ones are skipped
    python -m benchmarks.ablation run --cache CACHE --out FOLDER --arms baseline e3nn-l2
    python -m benchmarks.ablation table --out FOLDER [--write-docs]

Run from the root of the repository. The cache is that of ``scoregen prepare molecules``. An arm takes about
six minutes of one core at the default budget.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import write_json
from scoregen.errors import InputError, ScoregenError
from scoregen.training.loop import flushed_denormals

from .arms import ARMS
from .recipe import Task
from .scoring import CALLS, held_out_errors, read_references, sampled_scores
from .speed import SPEED, run_speed
from .table import path, read_results, show, write_docs
from .training import train_arm

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ablation.md"
SOURCE = "qm9_xtb_ensembles"


def main(arguments: list[str] | None = None) -> None:
    """Run arms, or show what is finished."""
    args = _arguments(arguments)
    try:
        args.command(args)
    except ScoregenError as error:
        sys.exit(f"error: {error}")


@flushed_denormals()
def run(args: argparse.Namespace) -> None:
    """Train and score every arm asked for that is not finished."""
    torch.set_num_threads(1)
    for name in args.arms or [*ARMS, *SPEED]:
        if path(args.out, name).exists():
            _say(f"{name}: finished before\n")
            continue
        began = time.process_time()
        try:
            (run_arm if name in ARMS else run_way)(name, args)
        except FloatingPointError as error:
            _say(f"{name}: {error}\n")
            continue
        _say(f"{name}: done in {time.process_time() - began:.0f} CPU seconds\n")
    show(read_results(args.out))


def run_arm(name: str, args: argparse.Namespace) -> None:
    """Train, score and write one arm."""
    arm = ARMS[name]
    task = Task(
        args.cache,
        arm.seed,
        arm.recipe.copies,
        pairs=args.pairs,
        sources=_sources(args),
        dev_batches=args.held_out,
    )
    references = read_references(task.cache, args.source, args.molecules)
    if not references:
        raise InputError(f"{args.cache}: no held-out molecule of '{args.source}'")
    model, facts = train_arm(arm, task, args.budget, partial(_note, name), args.trials)
    scores = {"errors": held_out_errors(model, task), "sampled": sampled_scores(model, references)}
    write_json(path(args.out, name), {"arm": name, "settings": _settings(args), **facts, **scores})


def run_way(name: str, args: argparse.Namespace) -> None:
    """Time and write one way to run the baseline."""
    task = Task(args.cache, 0, pairs=args.pairs, sources=_sources(args))
    result = run_speed(SPEED[name], task, args.speed_steps, args.warm_up)
    write_json(path(args.out, name), {"arm": name, "settings": _settings(args), **result})


def table(args: argparse.Namespace) -> None:
    """Show what is finished, and write it into the page."""
    results = read_results(args.out)
    show(results)
    if args.write_docs:
        write_docs(args.page, results)


def _settings(args: argparse.Namespace) -> dict[str, object]:
    chosen = {key: getattr(args, key) for key in ("budget", "pairs", "molecules", "source", "sources")}
    return {**chosen, "calls": CALLS}


def _sources(args: argparse.Namespace) -> dict[str, float]:
    shares = (text.split("=") for text in args.sources)
    return {name: float(share) for name, share in shares}


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    doing = commands.add_parser("run", help="train and score arms")
    doing.set_defaults(command=run)
    doing.add_argument("--cache", type=Path, required=True)
    doing.add_argument("--arms", nargs="+", choices=[*ARMS, *SPEED], metavar="ARM", help="default: all")
    doing.add_argument("--budget", type=int, default=2800, help="in baseline steps (default 2800)")
    doing.add_argument("--pairs", type=int, default=6000, help="atom pairs of a batch (default 6000)")
    doing.add_argument("--molecules", type=int, default=53, help="drawn molecules (default 53)")
    doing.add_argument("--source", default=SOURCE, help="of the drawn molecules")
    doing.add_argument(
        "--sources",
        nargs="+",
        default=["qm9_dft=0.4", "qm9_xtb_ensembles=0.3", "cascade_dft=0.2", "pdb_ligands=0.1"],
        help="shares of the training records, NAME=SHARE",
    )
    doing.add_argument("--held-out", type=int, default=24, help="batches for the errors by noise level")
    doing.add_argument("--trials", type=int, default=40, help="steps by which an arm's cost is measured")
    doing.add_argument("--speed-steps", type=int, default=100)
    doing.add_argument("--warm-up", type=int, default=30, help="untimed steps of the speed arms")
    showing = commands.add_parser("table", help="show what is finished")
    showing.set_defaults(command=table)
    showing.add_argument("--write-docs", action="store_true", help="fill the tables of docs/ablation.md")
    showing.add_argument("--page", type=Path, default=PAGE, help=argparse.SUPPRESS)
    for command in (doing, showing):
        command.add_argument("--out", type=Path, required=True, help="folder of the results")
    return parser.parse_args(arguments)


def _note(name: str, text: str) -> None:
    _say(f"{name}: {text}" + ("" if sys.stderr.isatty() else "\n"))


def _say(text: str) -> None:
    sys.stderr.write(f"\r\033[K{text}" if sys.stderr.isatty() else text)
    sys.stderr.flush()


if __name__ == "__main__":
    main()
