"""The cost of a solver step without the network: ours and the other libraries' on one state, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .problem import karras

SHAPE, STEPS = (64, 24_000), 20

# Like with like: what each library calls the rule.
RULES: dict[str, dict[str, str]] = {
    "Euler": {"scoregen": "ddim", "diffusers": "Euler", "k-diffusion": "euler", "azula": "DDIM"},
    "Heun": {"scoregen": "heun", "diffusers": "Heun", "k-diffusion": "heun", "azula": "Heun"},
    "DPM-Solver++ 2M": {
        "scoregen": "dpmpp-2m",
        "diffusers": "DPMSolverMultistep dpmsolver++ 2 midpoint",
        "k-diffusion": "dpmpp_2m",
        "azula": "xEAB order 2",
    },
    # The paper's UniPC-3 is of order 4.
    "UniPC 3": {"scoregen": "unipc-4", "diffusers": "UniPC order 3 bh2"},
    "Adams-Bashforth 4": {
        "scoregen": "ipndm-4",
        "diffusers": "iPNDM",
        "k-diffusion": "lms order 4",
        "azula": "zAB order 4",
    },
}


class Stored:
    """A network that costs nothing: its output is a stored tensor."""

    def __init__(self, raw: Tensor):
        self.raw = raw

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.raw


def step_costs(libraries: dict[str, dict[str, Any]], repeats: int = 5) -> list[dict[str, Any]]:
    """Milliseconds for one step of each rule, the median of interleaved runs, and the ratio to ours.

    The network is a stored tensor, so the time is that of the sampler (and of its making: coefficients too).
    """
    generator = torch.Generator().manual_seed(0)
    start = 80 * torch.randn(SHAPE, generator=generator)
    estimate = torch.randn(SHAPE, generator=generator)
    sigmas = karras(STEPS)
    rows = []
    for rule, names in RULES.items():
        runs: dict[str, Callable[[], Any]] = {}
        for library, name in names.items():
            if name in libraries.get(library, {}):
                sampler = libraries[library][name]
                levels = sigmas if library in ("scoregen", "diffusers") else sigmas.float()
                runs[library] = partial(sampler, Stored(estimate), start, levels)
        seconds: dict[str, list[float]] = {library: [] for library in runs}
        for repeat in range(repeats + 1):
            for library, run in runs.items():
                begun = time.perf_counter()
                end: Tensor = run()
                elapsed = time.perf_counter() - begun
                assert end.shape == start.shape
                if repeat:  # The first run warms up.
                    seconds[library].append(elapsed)
        medians = {library: statistics.median(times) / STEPS * 1e3 for library, times in seconds.items()}
        for library, milliseconds in medians.items():
            ratio = milliseconds / medians["scoregen"] if "scoregen" in medians else None
            name = f"{rule}: {names[library]}"
            rows.append({"library": library, "sampler": name, "milliseconds": milliseconds, "ratio": ratio})
    return rows
