"""Sounds and pictures of a training run: in the event file, right, and without a trace in the run itself."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scoregen.audio.config import VocoderDataConfig, build_denoiser
from scoregen.audio.objective import VocoderTask
from scoregen.audio.prepare import prepare_audio
from scoregen.audio.previews import CLIPS, SECONDS, picture
from scoregen.audio.previews import DEFAULT_STEPS as STEPS
from scoregen.audio.render import DEFAULT_STEPS
from scoregen.training.config import RunConfig
from scoregen.training.loop import train
from scoregen.training.previews import Previewing, Sound

from .helpers import SPEC, SPEECH, small_config


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("previews") / "cache"
    prepare_audio([SPEECH], path, dev_fraction=0.3)
    return path


def run(cache: Path, folder: Path, **settings: object) -> RunConfig:
    defaults = {"steps": 4, "eval_every": 2, "checkpoint_every": 1, "log_every": 1, "warmup": 0, "threads": 1}
    return RunConfig.model_validate(
        {
            "modality": "audio",
            "run": folder,
            "model": small_config().model_dump(mode="json"),
            "data": {"cache": str(cache), "frames": 16, "batch": 2, "dev_batches": 1},
            "train": {**defaults, "device": "cpu", **settings},
        }
    )


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), {"audio": 0, "images": 0, "scalars": 0})
    events.Reload()
    return events


def test_the_board_has_recording_synthesis_and_spectrograms(cache: Path, tmp_path: Path) -> None:
    train(run(cache, tmp_path / "run"))
    events = board(tmp_path / "run")
    tags = events.Tags()["audio"]
    recordings = [tag for tag in tags if tag.startswith("recording/")]
    syntheses = [tag for tag in tags if tag.startswith("synthesis/")]
    assert len(recordings) == len(syntheses) == CLIPS
    total = 0.0
    for tag in tags:
        heard = events.Audio(tag)
        assert [event.step for event in heard] == ([2] if tag in recordings else [2, 4])
        with wave.open(io.BytesIO(heard[0].encoded_audio_string)) as sound:
            assert sound.getframerate() == SPEC.sample_rate == heard[0].sample_rate
            values = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        assert values.std() > 100
        total += len(values) / SPEC.sample_rate * (tag in syntheses)
    assert 1.0 < total <= CLIPS * SECONDS
    pictures = events.Tags()["images"]
    assert len(pictures) == CLIPS
    for tag in pictures:
        shown = events.Images(tag)
        assert [event.step for event in shown] == [2, 4]
        assert shown[0].height == 2 * 3 * SPEC.n_mels + 4
        assert shown[0].encoded_image_string != shown[1].encoded_image_string, "the model has moved"


def test_previews_leave_the_run_as_it_is(cache: Path, tmp_path: Path) -> None:
    train(run(cache, tmp_path / "with"))
    train(run(cache, tmp_path / "without", previews=False))
    train(run(cache, tmp_path / "resumed", steps=4), max_seconds=0)
    train(run(cache, tmp_path / "resumed", steps=4), resume=True)
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("with", "without", "resumed")]
    assert logs[0] == logs[1] == logs[2]
    assert not board(tmp_path / "without").Tags()["audio"]


def test_random_state_and_mode_are_untouched(cache: Path) -> None:
    made = task(cache)
    denoiser = build_denoiser(made.model)
    before = torch.get_rng_state()
    first, second = made.previews(denoiser), made.previews(denoiser)
    assert torch.equal(before, torch.get_rng_state())
    assert [a.tag for a in first] == [b.tag for b in second]
    for a, b in zip(first, second, strict=True):
        assert (a.wave == b.wave).all() if isinstance(a, Sound) else (a.pixels == b.pixels).all()
    held = {fact["name"] for fact in made.crops.cache.facts if fact["split"] == "dev"}
    assert all(any(sound.tag.endswith(name) for name in held) for sound in first)


def test_the_model_is_run_as_by_default() -> None:
    assert STEPS == DEFAULT_STEPS


def task(cache: Path) -> VocoderTask:
    made = VocoderTask(small_config(), VocoderDataConfig.model_validate({"cache": cache, "frames": 16}), 0)
    assert isinstance(made, Previewing)
    return made


def test_nothing_is_shown_where_nothing_is_held_out(tmp_path: Path) -> None:
    prepare_audio([SPEECH], tmp_path / "all", dev_fraction=0)
    made = task(tmp_path / "all")
    assert made.previews(build_denoiser(made.model)) == []
    train(run(tmp_path / "all", tmp_path / "run", steps=2))
    assert not board(tmp_path / "run").Tags()["audio"]


def test_a_synthesis_that_is_not_finite_is_left_out(cache: Path) -> None:
    made = task(cache)
    denoiser = build_denoiser(made.model)
    with torch.no_grad():
        denoiser.network.correction.last.bias.fill_(float("nan"))
    shown = made.previews(denoiser)
    assert [one.tag.split("/")[0] for one in shown] == ["recording"] * CLIPS


def test_a_picture_is_the_two_mels() -> None:
    above, below = np.zeros((4, 5)), np.full((4, 5), -1.0)
    above[0, 0] = -1.0  # the lowest band of the first frame
    pixels = picture(above, below, scale=2, gap=3)
    assert pixels.shape == (8 + 3 + 8, 10, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[:6] == (252, 255, 164)).all()
    assert (pixels[6:8, :2] == (0, 0, 4)).all()
    assert (pixels[6:8, 2:] == (252, 255, 164)).all()
    assert (pixels[8:11] == 255).all()
    assert (pixels[11:] == (0, 0, 4)).all()
