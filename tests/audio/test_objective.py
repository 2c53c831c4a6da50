from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchaudio

from scoregen.audio.config import VocoderDataConfig, build_denoiser
from scoregen.audio.mel import aligned
from scoregen.audio.objective import PHASE, VocoderTask
from scoregen.audio.prepare import prepare_audio
from scoregen.errors import InputError

from .helpers import CLIPS, SPEECH, small_config


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "cache"
    prepare_audio([SPEECH], path, dev_fraction=0.3)
    return path


def task(cache: Path, seed: int = 0, **changes: object) -> VocoderTask:
    data = VocoderDataConfig.model_validate({"cache": cache, "frames": 32, **changes})
    return VocoderTask(small_config(), data, seed)


def test_batches_are_functions_of_seed_and_step(cache: Path) -> None:
    one, two = task(cache), task(cache)
    two.batch(3)
    a, b = one.batch(7), two.batch(7)
    assert torch.equal(a.wave, b.wave)
    assert torch.equal(a.mel, b.mel)
    assert torch.equal(a.ids, b.ids)
    assert not torch.equal(a.wave, one.batch(8).wave)
    assert not torch.equal(a.wave, task(cache, seed=1).batch(7).wave)
    assert a.wave.shape == (4, 32 * 256)
    assert a.mel.shape == (4, 80, 32)


