"""Fine-tuning a vocoder on recordings, and on mels that a TTS made of them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from scoregen.audio.config import build_denoiser
from scoregen.audio.finetune import VocoderFinetuneSettings, _data, _split, _threshold, _weights, finetune
from scoregen.audio.finetune_figures import development
from scoregen.audio.prepare import place, prepare_audio
from scoregen.audio.vocoder import Vocoder
from scoregen.errors import InputError
from scoregen.hub import from_pretrained, save_pretrained
from scoregen.training.cache import Cache

from .helpers import CLIPS, SPEC, small_config, small_vocoder, speech
from .pairs import blurred, write_pairs
from .test_chain import vocoder as chain_vocoder

CUT = 24 * SPEC.hop * 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the small vocoder, which says that it was trained on few and short crops."""
    base, sizes = small_vocoder(), {"frames": 24, "batch": 2, "dev_batches": 2}
    data = {**sizes, "matching_weight": 0.003, "mel_weight": 1.0, "spectrum_weight": 0.0}
    folder = tmp_path_factory.mktemp("model") / "small"
    info = {"training": {"data": data, "train": {"learning_rate": 0.002}}}
    save_pretrained(folder, "audio", base.config.model_dump(mode="json"), base.denoiser.state_dict(), info)
    return str(folder)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five short pieces of the shipped recordings, at a level of their own."""
    folder = tmp_path_factory.mktemp("mine") / "voice"
    folder.mkdir()
    for number in range(len(CLIPS)):
        wave = speech(number, level=False)[10_000 : 10_000 + CUT]
        soundfile.write(folder / f"{number}.wav", wave * 0.5, SPEC.sample_rate)
    return folder


def quick(model: str, **changes: object) -> VocoderFinetuneSettings:
    values = {"steps": 10, "learning_rate": 4e-3, "samples": 1, **changes}
    return VocoderFinetuneSettings(model=model, **values)  # type: ignore[arg-type]


def test_a_fine_tuned_vocoder_is_better_and_ready_to_use(
    model: str, recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    told: list[str] = []
    done = finetune([recordings], out, quick(model, steps=30), notify=told.append)
    assert done.improved and done.finished and done.steps == 30
    assert done.after["denoising_loss"] < done.before["denoising_loss"]
    assert {"mr_stft", "pesq_wb"} <= set(done.before) == set(done.after)
    assert done.clips == {"train": 4, "dev": 1}
    assert sum(done.minutes.values()) == pytest.approx(5 * CUT / SPEC.sample_rate / 60, rel=0.01)
    assert any("training on 4 recordings" in line for line in told)
    assert not (tmp_path / "mine.run").exists()
    new = from_pretrained(out, "audio")
    old = from_pretrained(model).denoiser.state_dict()
    moved = {
        key.split(".")[1]
        for key, value in new.denoiser.state_dict().items()
        if not torch.equal(value, old[key])
    }
    assert moved == {"correction", "spectrum"}
    assert new.info["finetune"]["before"] == done.before
    assert "cache" not in new.info["training"]["data"]
    assert str(tmp_path) not in (out / "config.json").read_text().replace(model, "")
    card = (out / "README.md").read_text()
    assert f"{done.after['denoising_loss']:.3f}" in card and "fell" in card
    assert "## Licence" in card and "4 recordings" in card and "1 other recordings" in card
    assert Vocoder.from_pretrained(out).synthesize(SPEC(torch.from_numpy(speech())), steps=1).any()


def test_a_model_with_a_chain_is_tuned_too(recordings: Path, tmp_path: Path) -> None:
    base = chain_vocoder()
    values = base.config.model_dump(mode="json")
    save_pretrained(tmp_path / "chain", "audio", values, base.denoiser.state_dict())
    done = finetune([recordings], tmp_path / "mine", quick(str(tmp_path / "chain"), samples=0, frames=24))
    assert done.finished and set(done.before) == {"denoising_loss"}
    assert done.after["denoising_loss"] < done.before["denoising_loss"]
    assert Vocoder.from_pretrained(tmp_path / "mine").config == base.config


def test_a_model_without_a_correction_tunes_its_spectrum_alone(recordings: Path, tmp_path: Path) -> None:
    config = small_config(network=None)
    torch.manual_seed(0)
    values, state = config.model_dump(mode="json"), build_denoiser(config).state_dict()
    info = {"training": {"data": {"frames": 24, "batch": 2, "dev_batches": 2}}}
    save_pretrained(tmp_path / "plain", "audio", values, state, info)
    done = finetune([recordings], tmp_path / "mine", quick(str(tmp_path / "plain"), samples=0))
    assert done.finished and done.improved
    assert Vocoder.from_pretrained(tmp_path / "mine").network.correction is None


def test_a_stopped_run_goes_on_to_the_same_model(model: str, recordings: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "mine", quick(model, steps=3, samples=0)
    done = finetune([recordings], out, settings, max_seconds=0)
    assert (done.steps, done.finished) == (1, False)
    assert "the time ran out" in (out / "README.md").read_text()
    with pytest.raises(InputError, match="pass --resume"):
        finetune([recordings], out, settings)
    with pytest.raises(InputError, match="another mels"):
        finetune([recordings], out, settings, mels=write_pairs(recordings, tmp_path / "mels"), resume=True)
    assert finetune([recordings], out, settings, resume=True).finished
    finetune([recordings], tmp_path / "whole", settings)
    one, two = ((folder / "model.safetensors").read_bytes() for folder in (out, tmp_path / "whole"))
    assert one == two


def test_a_recording_that_changed_is_not_resumed(model: str, recordings: Path, tmp_path: Path) -> None:
    mine = tmp_path / "voice"
    shutil.copytree(recordings, mine)
    settings = quick(model, steps=2, samples=0)
    finetune([mine], tmp_path / "mine", settings, max_seconds=0)
    soundfile.write(mine / "6.wav", speech()[:CUT], SPEC.sample_rate)
    with pytest.raises(InputError, match=r"voice/6.wav: changed since"):
        finetune([mine], tmp_path / "mine", settings, resume=True)


def test_mels_of_a_tts_are_trained_and_measured_with(model: str, recordings: Path, tmp_path: Path) -> None:
    mels = write_pairs(recordings, tmp_path / "mels")
    out = tmp_path / "mine"
    done = finetune([recordings], out, quick(model, steps=40), mels=mels)
    plain = finetune([recordings], tmp_path / "plain", quick(model, steps=1))
    assert done.improved and done.mels == "mels" and done.clips == {"train": 4, "dev": 1}
    # The same recording is held out, but what the vocoder is given is blurred, so it does worse.
    assert done.before["mr_stft"] > plain.before["mr_stft"]
    assert "mels of a TTS: mels" in (out / "README.md").read_text()


def test_held_out_recordings_are_given_the_mel_that_belongs_to_them(recordings: Path, tmp_path: Path) -> None:
    mels = write_pairs(recordings, tmp_path / "mels")
    for given, change in ((None, lambda m: m), (mels, blurred)):
        prepare_audio([recordings], tmp_path / "cache", dev_fraction=0.999, mels=given)
        cache = Cache(tmp_path / "cache")
        for clip in development(cache, SPEC, 10):
            assert len(clip.wave) == clip.mel.shape[1] * SPEC.hop
            own = change(SPEC(torch.from_numpy(clip.wave)))
            # At the level of the wave: a mel at another would be off by the gain everywhere.
            loud = own > -6
            assert float((own - clip.mel)[loud].abs().median()) < 0.05


def test_a_split_has_the_share_asked_and_never_an_empty_part() -> None:
    places = sorted(place(f"voice/{i}") for i in range(20))
    for fraction, count in ((0.15, 3), (0.001, 1), (0.999, 19)):
        assert sum(p < _threshold(places, fraction) for p in places) == count
    assert _threshold(places[:1], 0.5) == 0.0


def test_clips_that_cannot_be_used_do_not_leave_a_part_empty(recordings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "voice"
    shutil.copytree(recordings, folder)
    first = min(folder.iterdir(), key=lambda path: place(f"voice/{path.stem}"))
    first.write_text("the one that would be held out is no sound")
    report = _split([folder], None, tmp_path / "cache", SPEC, 24, 0.15)
    assert report.clips == {"train": 3, "dev": 1}
    assert [name for name, _ in report.failed] == [str(first)]


def test_the_model_says_how_it_is_tuned() -> None:
    earlier = {"frames": 40, "batch": 128, "log_sigma_mean": -1.0, "spectrum_weight": 0.0, "gone": 1}
    data = _data({"training": {"data": earlier}}, VocoderFinetuneSettings())
    assert (data["frames"], data["batch"], data["log_sigma_mean"]) == (40, 8, -1.0)
    assert "cache" not in data and "gone" not in data
    assert _weights(data, {"kind": "frames"}) == {"spectrum_weight": 1.0}
    assert _weights({**data, "spectrum_weight": 0.3}, None) == {
        "spectrum_weight": 0.3,
        "matching_weight": 0.0,
        "spectral_weight": 0.0,
        "mel_weight": 0.0,
    }


def test_the_rate_is_a_quarter_and_stays_when_tuned_again(
    model: str, recordings: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        settings = quick(model, steps=1, samples=0, learning_rate=None)
        assert finetune([recordings], tmp_path / name, settings).learning_rate == pytest.approx(5e-4)
        model = str(tmp_path / name)


def test_without_pesq_the_rest_is_measured(
    model: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    done = finetune([recordings], tmp_path / "mine", quick(model, steps=1))
    assert set(done.before) == {"denoising_loss", "clips", "mr_stft"}
    assert sum("pip install 'scoregen[metrics]'" in notice for notice in done.notices) == 1


def bad(folder: Path, kind: str) -> None:
    wave = speech()[:CUT]
    folder.mkdir()
    files: dict[str, Any] = {
        "one": {"a": wave},
        "silence": {"a": np.zeros(CUT), "b": np.zeros(CUT)},
        "short": {"a": wave[:4_000], "b": wave[:4_000]},
        "empty": {},
    }
    for name, samples in files[kind].items():
        soundfile.write(folder / f"{name}.wav", samples, SPEC.sample_rate)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", r"no file with suffix \.wav"),
        ("one", r"1 usable recording, need at least 2: one is kept out"),
        ("silence", r"no usable clip among 2 inputs; first: \S+a.wav: silent"),
        ("short", r"first: \S+a.wav: too short: lasts 0.18 s, need 0.28 s"),
    ],
)
def test_recordings_that_cannot_be_used_are_one_line(
    model: str, tmp_path: Path, kind: str, message: str
) -> None:
    bad(tmp_path / kind, kind)
    with pytest.raises(InputError, match=message) as caught:
        finetune([tmp_path / kind], tmp_path / "mine", quick(model))
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {kind}


def test_folders_with_other_things_are_left_alone(model: str, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("…")
    with pytest.raises(InputError, match="no model folder"):
        finetune([recordings], tmp_path / "thesis", quick(model))
    with pytest.raises(InputError, match="need 'audio'"):
        finetune([recordings], tmp_path / "mine", quick("conformer-small"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "--steps"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"dev_fraction": 1.0}, "--dev-fraction"),
        ({"samples": -1}, "--samples"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VocoderFinetuneSettings(**change)


def test_the_command(command_line: Any, model: str, recordings: Path, tmp_path: Path) -> None:
    mels = write_pairs(recordings, tmp_path / "mels")
    (mels / "0.npy").unlink()
    call = ("finetune", recordings, "--mels", mels, "--model", model, "--samples", 0, "--steps", 2, "--json")
    done = command_line(*call, "-o", tmp_path / "mine", "--learning-rate", 1e-9, "--threads", 1)
    content = json.loads(done.stdout)
    assert done.exit_code == (0 if content["improved"] else 1)
    assert content["clips"] == {"train": 3, "dev": 1} and content["finished"]
    assert "0.wav: no mel of that name" in done.stderr
    for more, message in (
        (("--theory", "dft"), "--theory: not for"),
        (("--mels", tmp_path / "none"), "none: no such folder of mels"),
    ):
        refused = command_line(*call, "-o", tmp_path / "other", *more)
        assert refused.exit_code == 2 and message in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "other.run").exists()
    wrong = command_line("finetune", recordings, "-o", tmp_path / "other")
    assert wrong.exit_code == 2 and "--model vocoder-fast-22k" in wrong.stderr
