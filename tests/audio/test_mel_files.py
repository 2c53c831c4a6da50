"""Mel files that state their convention, and files of z-norm statistics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from scoregen.audio import files
from scoregen.audio.mel import PRESETS, MelSpec
from scoregen.audio.melfile import MELS, read_mel, sidecar, write_mel
from scoregen.audio.melstream import BLOCK, mel_of
from scoregen.audio.znorm import read_stats, with_stats
from scoregen.errors import InputError

from .helpers import SPEC, speech

NORMED = SPEC.normed(np.linspace(-8, -4, 80).tolist(), 2.0)


@pytest.fixture(scope="module")
def mel() -> Tensor:
    return SPEC(torch.from_numpy(speech(0)))


@pytest.mark.parametrize("suffix", MELS)
@pytest.mark.parametrize("spec", [SPEC, NORMED], ids=lambda spec: spec.name)
def test_written_and_read_back_to_the_bit(tmp_path: Path, mel: Tensor, suffix: str, spec: MelSpec) -> None:
    path = tmp_path / f"a.b{suffix}"
    write_mel(path, mel.T.contiguous().T, spec)
    got, stated = read_mel(path)
    assert torch.equal(got, mel)
    assert got.dtype == torch.float32
    assert stated == spec
    beside = [path.name, "a.b.mel.json"] if suffix == ".npy" else [path.name]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(beside)


def test_an_array_replaced_by_hand_keeps_its_stated_convention_and_none_states_none(
    tmp_path: Path, mel: Tensor
) -> None:
    np.save(tmp_path / "a.npy", mel.numpy())
    assert read_mel(tmp_path / "a.npy")[1] is None
    torch.save(mel, tmp_path / "b.pt")
    assert read_mel(tmp_path / "b.pt")[1] is None
    torch.save({"mel": mel, "spec": "vocos-24k"}, tmp_path / "c.pt")
    assert read_mel(tmp_path / "c.pt")[1] == PRESETS["vocos-24k"]
    save_file({"mel": mel.numpy()}, tmp_path / "d.safetensors", metadata={"spec": "hifigan-22k"})
    assert read_mel(tmp_path / "d.safetensors")[1] == SPEC


def test_a_failed_write_leaves_no_wrong_convention(
    tmp_path: Path, mel: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npy"
    write_mel(path, mel, SPEC)

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="disk full"):
        write_mel(path, mel, NORMED)
    got, stated = read_mel(path)
    assert torch.equal(got, mel)
    assert stated is None


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("{", "no readable mel convention"),
        ('{"name": "x"}', "unknown or missing"),
        ('"nope"', "no readable"),
        (json.dumps({**SPEC.to_dict(), "hop": "far"}), "no readable"),
    ],
)
def test_damaged_conventions(tmp_path: Path, mel: Tensor, spec: str, reason: str) -> None:
    np.save(tmp_path / "a.npy", mel.numpy())
    sidecar(tmp_path / "a.npy").write_text(spec)
    with pytest.raises(InputError, match=reason) as caught:
        read_mel(tmp_path / "a.npy")
    assert "a.mel.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path: Path, mel: Tensor) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"not one")
    save_file({"other": mel.numpy()}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="not readable"):
        read_mel(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="'mel'"):
        read_mel(tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="h5"):
        write_mel(tmp_path / "a.h5", mel, SPEC)


def test_the_vocoder_reads_what_states_another_convention(tmp_path: Path, mel: Tensor) -> None:
    write_mel(tmp_path / "z.safetensors", (mel - 1) / 2, SPEC.normed(1.0, 2.0))
    torch.testing.assert_close(files.read_mel(tmp_path / "z.safetensors", SPEC), mel, atol=2e-6, rtol=0)
    write_mel(tmp_path / "t.npy", mel, PRESETS["tacotron2-22k"])
    with pytest.raises(InputError, match="frames centred ≠ uncentred"):
        files.read_mel(tmp_path / "t.npy", SPEC)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_blocks_of_frames_are_the_whole(name: str) -> None:
    spec, wave = PRESETS[name], speech(0)[:30_011]
    assert spec.frames(len(wave)) < BLOCK
    whole = spec(torch.from_numpy(wave))
    assert torch.equal(mel_of(spec, wave), whole)
    torch.testing.assert_close(mel_of(spec, wave, block=7), whole, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 100, 383, 384, 512, 1023])
def test_very_short_clips(samples: int) -> None:
    for spec in (SPEC, PRESETS["vocos-24k"]):
        mel = mel_of(spec, speech(0)[5_000 : 5_000 + samples])
        assert mel.shape == (spec.n_mels, max(spec.frames(samples), 1))
        spec.check(mel)


MEAN, STD = np.linspace(-8, -4, 80), np.linspace(1, 3, 80)


def write_stats(folder: Path) -> list[Path]:
    """The same statistics in every form."""
    (folder / "a.json").write_text(json.dumps({"mean": MEAN.tolist(), "std": STD.tolist()}))
    np.save(folder / "b.npy", np.stack([MEAN, STD]))
    np.savez(folder / "c.npz", mean=MEAN, std=STD)
    np.savez(folder / "d.npz", count=1000, sum=1000 * MEAN, sum_square=1000 * (STD**2 + MEAN**2))
    save_file({"mel_mean": MEAN, "mel_std": STD[None]}, folder / "e.safetensors")
    return sorted(folder.iterdir())


def test_statistics_of_every_kind(tmp_path: Path, mel: Tensor) -> None:
    for path in write_stats(tmp_path):
        mean, std = read_stats(path)
        np.testing.assert_allclose(mean, MEAN, rtol=1e-12)
        np.testing.assert_allclose(std, STD, rtol=1e-9)
        spec = with_stats(SPEC, path)
        want = (mel.numpy() - MEAN[:, None]) / STD[:, None]
        np.testing.assert_allclose(spec(torch.from_numpy(speech(0))), want, atol=1e-5)
    (tmp_path / "scalar.json").write_text('{"mel_mean": -5.536622, "mel_std": 2.116101}')
    matcha = with_stats(SPEC, tmp_path / "scalar.json")
    assert (matcha.mean, matcha.std) == (-5.536622, 2.116101)


class Dangerous:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_bad_statistics(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("none")
    (tmp_path / "keys.json").write_text('{"mu": 1}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "zero.json").write_text('{"mean": 0, "std": 0}')
    (tmp_path / "nan.json").write_text('{"mean": NaN, "std": 1}')
    np.save(tmp_path / "rows.npy", np.zeros((3, 80)))
    np.save(tmp_path / "pickle.npy", np.array([Dangerous()], object), allow_pickle=True)
    np.save(tmp_path / "bands.npy", np.stack([MEAN[:79], STD[:79]]))
    (tmp_path / "a.yaml").write_text("mean: 1")
    reasons = {
        "text.json": "not z-norm statistics",
        "keys.json": "keys mu",
        "list.json": "not z-norm statistics",
        "zero.json": "positive",
        "nan.json": "finite",
        "rows.npy": "not z-norm statistics",
        "pickle.npy": "not z-norm statistics",
        "bands.npy": "79 bands",
        "a.yaml": ".npz",
        "absent.json": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason) as caught:
            with_stats(SPEC, tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
