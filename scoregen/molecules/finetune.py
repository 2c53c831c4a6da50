"""Fine-tuning a conformer model on one's own structures: prepare, train, compare before and after, write.

The molecules are split by graph, so that no molecule of the development part is trained on. The model before
and the model after are measured on that part with the same noise and the same seeds.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from scoregen.errors import InputError, require
from scoregen.files import atomic_folder
from scoregen.hub import find_model, read_config, save_pretrained
from scoregen.training.cache import Cache, CacheWriter
from scoregen.training.config import RunConfig, validate
from scoregen.training.finetune import Outcome, claim, digests, short_run, tuned, work_folder

from .conformers import ConformerGenerator
from .finetune_card import model_card
from .finetune_figures import development, measure
from .objective import ConformerDataConfig, ConformerTask
from .prepare import Prepared, molecule_key, prepare_molecules
from .vocabulary import THEORIES

PathLike = str | os.PathLike[str]

MIN_MOLECULES = 10
"""Fewer distinct molecules than this teach a model nothing that carries over to others."""

MIN_DEV = 2
REPLAY = "replay"
_LEVELS = ("log_sigma_mean", "log_sigma_std")


@dataclass(frozen=True)
class FinetuneSettings:
    """What is asked of a fine-tuning run.

    Args:
        model: name or folder of the model to start from.
        steps: optimisation steps.
        learning_rate: its peak, after a warm-up over a tenth of the steps (at most 100).
        theory: what made the structures, one of :data:`~scoregen.molecules.vocabulary.THEORIES`, or
            ``"auto"``: what the model is told by default. The new model is told the same by default. Only
            models that are told the level of theory take notice.
        dev_fraction: share of the molecules kept for the comparison. It is raised where it leaves fewer than
            two molecules.
        replay_share: share of the batches from the replayed cache, where one is given.
        replay_records: at most so many records of it.
        samples: development molecules to generate conformers of, before and after.
        pairs: batch size in atom pairs, Σ N².
        seed: any integer.

    Raises:
        InputError: a value out of range.
    """

    model: str = "conformer-small"
    steps: int = 1000
    learning_rate: float = 2e-4
    theory: str = "auto"
    dev_fraction: float = 0.15
    replay_share: float = 0.3
    replay_records: int = 5000
    samples: int = 20
    pairs: int = 8000
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            (self.steps >= 1, f"--steps must be at least 1, got {self.steps}"),
            (self.learning_rate > 0, f"--learning-rate must be positive, got {self.learning_rate}"),
            (
                self.theory in ("auto", *THEORIES),
                f"--theory '{self.theory}' is not one of auto, {', '.join(THEORIES)}",
            ),
            (0 < self.dev_fraction < 1, f"--dev-fraction must lie between 0 and 1, got {self.dev_fraction}"),
            (0 < self.replay_share < 1, f"--replay-share must lie between 0 and 1, got {self.replay_share}"),
            (self.samples >= 0, f"--samples must be 0 or more, got {self.samples}"),
        )
        require(checks)


@dataclass
class Finetuned(Outcome):
    """What a fine-tuning run did; see :class:`scoregen.training.finetune.Outcome`.

    Args:
        records, molecules: counts by split (``train``, ``dev``, ``benchmark``).

    ``before`` and ``after`` hold ``denoising_error`` (whitened, 1 = no knowledge), which decides whether the
    model ``improved``, and ``amr_r``, ``cov_r_0.5``, … of generated conformers.
    """

    records: dict[str, int] = field(default_factory=dict)
    molecules: dict[str, int] = field(default_factory=dict)


def finetune(
    sources: Sequence[PathLike],
    out: PathLike,
    settings: FinetuneSettings | None = None,
    *,
    holdout: Sequence[PathLike] = (),
    replay: PathLike | None = None,
    resume: bool = False,
    max_seconds: float = math.inf,
    device: str = "cpu",
    notify: Callable[[str], None] | None = None,
) -> Finetuned:
    """Go on training a model on the structures of SDF files, and write the result as a model folder.

    The work goes on in the folder ``OUT.run`` (cache, checkpoints, log), which is removed when all steps are
    done. The model written is the one with the least error on the development part; whether that beats
    the model it started from is for the caller to tell the user (``improved``).

    Args:
        sources: SDF files with 3D coordinates and all hydrogens, any number of conformers a molecule.
        out: model folder; a model already there is replaced.
        settings: what is wanted.
        holdout: files of record titles, or SDF files, of molecules to leave out altogether.
        replay: a prepared cache to mix in, against forgetting.
        resume: go on with a run that was stopped.
        max_seconds: stop training after this much time, preparation included.
        device: ``"cpu"`` or ``"cuda"``.
        notify: told what goes on, one line at a time.

    Raises:
        InputError: a file that cannot be used, too few molecules, a folder in the way, another model kind.
    """
    started = time.monotonic()
    wanted = settings or FinetuneSettings()
    say = notify or (lambda line: None)
    out, work = Path(out), work_folder(out)
    base = find_model(wanted.model)
    content = read_config(base)
    if content["modality"] != "molecules":
        raise InputError(f"model '{wanted.model}' is of modality '{content['modality']}', need 'molecules'")
    before = ConformerGenerator.from_pretrained(base, device)
    if wanted.theory == "auto":
        wanted = replace(wanted, theory=before.theory())
    asked = {
        "sources": [os.fspath(source) for source in sources],
        "holdout": [os.fspath(file) for file in holdout],
        "replay": None if replay is None else os.fspath(replay),
        **asdict(wanted),
        "digests": digests([*sources, *holdout, base / "config.json", base / "model.safetensors"]),
    }
    claim(out, work, base, asked, resume)

    say(f"preparing {', '.join(Path(source).name for source in sources)}")
    done = Finetuned(str(out), [Path(source).name for source in sources], asdict(wanted))
    cache = _prepared(sources, work, wanted, holdout, replay, done)
    config = _run_config(cache, work, base, content, wanted, device)
    model_config, data_config = config.resolve()[1:]
    task = ConformerTask(model_config, data_config, wanted.seed)
    ensembles = development(sources, cache, wanted.samples)

    best = tuned(
        config,
        before.denoiser,
        lambda denoiser: measure(denoiser, task, ensembles, wanted.theory, wanted.seed),
        done,
        judge="denoising_error",
        training_on=f"{done.molecules['train']} molecules",
        resume=resume,
        deadline=started + max_seconds,
        device=device,
        say=say,
    )
    done.seconds = time.monotonic() - started

    earlier = content["info"].get("training", {}).get("data", {}).get("theory", {})
    told = {**earlier, **config.data["theory"]}
    levels = {key: config.data[key] for key in _LEVELS if key in config.data}
    info = {
        "conventions": content["info"].get("conventions", {}),
        # What is asked of the model by default is what it was tuned to.
        "theory": wanted.theory,
        "training": {"data": {"theory": told, **levels}},
        "base": {"model": wanted.model, "info": content["info"]},
        "finetune": done.lasting(),
    }
    card = model_card(out.name, done)
    save_pretrained(out, "molecules", content["model"], best.denoiser.state_dict(), info, card)
    if done.finished:
        shutil.rmtree(work)
    return done


def _prepared(
    sources: Sequence[PathLike],
    work: Path,
    settings: FinetuneSettings,
    holdout: Sequence[PathLike],
    replay: PathLike | None,
    done: Finetuned,
) -> Cache:
    """The cache of the run, its counts noted in ``done``; one that is there already is taken as it is."""
    path = work / "cache"
    try:
        if not (path / "index.json").exists():
            # Both steps write a cache of their own: only the last one may be found by a run that is resumed.
            with atomic_folder(path) as whole:
                _prepare(sources, whole, settings, list(holdout) or None)
                if replay is not None:
                    _mix(whole, Path(replay), settings)
        cache = Cache(path, "molecules")
        own = [facts for facts in cache.facts if facts["source"] != REPLAY]
        for split in ("train", "dev", "benchmark"):
            keys = {facts["smiles"] for facts in own if facts["split"] == split}
            done.records[split] = sum(facts["split"] == split for facts in own)
            done.molecules[split] = len({_key(smiles) for smiles in keys})
        done.skipped = dict(cache.info.get("skipped", {}))
        usable = done.molecules["train"] + done.molecules["dev"]
        if usable < MIN_MOLECULES:
            lost = f" ({_listed(done.skipped)} skipped)" if done.skipped else ""
            raise InputError(
                f"{', '.join(done.sources)}: {usable} distinct molecules to train on{lost}, need at least "
                f"{MIN_MOLECULES}; add molecules (more conformers of the same ones do not help)"
            )
    except InputError:
        shutil.rmtree(work)
        raise
    return cache


def _prepare(
    sources: Sequence[PathLike], path: Path, settings: FinetuneSettings, holdout: list[PathLike] | None
) -> Prepared:
    fraction = settings.dev_fraction
    while True:
        try:
            done = prepare_molecules(sources, path, holdout_ids=holdout, dev_fraction=fraction)
        except InputError as error:
            if "no usable record" not in str(error):
                raise
            raise InputError(
                f"{error}; give an SDF with 3D coordinates and all hydrogens, one record a conformer"
            ) from None
        facts = Cache(path).facts
        if any(f["source"] == REPLAY for f in facts):
            raise InputError(f"an SDF cannot be named '{REPLAY}.sdf' here; rename it")
        held = {_key(f["smiles"]) for f in facts if f["split"] == "dev"}
        # The split is a hash of the molecule: a small share of few molecules may be none.
        if len(held) >= MIN_DEV or fraction > 0.5:
            return done
        fraction = min(2 * fraction, 0.6)


def _mix(path: Path, replay: Path, settings: FinetuneSettings) -> None:
    """Rewrite the cache at ``path`` with training records of another one as source ``replay``."""
    own, other = Cache(path, "molecules"), Cache(replay, "molecules")
    kept_out = {_key(f["smiles"]) for f in own.facts if f["split"] != "train"}
    order = np.random.default_rng(settings.seed).permutation(other.select(split="train"))
    with CacheWriter(path, "molecules", own.info) as cache:
        for i, facts in enumerate(own.facts):
            cache.add(own[i], facts)
        taken = 0
        for i in order.tolist():
            if taken == settings.replay_records:
                break
            facts = other.facts[i]
            if _key(facts["smiles"]) not in kept_out:
                cache.add(other[i], {**facts, "source": REPLAY})
                taken += 1
    if not taken:
        raise InputError(f"{replay}: no training record to replay")


def _run_config(
    cache: Cache,
    work: Path,
    base: Path,
    content: dict[str, Any],
    settings: FinetuneSettings,
    device: str,
) -> RunConfig:
    """The training run: noise levels as the model was trained with, a short warm-up, a short average."""
    counts: dict[str, float] = {}
    for facts in cache.facts:
        if facts["split"] == "train":
            counts[facts["source"]] = counts.get(facts["source"], 0) + 1
    replayed = counts.pop(REPLAY, 0)
    own = sum(counts.values())
    shares = {source: count / own for source, count in counts.items()}
    if replayed:
        shares = {source: share * (1 - settings.replay_share) for source, share in shares.items()}
        shares[REPLAY] = settings.replay_share
    earlier = content["info"].get("training", {}).get("data", {})
    levels = {key: earlier[key] for key in _LEVELS if key in earlier}
    data = {
        "cache": cache.path,
        "sources": shares,
        "theory": dict.fromkeys(counts, settings.theory),
        "pairs": settings.pairs,
        **levels,
    }
    validate(ConformerDataConfig, data, "data")
    return RunConfig(
        modality="molecules",
        run=work / "train",
        seed=settings.seed,
        init=str(base),
        model=content["model"],
        data={**data, "cache": str(cache.path)},
        train=short_run(settings.steps, settings.learning_rate, device),
    )


def _key(smiles: str) -> str:
    return molecule_key(Chem.MolFromSmiles(smiles))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
