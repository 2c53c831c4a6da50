"""``scoregen finetune``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scoregen.training.finetune import Outcome

_ONLY = {"molecules": ("theory", "holdout", "replay"), "audio": ("mels",)}


def finetune(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="3D structures (.sdf .sdf.gz); for a vocoder sound (.wav .flac .ogg) or folders of it.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model folder to write.")],
    model: Annotated[
        str, typer.Option(help="Model to start from: shipped name, folder, or owner/name on the Hub.")
    ] = "conformer-small",
    mels: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Vocoders: mels that a TTS made of the recordings, teacher-forced, matched by name.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 1000,
    theory: Annotated[
        str | None,
        typer.Option(
            help="Conformers: what made the structures: dft, gfn2, mmff, experiment or unknown; auto: what "
            "the model is told by default. The new model is told the same by default.",
            show_default="auto",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate.",
            show_default="conformers 2e-4, vocoders a quarter of what they were trained with",
        ),
    ] = None,
    dev_fraction: Annotated[
        float, typer.Option(help="Share of the molecules or recordings kept to compare before and after.")
    ] = 0.15,
    holdout: Annotated[
        list[Path] | None,
        typer.Option(help="Conformers: molecules to leave out: a file of record titles, or an SDF."),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(metavar="CACHE", help="Conformers: prepared cache to mix in, against forgetting."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            help="Molecules to generate conformers of, or recordings to make again, before and after.",
            show_default="20 molecules, 6 recordings",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same run.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default="OMP_NUM_THREADS, else 1")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop training after 90s, 30m, 2h or 1h30m.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped or interrupted.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fine-tune a conformer model on your own structures, or a vocoder on your own recordings.

    It is measured before and after on molecules or recordings kept out. Exit code: 0 the model got better, 1
    it did not (it is written all the same, and its card says so), 2 wrong usage.
    """
    import torch

    from scoregen.errors import InputError
    from scoregen.hub import find_model, read_config

    from .train import parse_time
    from .ui import emit, pick_device

    given = {"theory": theory, "holdout": holdout, "replay": replay, "mels": mels}
    kind = read_config(find_model(model))["modality"]
    if kind not in _ONLY:
        raise InputError(
            f"model '{model}' is of modality '{kind}', which cannot be fine-tuned here; use scoregen train"
            " with init: in the configuration"
        )
    foreign = [name for name, value in given.items() if value and name not in _ONLY[kind]]
    if foreign:
        raise InputError(f"--{foreign[0]}: not for '{model}', a model of modality '{kind}'; leave it out")
    chosen = {"learning_rate": learning_rate, "samples": samples}
    settings = {
        "model": model,
        "steps": steps,
        "dev_fraction": dev_fraction,
        "seed": seed,
        **{key: value for key, value in chosen.items() if value is not None},
    }
    how: dict[str, Any] = {
        "resume": resume,
        "max_seconds": math.inf if max_time is None else parse_time(max_time),
        "device": pick_device(device),
        "notify": lambda line: typer.echo(line, err=True),
    }
    if threads is not None:
        torch.set_num_threads(threads)
    if kind == "audio":
        done, line = _vocoder(sources, out, settings, {**how, "mels": mels})
        remedy = "more recordings"
    else:
        if theory is not None:
            settings["theory"] = theory
        done, line = _conformers(sources, out, settings, {**how, "holdout": holdout or [], "replay": replay})
        remedy = "more molecules"
    emit(as_json, done.as_dict(), line)
    if not done.improved:
        parts = "recordings" if kind == "audio" else "molecules"
        typer.echo(
            f"warning: on {parts} kept out of training {model} was better than the new model; "
            f"try a lower --learning-rate, fewer --steps or {remedy}",
            err=True,
        )
    raise typer.Exit(0 if done.improved else 1)


def _conformers(
    sources: list[Path], out: Path, settings: dict[str, Any], how: dict[str, Any]
) -> tuple[Outcome, str]:
    from scoregen.errors import InputError
    from scoregen.molecules.finetune import FinetuneSettings
    from scoregen.molecules.finetune import finetune as run
    from scoregen.molecules.finetune_card import figures

    for source in sources:
        if source.is_dir() or source.suffix.lower() in (".wav", ".flac", ".ogg"):
            raise InputError(
                f"{source}: no SDF file, and '{settings['model']}' is a conformer model; for recordings pass"
                " --model vocoder-fast-22k"
            )
    done = run(sources, out, FinetuneSettings(**settings), **how)
    lost = f"; skipped {sum(done.skipped.values())}: {done.skipped}" if done.skipped else ""
    made = f"{done.records['train']} conformers of {done.molecules['train']} molecules"
    return done, f"{made}, {_steps(done)} → {out}{lost}\n{figures(done)}"


def _vocoder(
    sources: list[Path], out: Path, settings: dict[str, Any], how: dict[str, Any]
) -> tuple[Outcome, str]:
    from scoregen.audio.finetune import VocoderFinetuneSettings
    from scoregen.audio.finetune import finetune as run
    from scoregen.audio.finetune_card import figures

    from .ui import failed_file

    done = run(sources, out, VocoderFinetuneSettings(**settings), **how, on_failure=failed_file)
    for notice in done.notices:
        typer.echo(f"note: {notice}", err=True)
    lost = f"; {len(done.failures)} files left out" if done.failures else ""
    made = f"{done.clips['train']} recordings, {done.minutes['train']:.1f} minutes"
    return done, f"{made}, {_steps(done)} → {out}{lost}\n{figures(done)}"


def _steps(done: Outcome) -> str:
    more = "" if done.finished else f" of {done.settings['steps']}; --resume goes on"
    return f"{done.steps} steps{more}"
