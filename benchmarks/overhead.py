"""What does the sampler cost beside the network? Whole runs against bare network calls.

A batch of real molecules (the samples in ``data/``) goes through a shipped conformer model: ``sample`` with
the default solver and 20 steps, from the keyed noise to the last check, against 20 calls of the bare network
on the very inputs that it got in such a run. The two alternate. Two figures:

* ``within``: time of a run over the time spent inside the network in that same run, median over the runs.
  Nothing but the sampler's own work is in it, and the drift of a shared machine is not.
* ``apart``: time of a run over that of the bare calls, which run right after it; the same quantity, with the
  machine's noise from one run to the next (some per cent on a virtual machine).

    python benchmarks/overhead.py --json overhead.json
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import print_table, write_json
from torch import Tensor

from scoregen.core import Noise, karras_grid, sample
from scoregen.core.denoiser import Denoiser
from scoregen.core.solvers import solver_by_name
from scoregen.errors import ScoregenError
from scoregen.hub import from_pretrained
from scoregen.molecules.features import featurise
from scoregen.molecules.graph import Graphs, collate, molecule_data
from scoregen.molecules.inputs import read_inputs
from scoregen.molecules.sampler import Schedule, SelfConditioned

DATA = Path(__file__).resolve().parents[1] / "data" / "molecules"
SOURCES = ("qm9_xtb_sample.sdf", "drugs.smi", "cascade_dft_sample.sdf", "pdb_ligands_sample.sdf")


def main() -> None:
    """Run the benchmark."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    try:
        model = from_pretrained(args.model, "molecules", args.device)
        graphs = batch(args.batch).to(args.device)
    except ScoregenError as error:
        sys.exit(f"error: {error}")
    denoiser = model.denoiser.eval()
    run = sampling(denoiser, graphs, args.steps)
    calls = recorded(denoiser, run)

    @torch.no_grad()
    def bare() -> None:
        for inputs in calls:
            denoiser.network(*inputs)

    seconds = alternate(denoiser.network, {"sample": run, "network": bare}, args.repeats, args.device)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    row = {
        "model": model.name,
        "molecules": graphs.size,
        "atoms": len(graphs.index),
        "steps": args.steps,
        "network_calls": len(calls),
        "sample_seconds": medians["sample"],
        "network_seconds": medians["network"],
        "within": _ratio(seconds["sample"], seconds["inside"]),
        "apart": _ratio(seconds["sample"], seconds["network"]),
    }
    print_table(
        f"Sampler overhead at {args.steps} steps, median of {args.repeats} runs",
        ["model", "molecules", "atoms", "sample, s", f"{len(calls)} network calls, s", "within", "apart"],
        [[model.name, graphs.size, len(graphs.index), *(f"{row[k]:.4f}" for k in list(row)[5:])]],
    )
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        write_json(
            args.json, {"benchmark": "overhead", "settings": settings, "rows": [row], "seconds": seconds}
        )


def batch(size: int) -> Graphs:
    """The first ``size`` molecules of the shipped samples, in turns where there are too few of them."""
    entries = read_inputs([str(DATA / name) for name in SOURCES])
    found = list(itertools.islice((e.mol for e in entries if e.mol is not None), size))
    mols = itertools.islice(itertools.cycle(found), size)
    return collate([molecule_data(featurise(mol)) for mol in mols])


def sampling(denoiser: Denoiser, graphs: Graphs, steps: int) -> Callable[[], Tensor]:
    """One whole run as the conformer sampler makes it, grid and solver included."""
    schedule = Schedule(steps, denoiser.sde.t_max)
    noise = Noise(0, torch.arange(graphs.size, device=graphs.index.device))

    def run() -> Tensor:
        return sample(
            SelfConditioned(denoiser, graphs),
            denoiser.sde,
            graphs.space(),
            solver=solver_by_name(schedule.solver),
            grid=karras_grid(denoiser.sde, schedule.steps, sigma_max=schedule.sigma),
            noise=noise,
        )

    return run


def recorded(denoiser: Denoiser, run: Callable[[], Tensor]) -> list[tuple[Any, ...]]:
    """What the network is given in one run."""
    calls: list[tuple[Any, ...]] = []
    handle = denoiser.network.register_forward_pre_hook(lambda module, inputs: calls.append(inputs))
    try:
        run()
    finally:
        handle.remove()
    return calls


def alternate(
    network: torch.nn.Module, runs: dict[str, Callable[[], Any]], repeats: int, device: str
) -> dict[str, list[float]]:
    """Seconds of each run, one after the other in turns, and those ``inside`` the network in the first one.

    A first turn warms up and is not counted.
    """

    def now() -> float:
        if device != "cpu":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    marks: list[float] = []
    handles = [
        network.register_forward_pre_hook(lambda module, inputs: marks.append(now())),
        network.register_forward_hook(lambda module, inputs, output: marks.append(now())),
    ]
    seconds: dict[str, list[float]] = {name: [] for name in (*runs, "inside")}
    for repeat in range(repeats + 1):
        for number, (name, run) in enumerate(runs.items()):
            marks.clear()
            begun = now()
            run()
            spent = now() - begun
            if repeat:
                seconds[name].append(spent)
                if number == 0:
                    seconds["inside"].append(sum(marks[1::2]) - sum(marks[::2]))
    for handle in handles:
        handle.remove()
    return seconds


def _ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios of what belongs together."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="conformer-small")
    parser.add_argument("--batch", type=int, default=64, help="molecules in the batch")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