def test_crops_carry_the_mel_of_the_whole_clip(cache: Path) -> None:
    made = task(cache)
    batch = made.batch(0)
    for row in range(4):
        record, first = int(batch.ids[row]) // 2**32, int(batch.ids[row]) % 2**32
        wave = torch.from_numpy(made.crops.cache[record]["wave"].astype("float32") / 32_767)
        whole = made.spec(wave[: len(wave) // 256 * 256])
        torch.testing.assert_close(batch.mel[row], whole[:, first : first + 32], atol=1e-4, rtol=1e-4)
        inside = wave[first * 256 + 128 : (first + 32) * 256 - 128]
        torch.testing.assert_close(batch.wave[row, 128:-128], inside)


def test_training_clips_are_never_in_dev_batches(cache: Path) -> None:
    made = task(cache)
    train = {int(i) // 2**32 for step in range(30) for i in made.batch(step).ids}
    held = {int(i) // 2**32 for batch in made.dev_batches() for i in batch.ids}
    assert train
    assert held
    assert not train & held
    assert all(made.crops.cache.facts[i]["split"] == "train" for i in train)


TOLD = {"magnitude", "across", "up"}
DENOISED = {"matching", "spectral", "mel", "spectral_policy", "mel_policy"}


def test_losses_repeat_and_only_named_parts_are_trained(cache: Path) -> None:
    made = task(cache, spectrum_weight=1)
    torch.manual_seed(0)
    denoiser = build_denoiser(made.model)
    values = [made.loss(denoiser, made.batch(5), 5) for _ in range(2)]
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])
    assert values[0].keys() == {"loss"} | TOLD | DENOISED
    off = {"matching_weight": 0, "spectral_weight": 0, "mel_weight": 0}
    for weights, trained, parts in (
        ({"spectrum_weight": 1, **off}, {"spectrum"}, TOLD),
        ({}, {"correction"}, DENOISED),
        ({**off, "mel_weight": 1}, {"correction"}, DENOISED),
        ({"spectrum_weight": 1}, {"spectrum", "correction"}, TOLD | DENOISED),
        ({"on_policy": 0}, {"correction"}, {"matching", "spectral", "mel"}),
    ):
        denoiser.zero_grad()
        part = task(cache, **weights)
        losses = part.loss(denoiser, part.batch(0), 0)
        assert losses.keys() == {"loss"} | parts
        losses["loss"].backward()
        moved = {
            n.split(".")[1] for n, p in denoiser.named_parameters() if p.grad is not None and p.grad.any()
        }
        assert moved == trained


def test_the_loss_is_the_weighted_sum_of_its_parts(cache: Path) -> None:
    made = task(cache, spectrum_weight=2, matching_weight=0.5, spectral_weight=3, mel_weight=0.7)
    v = made.loss(build_denoiser(made.model), made.batch(0), 0)
    expected = 2 * (v["magnitude"] + PHASE * (v["across"] + v["up"]))
    expected = expected + 0.5 * v["matching"] + 3 * v["spectral"] + 0.7 * v["mel"]
    torch.testing.assert_close(v["loss"].detach(), expected)


def test_half_the_crops_are_resampled(cache: Path) -> None:
    made, again = (task(cache, speeds=[1.25]) for _ in range(2))
    plain = quick = 0
    for step in range(6):
        batch = made.batch(step)
        assert batch.wave.shape == (4, 32 * 256) and batch.mel.shape == (4, 80, 32)
        assert torch.equal(batch.wave, again.batch(step).wave)
        assert torch.equal(batch.mel, again.batch(step).mel)
        for row in range(4):
            record, first = int(batch.ids[row]) // 2**32, int(batch.ids[row]) % 2**32
            wave = torch.from_numpy(made.crops.cache[record]["wave"].astype("float32") / 32_767)
            inner = batch.wave[row, 128:-128]
            if torch.equal(inner, wave[first * 256 + 128 : (first + 32) * 256 - 128]):
                plain += 1
                continue
            quick += 1
            # A quarter longer, from four frames after the place on: those the mel of its edges is made with.
            slow = torchaudio.functional.resample(wave[first * 256 :], 4, 5)[4 * 256 :][: 32 * 256]
            slow = torch.nn.functional.pad(slow, (0, 32 * 256 - len(slow)))
            torch.testing.assert_close(inner[:-300], slow[128:-128][:-300], atol=1e-3, rtol=0)
            found = aligned(made.spec, made.spec(batch.wave[row]), 32)
            torch.testing.assert_close(batch.mel[row, :, 3:-3], found[:, 3:-3], atol=1e-3, rtol=1e-3)
    assert plain >= 6 and quick >= 6
    assert not torch.equal(task(cache, seed=1, speeds=[1.25]).batch(0).wave, made.batch(0).wave)


def test_dev_batches_are_never_resampled(cache: Path) -> None:
    for a, b in zip(task(cache, speeds=[1.25]).dev_batches(), task(cache).dev_batches(), strict=True):
        assert torch.equal(a.wave, b.wave) and torch.equal(a.mel, b.mel) and torch.equal(a.ids, b.ids)


def test_tiny_overfit_on_real_clips(cache: Path) -> None:
    """Thirty steps on one fixed batch: every part of the loss falls."""
    torch.manual_seed(0)
    # At these levels the classical denoiser, where training starts, is mostly a filter.
    made = task(cache, log_sigma_mean=-4.0, log_sigma_std=0.3, spectrum_weight=1, batch=2)
    denoiser = build_denoiser(made.model)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=4e-3)
    batch, first, last = made.batch(0), None, None
    for _ in range(30):
        values = made.loss(denoiser, batch, 0)
        optimizer.zero_grad()
        values["loss"].backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        last = {name: float(value) for name, value in values.items() if name != "loss"} | {
            "loss": float(values["loss"].detach())
        }
        first = first or last
    assert first is not None
    assert last is not None
    assert last["loss"] < 0.8 * first["loss"]
    assert last["magnitude"] < 0.85 * first["magnitude"]
    assert last["spectral"] < 0.9 * first["spectral"]
    assert last["matching"] < 0.95 * first["matching"]


def test_mismatched_data_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 5000 frames"):
        task(cache, frames=5_000)
    prepare_audio([CLIPS[0]], tmp_path / "c24", spec="bigvgan-24k", dev_fraction=0)
    with pytest.raises(InputError, match="bigvgan-24k"):
        task(tmp_path / "c24")


def test_training_needs_no_soundfile(cache: Path) -> None:
    code = (
        "import sys; sys.modules['soundfile'] = sys.modules['rdkit'] = sys.modules['soxr'] = None\n"
        "from scoregen.modality import get_modality\n"
        "m = get_modality('audio')\n"
        f"t = m.task(m.model_config(), m.data_config(cache={str(cache)!r}, frames=16, batch=2), 0)\n"
        "print(float(t.loss(m.build(t.model), t.batch(0), 0)['loss']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0
