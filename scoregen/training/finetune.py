"""What fine-tuning is for every kind of data: a run folder of its own, figures before and after, the best
weights.

A plugin prepares the data, and says what the figures are and what the model card tells. What is here knows
neither: whose folder it is, when a run may go on, and the order of measuring and training.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.hub import Model, from_pretrained

from .checkpoint import checkpoints
from .config import RunConfig, TrainConfig
from .loop import train

PathLike = str | os.PathLike[str]
_NAMED = 3  # files that a message names


@dataclass
class Outcome:
    """What a fine-tuning run did.

    Args:
        output: the model folder.
        sources: names of the files or folders.
        settings: what was asked for.
        steps: steps done in all; fewer than asked for where the time ran out.
        skipped: unusable inputs by reason.
        before, after: figures on the development part.
        improved: whether the figure that decides fell.
        finished: whether all steps were done.
        seconds: wall time of this call.
    """

    output: str
    sources: list[str]
    settings: dict[str, Any]
    steps: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    improved: bool = False
    finished: bool = True
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return asdict(self)

    def lasting(self) -> dict[str, Any]:
        """The part of :meth:`as_dict` that belongs into the model: neither paths nor times."""
        return {key: value for key, value in self.as_dict().items() if key not in ("output", "seconds")}


def work_folder(out: PathLike) -> Path:
    """``OUT.run``, where a run to the model folder ``OUT`` works."""
    return Path(f"{os.fspath(out).rstrip('/')}.run")


def claim(out: Path, work: Path, base: Path, asked: Mapping[str, Any], resume: bool) -> None:
    """Refuse folders that hold something else; note in the work folder what it is for.

    Args:
        out: model folder to write.
        work: folder of the run.
        base: folder of the model to start from.
        asked: JSON-able; what must be the same when the run goes on. ``digests`` in it are those of
            :func:`digests`.
        resume: go on with a run that is there.

    Raises:
        InputError: a folder in the way, or a run that was started with something else.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "config.json").is_file())):
        raise InputError(f"{out}: exists and is no model folder; choose another -o")
    if out.exists() and out.resolve() == base.resolve():
        raise InputError(f"{out}: is the model to start from; choose another -o")
    note = work / "finetune.json"
    if work.exists():
        if not resume:
            raise InputError(f"{work}: holds an unfinished run; pass --resume to go on, or remove the folder")
        try:
            before = json.loads(note.read_text())
        except (OSError, ValueError):
            raise InputError(f"{work}: holds no fine-tuning run; remove it or choose another -o") from None
        if changed := sorted(key for key in asked if key != "digests" and asked[key] != before.get(key)):
            raise InputError(
                f"{work}: was started with another {', '.join(changed)}; give the same to --resume"
            )
        if edited := sorted(dict(asked["digests"].items() ^ before.get("digests", {}).items())):
            more = f" and {len(edited) - _NAMED} more" if len(edited) > _NAMED else ""
            raise InputError(
                f"{', '.join(edited[:_NAMED])}{more}: changed since the run in {work} was started; "
                "remove that folder to start anew"
            )
        return
    work.mkdir(parents=True)
    note.write_text(json.dumps(asked, indent=1) + "\n")


def digests(files: Iterable[PathLike]) -> dict[str, str]:
    """Hash of each file by name; a file that cannot be read is left to who reads it."""
    found = {}
    for file in files:
        if Path(file).is_file():
            with open(file, "rb") as stream:
                found[os.fspath(file)] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def short_run(steps: int, learning_rate: float, device: str) -> TrainConfig:
    """A short warm-up, a short average, and ten or more tries of the weights on the development part."""
    every = max(10, min(steps // 10, 100))
    return TrainConfig(
        steps=steps,
        learning_rate=learning_rate,
        warmup=min(100, steps // 10),
        decay=0.5,
        ema=0.995 if steps >= 1000 else 0.99,
        device="cuda" if device == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        eval_every=every,
        checkpoint_every=every,
    )


def tuned(
    config: RunConfig,
    before: Denoiser,
    measure: Callable[[Denoiser], dict[str, float]],
    done: Outcome,
    *,
    judge: str,
    training_on: str,
    resume: bool,
    deadline: float,
    device: str,
    say: Callable[[str], None],
) -> Model:
    """Measure, train, measure the best weights; what came of it is noted in ``done``.

    Args:
        config: of the training run.
        before: the model as it is.
        measure: figures of a model on the development part, with the same noise and seeds each time.
        done: filled in.
        judge: the figure that must fall for the new model to be better.
        training_on: the training data in words.
        resume: go on with the training run, if there is one.
        deadline: stop training then (``time.monotonic`` seconds).
        device: ``"cpu"`` or ``"cuda"``.
        say: told what goes on.
    """
    say("measuring the model as it is")
    done.before = measure(before)
    say(f"training on {training_on}")
    run = train(config, resume=resume, max_seconds=deadline - time.monotonic())
    done.steps = int(checkpoints(run)[-1].name.removeprefix("step-"))
    done.finished = done.steps >= config.train.steps
    best = from_pretrained(run / "best", config.modality, device)
    say("measuring the new model")
    done.after = measure(best.denoiser)
    done.improved = done.after[judge] < done.before[judge]
    return best


def figures_table(rows: Sequence[tuple[str, str]], done: Outcome) -> str:
    """The figures before and after, as a Markdown table.

    Args:
        rows: ``(key, name for people)``; figures that were not measured are left out.
        done: the run.
    """
    lines = ["| on the development part | before | after |", "|---|---|---|"]
    for key, name in rows:
        before, after = done.before.get(key), done.after.get(key)
        if before is not None and after is not None:
            lines.append(f"| {name} | {_number(before)} | {_number(after)} |")
    return "\n".join(lines)


def training_line(done: Outcome, learning_rate: float) -> str:
    """How long and how fast it was trained, for the model card."""
    stopped = "" if done.finished else f" of {done.settings['steps']} planned; the time ran out"
    return f"{done.steps} steps{stopped}, learning rate {learning_rate:g}, seed {done.settings['seed']}."


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() and value != 0 else f"{value:.3f}"
