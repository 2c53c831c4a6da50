"""Everything once on shipped samples: conformers of drugs, new molecules, speech through its mel."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import scoregen
from scoregen.audio.baselines import griffin_lim
from scoregen.audio.files import SOUND, Clip, fit, read_clip, resample, write_clip
from scoregen.audio.metrics import mr_stft_distance, pesq_wb, stoi
from scoregen.audio.render import DEFAULT_STEPS
from scoregen.audio.vocoder import Vocoder
from scoregen.errors import InputError, MissingExtra
from scoregen.files import atomic_path
from scoregen.molecules import pipeline as conformer_pipeline
from scoregen.molecules.conformers import ConformerGenerator, Settings
from scoregen.molecules.design import pipeline as design_pipeline
from scoregen.molecules.design.fragments import read_scaffold
from scoregen.molecules.design.generator import CandidateGenerator
from scoregen.molecules.design.request import Request
from scoregen.molecules.design.targets import parse_target

from .gallery import candidate_section, read_candidates
from .molecules import molecule_cards
from .page import Section, SoundCard, build_page, molecule_section, sound_section, table_section
from .sound import mel_pictures, wav_bytes

DATA = Path(scoregen.__file__).resolve().parents[1] / "data"
GRIFFIN_LIM_ITERATIONS = 60
SCAFFOLD = "O=C(N*)c1ccc(*)cc1"
"""Benzamide, to be grown at both ends."""

TARGETS = ("qed=0.9", "logp=2..3")
CANDIDATES = 6
CANDIDATE_STEPS = 50


@dataclass
class Speech:
    """What the speech half made: cards for the page, files, and seconds of work by title."""

    cards: list[SoundCard]
    files: list[Path]
    seconds: dict[str, float]
    clip: Clip
    source: Path


def run_demo(
    out: str | os.PathLike[str],
    *,
    n: int = 8,
    seed: int = 0,
    conformer_model: str | os.PathLike[str] = "conformer-small",
    design_model: str | os.PathLike[str] = "design-druglike",
    vocoder_model: str | os.PathLike[str] = "vocoder-fast-22k",
    data: Path = DATA,
    on_done: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write ``conformers.sdf``, ``candidates.sdf``, the waveforms and ``index.html`` into ``out``.

    Args:
        out: folder; made when missing.
        n: conformers of each drug.
        seed: of all parts.
        conformer_model, design_model, vocoder_model: names or folders.
        data: folder with ``molecules/drugs.smi`` and ``speech/``.
        on_done: progress, called with (stages done, all).

    Returns:
        ``page`` and ``files`` (paths), ``records``, ``candidates``, ``seconds`` by stage, ``failures``.

    Raises:
        InputError: a model or the samples are missing.
    """
    folder = Path(out)
    step = on_done or (lambda done, total: None)
    drugs, recording = sample_files(data)
    generator = ConformerGenerator.from_pretrained(conformer_model)
    designer = CandidateGenerator.from_pretrained(design_model)
    vocoder = Vocoder.from_pretrained(vocoder_model)
    folder.mkdir(parents=True, exist_ok=True)
    step(0, 4)

    sdf = folder / "conformers.sdf"
    summary = conformer_pipeline.run_conformers([str(drugs)], sdf, generator, Settings(n=n, seed=seed))
    step(1, 4)
    wish = Request(
        CANDIDATES,
        seed,
        CANDIDATE_STEPS,
        atoms=(16, 24),
        scaffold=read_scaffold(SCAFFOLD),
        targets=tuple(map(parse_target, TARGETS)),
    )
    designed = folder / "candidates.sdf"
    grown = design_pipeline.run_design(wish, designed, designer, generator)
    step(2, 4)
    speech = run_speech(recording, folder, vocoder, seed)
    step(3, 4)

    cards = molecule_cards(sdf)
    new = read_candidates(designed, grown.table, wish.scaffold, wish.targets) if grown.written else []
    seconds = {"conformers": summary.seconds, "candidates": grown.seconds, **speech.seconds}
    sections = [
        molecule_section(
            "Conformers of five drugs",
            f"Drawn by {short(generator.name)} from the SMILES alone, superposed. "
            "Every record shows the stereo stated.",
            cards,
        ),
        candidate_section(new, wish.scaffold, title="New molecules around benzamide", first=len(cards)),
        sound_section(
            "Speech through its mel spectrogram",
            "The mel keeps no phase: each waveform on the right is made from the picture on the left. "
            "One colour scale for all.",
            speech.cards,
        ),
        _table(generator, designer, vocoder, summary, grown, speech, seed),
    ]
    page = folder / "index.html"
    with atomic_path(page) as temporary:
        temporary.write_text(
            build_page(
                "scoregen demo",
                "One score-matching core, two kinds of data: molecules in 3D and speech.",
                sections,
                [*cards, *new],
            ),
            encoding="utf-8",
        )
    step(4, 4)
    made = (sdf, Path(grown.output), Path(grown.table)) if new else (sdf,)
    return {
        "page": str(page),
        "files": [str(path) for path in (*made, *speech.files, page)],
        "records": summary.records,
        "candidates": grown.written,
        "seconds": seconds,
        "failures": summary.failures,
    }


