"""How accurate are the solvers for a number of network calls, and what does one of their steps cost?

The exact score of a Gaussian mixture (5 components of standard deviation 0.5, d = 8, means from N(0, 4²) by a
seed), σ from 80 to 0.002, float64. All samplers start from the same states; the figure is the RMSE of their
end points against scipy's DOP853 at a tolerance of 1e-10. Calls of the network are counted, not steps: each
sampler takes as many steps as fit into the calls allowed. Grids:

* ``karras``: K + 1 levels from 80 to 0.002, ρ = 7;
* ``karras, 0``: K levels and a last step to σ = 0, which is how k-diffusion and diffusers make theirs;
* ``calibrated``: from ``scoregen.core.calibration`` on other noise (``--calibration-seed``), for our solvers.
  The other libraries have nothing of the kind; what their best sampler does on our grids is shown too
  (``ours, picked on test``: there the sampler is the one that did best on the test, for every library).

A sample that ends in another component than the exact flow does is off by about 10, so the figures of many
calls hang on single samples; ``--json`` has the median and the number of such samples too.

    pip install 'scoregen[bench]' && make bench-setup
    python benchmarks/core.py --json core.json
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import print_table, write_json
from peers import LIBRARIES, Sampler, ours
from peers.problem import SIGMA_MAX, Counted, Mixture, karras, rmse
from peers.step_cost import step_costs
from torch import Tensor

from scoregen.core import DenseSpace, Grid, Noise
from scoregen.core.calibration import calibrate

NFE = (5, 10, 20, 50)
OURS = "scoregen"
FIELD = {5: 0.567, 10: 0.251, 20: 0.107, 50: 0.004}  # Best figures of the field notes, for another mixture.
GRIDS: dict[str, Callable[[int], Tensor]] = {"karras": karras, "karras, 0": partial(karras, to_zero=True)}

SCOPES = {
    "fixed grids": list(GRIDS),
    "calibrated": ["calibrated"],
    "ours, picked on test": ["ours, picked on test"],
}

Row = dict[str, Any]


def main() -> None:
    """Run the benchmark."""
    args = _arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    mixture = Mixture.draw(args.problem_seed)
    start = starts(args.seed, args.samples)
    exact = {"karras": mixture.flow(start), "karras, 0": mixture.flow(start, 1e-7)}
    libraries = available(mixture)
    rows = [
        measure(mixture, start, exact[grid], library, name, sampler, grid, args.nfe)
        for grid in GRIDS
        for library, samplers in libraries.items()
        for name, sampler in samplers.items()
    ]
    if args.budget:
        rows += calibrated(mixture, start, exact["karras"], libraries, args)
    report(rows)
    costs = step_costs(libraries) if not args.no_cost else []
    if costs:
        columns = ["library", "sampler", "ms/step", "ratio"]
        table = [[c["library"], c["sampler"], c["milliseconds"], c["ratio"]] for c in costs]
        print_table("One step without the network, state (64, 24000) float32; ratio to ours", columns, table)
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        payload = {"settings": settings, "rows": rows, "best": best(rows), "step_cost": costs}
        write_json(args.json, {"benchmark": "core", **payload})


def starts(seed: int, samples: int) -> Tensor:
    """States at σ = 80, ``(samples, 8)``."""
    space = DenseSpace((samples, 8), dtype=torch.float64)
    return SIGMA_MAX * Noise(seed, torch.arange(samples)).normal(space, -1)


def available(mixture: Mixture) -> dict[str, dict[str, Sampler]]:
    """The samplers of every library that is installed, ours first."""
    found: dict[str, dict[str, Sampler]] = {OURS: ours.samplers(mixture.sigma_data)}
    for name, samplers in LIBRARIES.items():
        try:
            found[name] = samplers()
        except ImportError as error:
            print(f"note: {name} left out: {error} (see make bench-setup)", file=sys.stderr)
    return found


def measure(
    mixture: Mixture,
    start: Tensor,
    exact: Tensor,
    library: str,
    name: str,
    sampler: Sampler,
    grid: str,
    nfes: Sequence[int],
) -> Row:
    """One row: the figures of a sampler at every number of calls."""
    row: Row = {"library": library, "sampler": name, "grid": grid, "results": {}}
    for nfe in nfes:
        steps = steps_for(mixture, start[:2], sampler, GRIDS[grid], nfe)
        if not steps:
            row["results"][nfe] = {"error": f"needs more than {nfe} calls for one step"}
            continue
        row["results"][nfe] = judge(mixture, start, exact, sampler, GRIDS[grid](steps))
    return row


def steps_for(
    mixture: Mixture, start: Tensor, sampler: Sampler, levels: Callable[[int], Tensor], nfe: int
) -> int:
    """The most steps whose calls, counted on few samples, are at most ``nfe``; 0 when there is none."""
    steps = nfe
    while steps > 0:
        counted = Counted(mixture.estimate)
        try:
            sampler(counted, start, levels(steps))
        except Exception:
            return steps  # What went wrong is told when the whole batch is judged.
        if counted.calls <= nfe:
            return steps
        # A rule of n calls a step: go near nfe / n at once.
        steps = min(steps - 1, steps * nfe // counted.calls + 1)
    return 0


def judge(mixture: Mixture, start: Tensor, exact: Tensor, sampler: Sampler, sigmas: Tensor) -> Row:
    """RMSE, median error of a sample, samples in another component, and calls; or what went wrong."""
    counted = Counted(mixture.estimate)
    try:
        with torch.no_grad():
            end = sampler(counted, start, sigmas)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    if not bool(torch.isfinite(end).all()):
        return {"error": "NaN or infinity" + (", as it takes log σ at σ = 0" if sigmas[-1] == 0 else "")}
    each = (end - exact).square().mean(1).sqrt()
    moved = int((mixture.nearest(end) != mixture.nearest(exact)).sum())
    return {
        "rmse": rmse(end, exact),
        "median": float(each.median()),
        "other_component": moved,
        "calls": counted.calls,
        "steps": len(sigmas) - 1,
    }


def calibrated(
    mixture: Mixture,
    start: Tensor,
    exact: Tensor,
    libraries: dict[str, dict[str, Sampler]],
    args: argparse.Namespace,
) -> list[Row]:
    """A calibrated grid of ours for each number of calls, and every sampler of the others on it."""
    space = DenseSpace((args.calibration_samples, start.shape[1]), dtype=torch.float64)
    noise = Noise(args.calibration_seed, torch.arange(args.calibration_samples))
    reference = mixture.flow(starts(args.calibration_seed, args.calibration_samples))
    own: Row = {"library": OURS, "sampler": "", "grid": "calibrated", "results": {}}
    rows: dict[str, Row] = {
        library: {"library": library, "sampler": "", "grid": "ours, picked on test", "results": {}}
        for library in libraries
    }
    for nfe in args.nfe:
        # Rules of one call a step: the others are far behind for so few calls.
        rules = {
            name: solver
            for name, solver in ours.solvers(mixture.sigma_data).items()
            if steps_for(mixture, start[:2], ours.sampler(solver), karras, nfe) == nfe
        }
        begun = time.perf_counter()
        found = calibrate(
            ours.denoiser(mixture.estimate),
            ours.SDE,
            space,
            solver=rules,
            grid=Grid(ours.SDE, karras(nfe)),
            noise=noise,
            reference=reference,
            budget=args.budget,
        )
        seconds = time.perf_counter() - begun
        sigmas = found.grid.times
        result = judge(mixture, start, exact, ours.sampler(rules[found.solver]), sigmas)
        spent = {"calibration_rmse": found.after, "calibration_calls": found.calls, "seconds": seconds}
        own["results"][nfe] = {
            **result,
            "sampler": found.solver,
            "sigmas": sigmas.tolist(),
            **spent,
        }
        print(f"calibrated {nfe} steps: {found.solver}, {seconds:.0f} s", file=sys.stderr)
        for library, samplers in libraries.items():
            results = [
                {**judge(mixture, start, exact, sampler, sigmas), "sampler": name}
                for name, sampler in samplers.items()
            ]
            fitting = [r for r in results if "rmse" in r and r["calls"] <= nfe]
            rows[library]["results"][nfe] = min(fitting, key=lambda r: r["rmse"])
    return [own, *rows.values()]


def best(rows: list[Row]) -> list[Row]:
    """The best figure of each library at each number of calls: on the fixed grids, and on any."""
    table = []
    for library in dict.fromkeys(row["library"] for row in rows):
        for scope, grids in SCOPES.items():
            own = [row for row in rows if row["library"] == library and row["grid"] in grids]
            entry: Row = {"library": library, "grids": scope, "results": {}}
            for nfe in rows[0]["results"]:
                results = [
                    {"sampler": row["sampler"], "grid": row["grid"], **row["results"][nfe]}
                    for row in own
                    if "rmse" in row["results"].get(nfe, {})
                ]
                if results:
                    entry["results"][nfe] = min(results, key=lambda r: r["rmse"])
            if entry["results"]:
                table.append(entry)
    return table


def report(rows: list[Row]) -> None:
    """Print every row, then the best of each library and the ratio of ours to the best of the others."""
    nfes = list(rows[0]["results"])
    columns = ["library", "sampler", "grid", *(f"NFE {nfe}" for nfe in nfes)]
    table = [
        [row["library"], row["sampler"], row["grid"], *(_cell(row, nfe) for nfe in nfes)]
        for row in rows
        if row["grid"] in GRIDS
    ]
    print_table("End-point RMSE; in brackets the calls made, where fewer than allowed", columns, table)
    failures = dict.fromkeys(
        f"{row['library']} {row['sampler']} ({row['grid']}): {result['error']}"
        for row in rows
        for result in row["results"].values()
        if "error" in result
    )
    print("\n".join(["Failures:", *failures, ""]) if failures else "No failures.\n")
    summary = best(rows)
    lines = []
    for entry in summary:
        cells = [f"{r['rmse']:.4f} {r['sampler']}" for r in entry["results"].values()]
        lines.append([entry["library"], entry["grids"], *cells])
    columns = ["best of", "grids", *(f"NFE {nfe}" for nfe in nfes)]
    for name, own, other in (
        ("ratio, fixed grids", "fixed grids", "fixed grids"),
        ("ratio, ours calibrated", "calibrated", "fixed grids"),
        ("ratio, all on our grids", "ours, picked on test", "ours, picked on test"),
    ):
        mine = [e["results"] for e in summary if e["library"] == OURS and e["grids"] == own]
        others = [e["results"] for e in summary if e["library"] != OURS and e["grids"] == other]
        if mine and others:
            ratios = [f"{_least(mine, nfe) / _least(others, nfe):.3f}" for nfe in nfes]
            lines.append([name, "ours / best other", *ratios])
    lines.append(
        ["field notes", "Karras, other mixture", *(f"{FIELD.get(nfe, math.nan):.3f}" for nfe in nfes)]
    )
    print_table("Best of each library", columns, lines)


def _least(results: list[Row], nfe: int) -> float:
    return min((r[nfe]["rmse"] for r in results if nfe in r), default=math.nan)


def _cell(row: Row, nfe: int) -> str:
    result = row["results"].get(nfe)
    if result is None:
        return "–"
    if "error" in result:
        return "failed"
    return f"{result['rmse']:.4f}" + (f" ({result['calls']})" if result["calls"] != nfe else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nfe", type=int, nargs="+", default=list(NFE), help="network calls allowed")
    parser.add_argument("--samples", type=int, default=4096, help="test samples")
    parser.add_argument("--seed", type=int, default=0, help="noise seed of the test samples")
    parser.add_argument("--problem-seed", type=int, default=0, help="seed of the mixture's means")
    parser.add_argument("--calibration-samples", type=int, default=8192)
    parser.add_argument("--calibration-seed", type=int, default=1, help="noise seed of the calibration")
    parser.add_argument("--budget", type=int, default=12_000, help="calls for a calibrated grid; 0: none")
    parser.add_argument("--no-cost", action="store_true", help="leave out the cost of a step")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    if args.seed == args.calibration_seed:
        parser.error("calibration and test must not share a seed")
    return args


if __name__ == "__main__":
    main()
