"""The one training loop, on Lightning Fabric, for every modality.

A batch and its noise are pure functions of (seed, step). With the optimiser, the average and the random
state in the checkpoint, a run killed at any time and resumed leaves the same log as one never disturbed.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from scoregen.core.denoiser import Denoiser
from scoregen.core.ema import EMA
from scoregen.errors import InputError, ScoregenError
from scoregen.hub import from_pretrained, save_pretrained
from scoregen.modality import Modality, Task

from . import checkpoint
from .config import RunConfig, TrainConfig
from .log import RunLog
from .previews import Previewing


class TrainingDiverged(ScoregenError, FloatingPointError):
    """The loss is not finite; the message names the step and the last good checkpoint."""


class Steps(Dataset[Any]):
    """The training batches of a task, indexed by step."""

    def __init__(self, task: Task, first: int, last: int):
        self.task, self.first, self.last = task, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, i: int) -> Any:
        return self.task.batch(self.first + i)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, constant, cosine decay to zero over the last ``decay`` of the steps."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    start = config.steps * (1 - config.decay)
    past = 0.0 if step < start else (step - start) / max(config.steps - start, 1)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(past, 1.0)))


def train(config: RunConfig, *, resume: bool = False, max_seconds: float = math.inf) -> Path:
    """Train a model; see :class:`~scoregen.training.config.RunConfig`.

    Args:
        config: the run.
        resume: go on from the newest checkpoint of ``config.run`` (from the start when there is none).
        max_seconds: stop with a checkpoint after this much wall time.

    Returns:
        The run's folder. ``best/`` in it is a model folder with the averaged weights.

    Raises:
        InputError: the configuration or the data does not fit, or the run exists and ``resume`` is off.
        TrainingDiverged: the loss became NaN or infinite.
    """
    started = time.monotonic()
    modality, model_config, data_config = config.resolve()
    run = config.run
    if not resume and (checkpoint.checkpoints(run) or (run / "log.jsonl").exists()):
        raise InputError(
            f"{run}: holds a run already; pass --resume to go on with it, or choose another folder"
        )
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    fabric = make_fabric(config.train)
    torch.manual_seed(config.seed)
    task = modality.task(model_config, data_config, config.seed)
    denoiser = modality.build(model_config)
    if config.init is not None:
        start_from(denoiser, config.init, modality.name)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(config.model_dump_json(indent=1) + "\n")
    trainer = Trainer(config, modality, model_config, task, denoiser, fabric)
    if resume:
        trainer.restore()
    with flushed_denormals():
        trainer.fit(started + max_seconds)
    return run


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below the normal ones count as 0 inside, on this thread: they slow CPUs down tenfold."""
    before = not bool(torch.tensor(1e-310, dtype=torch.float64) * 1.0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def start_from(denoiser: Denoiser, model: str, modality: str) -> None:
    """Take over the weights of a trained model; parts of ``denoiser`` that it lacks keep their fresh ones.

    A tensor that is larger here takes them into its leading corner and is 0 elsewhere, so that new inputs
    begin without a say (Chen et al., *Net2Net*, 2016).

    Raises:
        InputError: the model has parts that ``denoiser`` lacks, or larger ones.
    """
    weights = from_pretrained(model, modality).denoiser.state_dict()
    own = denoiser.state_dict()
    unfit = [key for key, value in weights.items() if key not in own or not fits(value, own[key])]
    if unfit:
        raise InputError(
            f"init: {model} does not fit the model section (first: {unfit[0]}); copy its model section"
        )
    denoiser.load_state_dict({key: cornered(value, own[key]) for key, value in weights.items()}, strict=False)


def fits(value: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether ``value`` is at most as large as ``own`` in every dimension."""
    return value.ndim == own.ndim and all(n <= most for n, most in zip(value.shape, own.shape, strict=True))


def cornered(value: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """``value`` in the leading corner of zeros shaped as ``own``."""
    if value.shape == own.shape:
        return value
    whole = torch.zeros_like(own)
    whole[tuple(slice(n) for n in value.shape)] = value
    return whole


def make_fabric(config: TrainConfig) -> Fabric:
    """Fabric on the device and precision of the configuration; CUDA with bf16 where there is one."""
    cuda = torch.cuda.is_available() if config.device == "auto" else config.device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise InputError("train.device is 'cuda' but PyTorch sees no CUDA device; set it to 'auto' or 'cpu'")
    precision = config.precision if config.precision != "auto" else ("bf16-mixed" if cuda else "32-true")
    return Fabric(accelerator="cuda" if cuda else "cpu", devices=1, precision=precision)


class Trainer:
    """The state of one run and the loop over its steps."""

    def __init__(
        self,
        config: RunConfig,
        modality: Modality,
        model_config: Any,
        task: Task,
        denoiser: Denoiser,
        fabric: Fabric,
    ):
        self.config, self.settings = config, config.train
        self.modality, self.model_config, self.task, self.fabric = modality, model_config, task, fabric
        optimizer = torch.optim.AdamW(
            denoiser.parameters(),
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )
        # The denoiser's arguments and results are frozen dataclasses, which Fabric's module wrapper would try
        # to copy; so only the optimiser is wrapped, and the module runs inside Fabric's autocast.
        self.denoiser: Denoiser = denoiser.to(fabric.device)
        self.optimizer: Any = fabric.setup_optimizers(optimizer)
        self.ema = EMA(self.denoiser, self.settings.ema)
        self.progress = checkpoint.Progress()

    def restore(self) -> None:
        """Load the newest checkpoint, if there is one."""
        found = checkpoint.checkpoints(self.config.run)
        if not found:
            return
        self.progress, weights, optimizer = checkpoint.load_checkpoint(
            found[-1], self.ema, self.fabric.device
        )
        self.denoiser.load_state_dict(weights)
        self.optimizer.load_state_dict(optimizer)

    def save(self) -> None:
        """Write a checkpoint of the present step."""
        checkpoint.save_checkpoint(
            self.config.run,
            self.progress,
            self.denoiser.state_dict(),
            self.ema,
            self.optimizer.state_dict(),
            self.settings.keep,
        )

    def fit(self, deadline: float = math.inf) -> None:
        """Run to the last step or the deadline (``time.monotonic`` seconds)."""
        settings, progress = self.settings, self.progress
        log = RunLog(self.config.run, progress.step)
        try:
            for batch in self._batches():
                values = self._step(batch.to(self.fabric.device))
                progress.step += 1
                stop = time.monotonic() > deadline or progress.step == settings.steps
                if progress.step % settings.log_every == 0:
                    log.write(progress.step, **values)
                    log.board(progress.step, steps_per_second=self._speed)
                if progress.step % settings.eval_every == 0 or progress.step == settings.steps:
                    self._evaluate(log)
                if progress.step % settings.checkpoint_every == 0 or stop:
                    log.sync()
                    self.save()
                if stop:
                    if not (self.config.run / "best").exists():
                        self._export(None)  # stopped before the first evaluation, or nothing is held out
                    break
        finally:
            log.close()

    def _step(self, batch: Any) -> dict[str, float]:
        step = self.progress.step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.settings)
        with self.fabric.autocast():
            values = self.task.loss(self.denoiser, batch, step)
        self._finite("loss", values["loss"])
        self.optimizer.zero_grad()
        self.fabric.backward(values["loss"])
        norm = self.fabric.clip_gradients(
            self.denoiser, self.optimizer, max_norm=self.settings.clip, error_if_nonfinite=False
        )
        assert norm is not None
        # Checked before the step: else weights of NaN could be saved as a good checkpoint.
        self._finite("gradient norm", norm)
        self.optimizer.step()
        self.ema.update(self.denoiser)
        return {name: float(value.detach()) for name, value in values.items()} | {
            "gradient_norm": float(norm)
        }

    def _finite(self, name: str, value: torch.Tensor) -> None:
        if bool(torch.isfinite(value)):
            return
        found = checkpoint.checkpoints(self.config.run)
        last = f"last good checkpoint: {found[-1]}" if found else "no checkpoint was written yet"
        where = f"{float(value.detach())} at step {self.progress.step}"
        raise TrainingDiverged(f"{name} is {where}; lower train.learning_rate. {last}")

    @torch.no_grad()
    def _evaluate(self, log: RunLog) -> None:
        """Held-out loss and previews of the averaged weights; the best so far becomes ``best/``."""
        batches = self.task.dev_batches()
        if not batches:
            return
        with self.ema.applied(self.denoiser):
            self.denoiser.eval()
            losses = [
                float(self.task.loss(self.denoiser, batch.to(self.fabric.device), -1 - k)["loss"])
                for k, batch in enumerate(batches)
            ]
            if self.settings.previews and isinstance(self.task, Previewing):
                log.show(self.progress.step, self.task.previews(self.denoiser))
            self.denoiser.train()
        loss = sum(losses) / len(losses)
        log.write(self.progress.step, dev_loss=loss)
        if loss < self.progress.best:
            self.progress.best = loss
            self._export(loss)

    def _export(self, dev_loss: float | None) -> None:
        """Write the averaged weights as the model folder ``best/``."""
        data = {key: value for key, value in self.config.data.items() if key != "cache"}
        training = {
            "steps": self.progress.step,
            "dev_loss": dev_loss,
            "seed": self.config.seed,
            "train": json.loads(self.settings.model_dump_json()),
            "data": data,
        }
        save_pretrained(
            self.config.run / "best",
            self.modality.name,
            self.model_config.model_dump(mode="json"),
            self.ema.shadow,
            {**self.task.provenance(), "training": training},
        )

    def _batches(self) -> Iterator[Any]:
        first, last = self.progress.step, self.settings.steps
        loader = DataLoader(
            Steps(self.task, first, last),
            batch_size=None,
            num_workers=self.settings.workers,
            persistent_workers=False,
            # Its own generator: else every loader draws from the global one, and a resumed run differs.
            generator=torch.Generator(),
        )
        bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.2f} steps/s"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
        )
        begun = time.monotonic()
        self._speed = 0.0
        with bar:
            shown = bar.add_task("training", total=last, completed=first, speed=0.0)
            for done, batch in enumerate(loader, start=1):
                yield batch
                self._speed = done / (time.monotonic() - begun)
                bar.update(shown, completed=first + done, speed=self._speed)
