"""Training an arm on its budget.

The budget is the CPU time of a number of *baseline steps*. An arm's cost is measured as a ratio, its steps in
turn with the baseline's on the same batches, and its number of steps is the budget over that ratio. On a
shared machine, whose speed drifts by tens of per cent within minutes, CPU seconds alone would give arms
different budgets.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from scoregen.core.ema import EMA

from .arms import BASE, Arm
from .recipe import Model, Task, fresh

WARM_UP, DECAY, RATE, BETAS, CLIP, AVERAGE = 100, 0.5, 1.5e-3, (0.9, 0.99), 1.0, 0.995

Progress = Callable[[str], None]


class Stepper:
    """A model with its optimiser and average; ``step`` loads a batch and learns from it."""

    def __init__(self, model: Model, task: Task, seed: int):
        self.model, self.task, self.seed = model, task, seed
        self.optimizer = torch.optim.AdamW(model.denoiser.parameters(), RATE, BETAS, weight_decay=0.0)
        self.average = EMA(model.denoiser, AVERAGE)

    def step(self, step: int, rate: float = RATE) -> float:
        """One training step on the batch of that number; its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.model.loss(self.task.batch(step), self.seed, step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {step}")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.denoiser.parameters(), CLIP)
        self.optimizer.step()
        self.average.update(self.model.denoiser)
        return value


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, constant, cosine to zero over the last half."""
    past = max(0.0, (step / steps - 1 + DECAY) / DECAY)
    return RATE * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * past))


def train_arm(
    arm: Arm, task: Task, budget: int, progress: Progress, trials: int = 40
) -> tuple[Model, dict[str, Any]]:
    """Train an arm.

    Args:
        arm: the arm.
        task: its batches.
        budget: CPU time of that many baseline steps.
        progress: told how far it is.
        trials: steps by which the cost is measured.

    Returns:
        The model with averaged weights, and facts about the training.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    ratio = 1.0 if arm.recipe == BASE else cost_ratio(arm, task, trials)
    steps = round(budget / ratio)
    stepper = Stepper(fresh(arm.recipe, task, arm.seed), task, arm.seed)
    losses, began = [], time.process_time()
    for step in range(steps):
        losses.append(stepper.step(step, learning_rate(step, steps)))
        if step % 100 == 99:
            progress(f"{step + 1}/{steps} steps, loss {statistics.fmean(losses[-100:]):.3f}")
    seconds = time.process_time() - began
    model = stepper.model
    model.denoiser.load_state_dict(stepper.average.shadow)
    model.denoiser.eval()
    return model, {
        "parameters": sum(p.numel() for p in model.denoiser.parameters()),
        "mflop_per_molecule": mflop(model, task),
        "sigma_data": model.sigma_data,
        "cost_ratio": ratio,
        "steps": steps,
        "cpu_seconds": seconds,
        "ms_per_step": 1e3 * seconds / steps,
        "train_loss": statistics.fmean(losses[-100:]),
    }


def cost_ratio(arm: Arm, task: Task, trials: int) -> float:
    """CPU time of a step of the arm over that of the baseline, loading included; steps taken in turn."""
    base = Task(task.data.cache, arm.seed, pairs=task.data.pairs, sources=task.data.sources)
    rivals = (
        Stepper(fresh(arm.recipe, task, arm.seed), task, arm.seed),
        Stepper(fresh(BASE, base, arm.seed), base, arm.seed),
    )
    spent: tuple[list[float], list[float]] = ([], [])
    for step in range(-6, trials):  # the first few compile and warm caches
        for rival, times in zip(rivals, spent, strict=True):
            began = time.process_time()
            rival.step(abs(step))
            if step >= 0:
                times.append(time.process_time() - began)
    # Batches differ in size, so the ratio of sums; the dearest tenth are interruptions.
    kept = sorted(range(trials), key=lambda k: spent[0][k] + spent[1][k])[: math.ceil(0.9 * trials)]
    return sum(spent[0][k] for k in kept) / sum(spent[1][k] for k in kept)


@torch.no_grad()
def mflop(model: Model, task: Task) -> float:
    """Millions of floating-point operations of matrix products of one call, per molecule of a batch."""
    batch = task.batch(0)
    graphs = model.recipe.see(batch.graphs)
    with FlopCounterMode(display=False) as counter:
        model.denoiser(graphs.pos, torch.tensor(model.process.sde.t_max / 2), graphs.space(), graphs)
    return float(counter.get_total_flops() / graphs.size / 1e6)
