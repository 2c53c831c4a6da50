"""Fine-tuning a vocoder on one's own recordings, or on the mels that a TTS made of them.

Whole recordings are kept out. The model before and the model after are measured on them with the same crops,
the same noise and the same seeds.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError, require
from scoregen.files import atomic_folder
from scoregen.hub import Model, find_model, from_pretrained, read_config, save_pretrained
from scoregen.training.cache import Cache
from scoregen.training.config import RunConfig, validate
from scoregen.training.finetune import Outcome, claim, digests, short_run, tuned, work_folder

from .config import VocoderDataConfig
from .files import SOUND, find_inputs
from .finetune_card import model_card
from .finetune_figures import development, measure
from .mel import MelSpec
from .melfile import MELS, sidecar
from .objective import VocoderTask
from .prepare import PreparedAudio, clip_name, place, prepare_audio

PathLike = str | os.PathLike[str]

LEARNING_RATE = 2e-4
"""Where a model does not say what it was trained with."""

BATCH = 8
"""Models trained on larger batches are tuned on batches of so many crops."""


@dataclass(frozen=True)
class VocoderFinetuneSettings:
    """What is asked of a fine-tuning run.

    Args:
        model: name or folder of the model to start from.
        steps: optimisation steps.
        learning_rate: its peak, after a warm-up over a tenth of the steps (at most 100). None: that of the
            model's last fine-tuning, else a quarter of what it was trained with.
        dev_fraction: share of the recordings kept for the comparison; at least one is.
        samples: recordings of that part to make again, before and after.
        frames: length of a crop in mel frames; None: as the model was trained.
        batch: crops a step; None: as the model was trained, :data:`BATCH` at most.
        seed: any integer.

    Raises:
        InputError: a value out of range.
    """

    model: str = "vocoder-fast-22k"
    steps: int = 1000
    learning_rate: float | None = None
    dev_fraction: float = 0.15
    samples: int = 6
    frames: int | None = None
    batch: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            (self.steps >= 1, f"--steps must be at least 1, got {self.steps}"),
            (
                self.learning_rate is None or self.learning_rate > 0,
                f"--learning-rate must be positive, got {self.learning_rate}",
            ),
            (0 < self.dev_fraction < 1, f"--dev-fraction must lie between 0 and 1, got {self.dev_fraction}"),
            (self.samples >= 0, f"--samples must be 0 or more, got {self.samples}"),
        )
        require(checks)


@dataclass
class FinetunedVocoder(Outcome):
    """What a fine-tuning run did; see :class:`scoregen.training.finetune.Outcome`.

    Args:
        mels: name of the folder of mels, or None.
        clips, minutes: recordings used and their length, by split (``train``, ``dev``).
        learning_rate: its peak.
        failures: ``(file, reason)`` of each input left out.
        notices: what the user may want to know.

    ``before`` and ``after`` hold ``denoising_loss``, which decides whether the model ``improved``, and
    ``mr_stft`` and ``pesq_wb`` of recordings made again from their mels.
    """

    mels: str | None = None
    clips: dict[str, int] = field(default_factory=dict)
    minutes: dict[str, float] = field(default_factory=dict)
    learning_rate: float = LEARNING_RATE
    failures: list[tuple[str, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def lasting(self) -> dict[str, Any]:
        """Without the names of single files, too."""
        return {k: v for k, v in super().lasting().items() if k not in ("failures", "notices")}


def finetune(
    sources: Sequence[PathLike],
    out: PathLike,
    settings: VocoderFinetuneSettings | None = None,
    *,
    mels: PathLike | None = None,
    resume: bool = False,
    max_seconds: float = math.inf,
    device: str = "cpu",
    notify: Callable[[str], None] | None = None,
    on_failure: Callable[[str, str], None] | None = None,
) -> FinetunedVocoder:
    """Go on training a vocoder on recordings, and write the result as a model folder.

    The work goes on in the folder ``OUT.run`` (cache, checkpoints, log), which is removed when all steps are
    done. The model written is the one with the least loss on the development part; whether that beats
    the model it started from is for the caller to tell the user (``improved``).

    Args:
        sources: sound files or folders.
        out: model folder; a model already there is replaced.
        settings: what is wanted.
        mels: folder of mels that a TTS made, teacher-forced, matched with the recordings by name. The model
            then learns to make the recording of such a mel. None: of the recording's own mel.
        resume: go on with a run that was stopped.
        max_seconds: stop training after this much time, preparation included.
        device: ``"cpu"`` or ``"cuda"``.
        notify: told what goes on, one line at a time.
        on_failure: called with (file, reason) of each input left out, before training begins.

    Raises:
        InputError: nothing to train on or nothing to compare on, a folder in the way, another model kind.
    """
    started = time.monotonic()
    wanted = settings or VocoderFinetuneSettings()
    say = notify or (lambda line: None)
    out, work = Path(out), work_folder(out)
    base = find_model(wanted.model)
    content = read_config(base)
    before = from_pretrained(base, "audio", device)
    asked = {
        "sources": [os.fspath(source) for source in sources],
        "mels": None if mels is None else os.fspath(mels),
        **asdict(wanted),
        "digests": digests([*_files(sources, mels), base / "config.json", base / "model.safetensors"]),
    }
    claim(out, work, base, asked, resume)

    names = [Path(source).name for source in sources]
    say(f"preparing {', '.join(names)}")
    done = FinetunedVocoder(str(out), names, asdict(wanted), mels=None if mels is None else Path(mels).name)
    data = _data(content["info"], wanted)
    cache = _prepared(sources, mels, work, before.config.spec(), data["frames"], wanted.dev_fraction, done)
    if on_failure is not None:
        for name, reason in done.failures:
            on_failure(name, reason)
    done.learning_rate = wanted.learning_rate or _earlier_rate(content["info"])
    config = RunConfig(
        modality="audio",
        run=work / "train",
        seed=wanted.seed,
        init=str(base),
        model=content["model"],
        data={**data, **_weights(data, content["model"].get("network")), "cache": str(cache.path)},
        train=short_run(wanted.steps, done.learning_rate, device),
    )
    model_config, data_config = config.resolve()[1:]
    task = VocoderTask(model_config, data_config, wanted.seed)
    clips = development(cache, task.spec, wanted.samples)

    def figures(denoiser: Denoiser) -> dict[str, float]:
        model = Model(wanted.model, "audio", model_config, denoiser, content["info"])
        return measure(model, task, clips, wanted.seed, done.notices)

    best = tuned(
        config,
        before.denoiser,
        figures,
        done,
        judge="denoising_loss",
        training_on=f"{done.clips['train']} recordings, {done.minutes['train']:.1f} minutes",
        resume=resume,
        deadline=started + max_seconds,
        device=device,
        say=say,
    )
    done.seconds = time.monotonic() - started
    info = {
        **task.provenance(),
        # What a later fine-tuning takes over.
        "training": {"data": data},
        "base": {"model": wanted.model, "info": content["info"]},
        "finetune": done.lasting(),
    }
    card = model_card(out.name, done)
    save_pretrained(out, "audio", content["model"], best.denoiser.state_dict(), info, card)
    if done.finished:
        shutil.rmtree(work)
    return done


def _files(sources: Sequence[PathLike], mels: PathLike | None) -> list[Path]:
    """Every file that is read."""
    files = [path for path, _ in find_inputs(sources, SOUND)]
    if mels is not None:
        found = [path for path, _ in find_inputs([mels], MELS)]
        files += [*found, *(sidecar(path) for path in found if path.suffix.lower() == ".npy")]
    return files


def _data(info: dict[str, Any], settings: VocoderFinetuneSettings) -> dict[str, Any]:
    """The data section that the model was trained with, as far as it is known, without the cache."""
    earlier = info.get("training", {}).get("data", {})
    kept = {key: value for key, value in earlier.items() if key in VocoderDataConfig.model_fields}
    whole: VocoderDataConfig = validate(VocoderDataConfig, {**kept, "cache": "."}, "info.training.data")
    chosen = {"frames": settings.frames or whole.frames, "batch": settings.batch or min(whole.batch, BATCH)}
    return {**json.loads(whole.model_dump_json(exclude={"cache"})), **chosen}


def _weights(data: dict[str, Any], correction: object) -> dict[str, float]:
    """Changes to the weights of the losses.

    Magnitudes and phase differences are tuned too: they may have been learned in a run of their own before.
    All other losses train the network that corrects the denoiser, so without one they would be of no use.
    """
    changes = {"spectrum_weight": data["spectrum_weight"] or 1.0}
    if correction is None:
        changes |= dict.fromkeys(("matching_weight", "spectral_weight", "mel_weight"), 0.0)
    return changes


def _earlier_rate(info: dict[str, Any]) -> float:
    tuned_with = info.get("finetune", {}).get("learning_rate")
    trained_with = info.get("training", {}).get("train", {}).get("learning_rate")
    return float(tuned_with or (trained_with / 4 if trained_with else LEARNING_RATE))


def _prepared(
    sources: Sequence[PathLike],
    mels: PathLike | None,
    work: Path,
    spec: MelSpec,
    frames: int,
    dev_fraction: float,
    done: FinetunedVocoder,
) -> Cache:
    """The cache of the run, its counts noted in ``done``; one that is there already is taken as it is."""
    path = work / "cache"
    try:
        if not (path / "index.json").exists():
            # Two passes may be needed: only the last one may be found by a run that is resumed.
            with atomic_folder(path) as whole:
                report = _split(sources, mels, whole, spec, frames, dev_fraction)
                (whole / "report.json").write_text(json.dumps(asdict(report)))
        cache = Cache(path, "audio")
        report = PreparedAudio(**json.loads((path / "report.json").read_text()))
    except InputError:
        shutil.rmtree(work)
        raise
    done.clips = report.clips
    done.minutes = {split: seconds / 60 for split, seconds in report.seconds.items()}
    done.failures = [(name, reason) for name, reason in report.failed]
    done.notices = list(report.notices)
    done.skipped = {"unusable file": len(report.failed)} if report.failed else {}
    return cache


def _split(
    sources: Sequence[PathLike],
    mels: PathLike | None,
    path: Path,
    spec: MelSpec,
    frames: int,
    dev_fraction: float,
) -> PreparedAudio:
    """Prepare the recordings, at least one of them for training and one to compare."""
    inputs = [file for file, _ in find_inputs(sources, SOUND)]
    places = sorted({place(clip_name(file)) for file in inputs})
    while True:
        threshold = _threshold(places, dev_fraction)
        report = prepare_audio(
            sources, path, spec=spec, dev_fraction=threshold, mels=mels, least_frames=frames
        )
        if report.clips.get("train") and report.clips.get("dev"):
            return report
        # Those that can be used all fell on one side.
        usable = sorted({place(f"{f['speaker']}/{f['name']}") for f in Cache(path).facts})
        if len(usable) < 2 or usable == places:
            first = f"; first left out: {': '.join(report.failed[0])}" if report.failed else ""
            shown = ", ".join(os.fspath(source) for source in sources)
            raise InputError(
                f"{shown}: {len(usable)} usable recording, need at least 2: one is kept out to compare"
                f" before and after{first}"
            )
        places = usable


def _threshold(places: list[float], dev_fraction: float) -> float:
    """Between the places of those kept out and of the others: as many as asked for, one of each at least."""
    if len(places) < 2:
        return 0.0
    count = min(max(round(dev_fraction * len(places)), 1), len(places) - 1)
    return (places[count - 1] + places[count]) / 2
