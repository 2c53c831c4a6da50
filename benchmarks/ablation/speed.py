"""bf16 autocast and torch.compile: what they cost or save a step on this machine, and what they change.

They train the baseline beside the baseline, in turn on the same batches from the same weights, so that the
drift of a shared machine touches both alike. No accuracy is scored: the losses are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from .arms import BASE
from .recipe import Model, Task, fresh
from .training import Stepper

Call = Callable[..., Any]


def _plain(call: Call) -> Call:
    return call


@dataclass(frozen=True)
class Speed:
    """A way to run the same network.

    Args:
        change: for the table.
        around: context of the forward pass.
        call: replaces the network's forward pass.
    """

    change: str
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    call: Callable[[Call], Call] = _plain


SPEED: dict[str, Speed] = {
    "bf16": Speed("bf16 autocast", around=lambda: torch.autocast("cpu", torch.bfloat16)),
    "compile": Speed("torch.compile, dynamic shapes", call=lambda call: torch.compile(call, dynamic=True)),
}


class SpeedStepper(Stepper):
    """A stepper whose network runs in another way."""

    def __init__(self, model: Model, task: Task, seed: int, speed: Speed):
        super().__init__(model, task, seed)
        self.around = speed.around
        network = model.denoiser.network
        network.forward = speed.call(network.forward)

    def step(self, step: int, rate: float = 5e-4) -> float:
        """One training step; its loss."""
        with self.around():
            return super().step(step, rate)


def run_speed(speed: Speed, task: Task, steps: int, warm_up: int) -> dict[str, Any]:
    """Train the baseline plainly and in another way, in turn.

    Args:
        speed: the other way.
        task: batches.
        steps: of each, after the warm-up.
        warm_up: steps that are not timed: compilation happens there.

    Returns:
        CPU milliseconds a step of both (medians) and their ratio, CPU seconds of the warm-up, the relative
        difference of the first losses (same weights) and of the mean of the last quarter of them.
    """
    ways = (Stepper(fresh(BASE, task, 0), task, 0), SpeedStepper(fresh(BASE, task, 0), task, 0, speed))
    spent: list[list[float]] = [[], []]
    losses: list[list[float]] = [[], []]
    for step in range(warm_up + steps):
        for way, times, values in zip(ways, spent, losses, strict=True):
            began = time.process_time()
            values.append(way.step(step, 5e-4))
            times.append(time.process_time() - began)
    plain, other = (statistics.median(times[warm_up:]) for times in spent)
    tail = max(1, steps // 4)
    last = [statistics.fmean(values[-tail:]) for values in losses]
    return {
        "ms_per_step_plain": 1e3 * plain,
        "ms_per_step": 1e3 * other,
        "cost_ratio": other / plain,
        "warm_up_seconds": sum(spent[1][:warm_up]),
        "steps": steps,
        "first_loss_difference": abs(losses[1][0] - losses[0][0]) / losses[0][0],
        "last_loss_difference": (last[1] - last[0]) / last[0],
    }