def sample_files(data: Path) -> tuple[Path, Path]:
    """The drugs and the first recording of the samples.

    Raises:
        InputError: they are not there.
    """
    drugs = data / "molecules" / "drugs.smi"
    recordings = sorted(p for p in (data / "speech").rglob("*") if p.suffix in SOUND)
    if not drugs.is_file() or not recordings:
        raise InputError(f"{data}: no samples here; run the demo from a clone of the repository")
    return drugs, recordings[0]


def run_speech(recording: Path, folder: Path, vocoder: Vocoder, seed: int) -> Speech:
    """A recording to its mel and back, by the vocoder and by Griffin-Lim."""
    clip = read_clip(recording)
    mel = vocoder.mel(clip.wave, clip.sample_rate)
    name = short(vocoder.name)
    made: dict[str, np.ndarray] = {"Recording": clip.wave}
    seconds: dict[str, float] = {}

    def timed(title: str, wave: Callable[[], np.ndarray]) -> None:
        begun = time.monotonic()
        result = wave()
        seconds[title] = time.monotonic() - begun
        made[title] = fit(resample(result, vocoder.sample_rate, clip.sample_rate), len(clip.wave))

    timed(name, lambda: vocoder.synthesize(mel, seed=seed))
    timed(
        "Griffin-Lim",
        lambda: griffin_lim(vocoder.spec, mel, iterations=GRIFFIN_LIM_ITERATIONS, seed=seed).numpy(),
    )
    with atomic_path(folder / "speech.mel.npy") as temporary:
        np.save(temporary, mel.numpy())
    paths = [folder / "speech.mel.npy"]
    for kind, wave in zip(("recording", "vocoder", "griffin-lim"), made.values(), strict=True):
        paths.append(folder / f"speech-{kind}.wav")
        write_clip(paths[-1], wave, clip.sample_rate)

    mels = [vocoder.mel(wave, clip.sample_rate).numpy() for wave in made.values()]
    pictures = mel_pictures(mels, vocoder.spec.hop / vocoder.spec.sample_rate)
    duration = len(clip.wave) / clip.sample_rate
    captions = {
        "Recording": f"{recording.stem}, {duration:.1f} s at {clip.sample_rate / 1000:g} kHz",
        name: f"{DEFAULT_STEPS} network calls",
        "Griffin-Lim": f"{GRIFFIN_LIM_ITERATIONS} iterations, nothing learnt",
    }
    cards = [
        SoundCard(
            title,
            captions[title] + (f" · {duration / seconds[title]:.1f}× real time" if title in seconds else ""),
            wav_bytes(wave, clip.sample_rate),
            picture,
            scores(clip.wave, wave, clip.sample_rate) if title in seconds else {},
        )
        for (title, wave), picture in zip(made.items(), pictures, strict=True)
    ]
    return Speech(cards, paths, seconds, clip, recording)


def short(model: str) -> str:
    """A model's name without the folders before it; a run's ``best`` keeps the run's name."""
    parts = Path(model).parts
    return "/".join(parts[-2:]) if parts[-1] == "best" else parts[-1]


def scores(reference: np.ndarray, wave: np.ndarray, sample_rate: int) -> dict[str, str]:
    """PESQ-WB, STOI and MR-STFT, as far as this installation and the clip allow."""
    found: dict[str, str] = {}
    for name, measure in (("PESQ-WB", pesq_wb), ("STOI", stoi)):
        try:
            found[name] = f"{measure(reference, wave, sample_rate):.2f}"
        except (MissingExtra, InputError):
            continue  # optional packages; the page then shows what is left
    return found | {"MR-STFT": f"{mr_stft_distance(reference, wave):.2f}"}


def _table(
    generator: ConformerGenerator,
    designer: CandidateGenerator,
    vocoder: Vocoder,
    summary: conformer_pipeline.Summary,
    grown: design_pipeline.Summary,
    speech: Speech,
    seed: int,
) -> Section:
    settings, clip = summary.settings, speech.clip
    rows = [
        ("Conformer model", f"{short(generator.name)}, {_size(generator.denoiser)}"),
        (
            "Conformers",
            f"{summary.records} records of {summary.inputs} molecules in {summary.seconds:.1f} s; "
            f"{settings['n']} each, start {settings['init']}, relaxation {settings['relax']}, seed {seed}",
        ),
        ("Candidate model", f"{short(designer.name)}, {_size(designer.denoiser)}"),
        (
            "Candidates",
            f"{grown.written} of {grown.draws['drawn']} draws in {grown.seconds:.1f} s; keep {SCAFFOLD}, "
            f"{', '.join(TARGETS)}, {CANDIDATE_STEPS} calls, seed {seed}; "
            f"{grown.draws['validity']:.0%} valid as drawn",
        ),
        ("Vocoder model", f"{short(vocoder.name)}, {_size(vocoder.network)}, mel {vocoder.spec.name}"),
        (
            "Speech",
            f"{len(clip.wave) / clip.sample_rate:.1f} s in {speech.seconds[short(vocoder.name)]:.1f} s; "
            f"{DEFAULT_STEPS} calls, seed {seed}; Griffin-Lim {speech.seconds['Griffin-Lim']:.1f} s",
        ),
        (
            "Made with",
            f"scoregen {scoregen.__version__}, PyTorch {torch.__version__}, "
            f"{torch.get_num_threads()} CPU threads, {platform.system()} {platform.machine()}",
        ),
    ]
    rows += [("Not made", f"{text}: {reason}") for text, _, reason in summary.failures]
    return table_section("Settings and timings", "The same seed gives the same result on this machine.", rows)


def _size(module: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M parameters"
