"""Exported networks give what PyTorch gives, on real mels of other lengths and batches than when traced."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scoregen.audio.config import VocoderModelConfig, build_denoiser
from scoregen.audio.guided import Guided
from scoregen.audio.onnx import Piece, compare, export_onnx, pieces, run, write
from scoregen.audio.realised import Realised
from scoregen.core import Noise
from scoregen.core.ddpm import DDPM
from scoregen.errors import InputError, MissingExtra, ScoregenError
from scoregen.hub import Model, save_pretrained

from .helpers import SPEC, calibrated, mel_of, speech

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

WAVE = {"factors": [16], "patch": 16, "frame": 16, "up": [16], "down": [16], "up_dilations": [[1, 2, 4, 8]]}
TOLERANCE = 1e-4


def small(**values: object) -> Model:
    """An untrained model whose every weight matters."""
    config = VocoderModelConfig.model_validate({"magnitude_width": 16, "iterations": 2, **values})
    torch.manual_seed(0)
    denoiser = build_denoiser(config).eval().requires_grad_(False)
    for parameter in denoiser.parameters():
        if not bool(parameter.any()):
            parameter.normal_(0, 0.02)
    return Model("small", "audio", config, denoiser)


def chain() -> Model:
    """WaveGrad on the whitened waveform, with PriorGrad's noise."""
    prior = calibrated("energy").to_dict()
    return small(network={**WAVE, "whiten": True}, chain={"steps": 8, "last": 0.3}, prior=prior)


def mels(model: Model, batch: int, frames: int) -> Tensor:
    """Log-mels of different places of a recording."""
    whole = mel_of(speech(0))
    return torch.stack([whole[:, 9 * k : 9 * k + frames] for k in range(batch)])


def written(model: Model, name: str, folder: Path) -> Callable[..., list[np.ndarray]]:
    """One piece as a file, as a function."""
    piece: Piece = next(piece for piece in pieces(model) if piece.name == name)
    path = folder / f"{name}.onnx"
    write(piece, SPEC.hop, path)
    assert not list(folder.glob("*.data")), "one file, whatever its size"
    return lambda *inputs: run(path, *inputs)


def call_of_the_network(model: Model, mel: Tensor, ratio: float = 0.3) -> tuple[list, Tensor, Tensor]:
    """What a guided model's network gets in a real call of the denoiser, what it returns, and the level."""
    network, calls = model.denoiser.network, []
    assert isinstance(network, Guided)
    space = model.config.make_prior().space(mel)
    white = Noise(0, torch.arange(len(mel))).white(space, 0)
    frames = mel.shape[-1]
    clean = torch.stack([torch.from_numpy(speech(0)[: frames * SPEC.hop])] * len(mel))
    handle = network.wave.register_forward_hook(lambda module, args, out: calls.append((args, out)))
    condition, _ = network.condition(mel, space)
    sigma = torch.full((len(mel),), ratio, dtype=torch.float64)
    model.denoiser(
        clean + ratio * space.color(white), model.denoiser.sde.time(-2 * sigma.log()), space, condition
    )
    handle.remove()
    (args, out), level = calls[0], (sigma.log() / 4).float()
    return list(args), out, level


def test_a_chain_from_files_alone_is_the_vocoder(tmp_path: Path, command_line: Callable) -> None:
    """The command, then algorithm 2 of the paper in numpy with the two files, against the renderer."""
    from scoregen.audio.vocoder import Vocoder

    model = chain()
    save_pretrained(
        tmp_path / "m", "audio", model.config.model_dump(mode="json"), model.denoiser.state_dict()
    )
    done = command_line("export", tmp_path / "m", "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert {Path(file).name for file in facts["files"]} == {"network.onnx", "prior.onnx", "model.json"}
    assert max(facts["difference"].values()) <= TOLERANCE

    vocoder = Vocoder.from_pretrained(tmp_path / "m")
    mel, betas = mels(model, 3, 27), (1e-3, 0.05, 0.4)
    noise = Noise(5, torch.tensor([7, 8, 9]))
    expected = vocoder.renderer.along(DDPM(betas), mel, noise).numpy()

    bars = np.cumprod([1 - beta for beta in betas])
    space = model.config.make_prior().space(mel)
    shaped = [run(tmp_path / "out" / "prior.onnx", noise.white(space, k), mel)[0] for k in (-1, 0, 1)]
    x = np.sqrt(1 - bars[2]) * shaped[0]
    for k in (2, 1, 0):
        level = torch.full((3,), float(np.sqrt(bars[k])))
        (eps,) = run(tmp_path / "out" / "network.onnx", torch.from_numpy(x.astype(np.float32)), level, mel)
        x = (x - betas[k] / np.sqrt(1 - bars[k]) * eps) / np.sqrt(1 - betas[k])
        if k:
            x = x + np.sqrt((1 - bars[k - 1]) / (1 - bars[k]) * betas[k]) * shaped[3 - k]
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(x, expected, atol=TOLERANCE)

    card = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert card["mel"] == SPEC.to_dict()
    assert card["config"]["chain"]["steps"] == 8
    for name, ports in card["files"].items():
        graph = onnx.load(tmp_path / "out" / name).graph
        assert b".py" not in (tmp_path / "out" / name).read_bytes(), "paths of this machine"
        for kind, values in (("inputs", graph.input), ("outputs", graph.output)):
            assert [port["name"] for port in ports[kind]] == [value.name for value in values]
            for port, value in zip(ports[kind], values, strict=True):
                sizes = [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
                assert sizes == [f"{SPEC.hop}*frames" if s == "samples" else s for s in port["shape"]]
    # What an earlier export wrote is replaced; anything else is not.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    refused = command_line("export", tmp_path / "m", "-o", tmp_path / "mine")
    assert refused.exit_code == 2
    assert "choose another folder" in refused.stderr


def test_the_networks_of_a_guided_wavegrad(tmp_path: Path) -> None:
    model = small(network={**WAVE, "whiten": True}, prior=calibrated("spectral").to_dict())
    mel = mels(model, 3, 33)
    args, out, level = call_of_the_network(model, mel)
    state, _, _, (_, filtered, rebuilt) = args
    (found,) = written(model, "network", tmp_path)(state, level, mel, filtered, rebuilt)
    assert float(out.abs().max()) > 1e-3
    np.testing.assert_allclose(found, out.numpy(), atol=TOLERANCE)
    noise = Noise(1, torch.tensor([0]))
    space = model.config.make_prior().space(mel[:1])
    (shaped,) = written(model, "prior", tmp_path)(noise.white(space, 0), mel[:1])
    np.testing.assert_allclose(shaped, noise.normal(space, 0).numpy(), atol=TOLERANCE)


def test_the_networks_at_the_frame_rate(tmp_path: Path) -> None:
    network = {"kind": "frames", "width": 16, "layers": 1}
    model = small(network=network, slopes=True, prior=calibrated("spectral").to_dict())
    mel = mels(model, 3, 33)
    args, out, level = call_of_the_network(model, mel)
    pairs = [torch.view_as_real(x).contiguous() if x.is_complex() else x for x in args[:4]]
    (found,) = written(model, "network", tmp_path)(*(x.contiguous() for x in pairs), level)
    assert float(out.abs().max()) > 1e-3
    np.testing.assert_allclose(found, torch.view_as_real(out).numpy(), atol=TOLERANCE)
    log_magnitude, slopes = written(model, "magnitude", tmp_path)(mel)
    expected = model.denoiser.network.magnitude.with_slopes(mel)
    np.testing.assert_allclose(log_magnitude, expected[0].numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(slopes, expected[1].numpy(), atol=TOLERANCE)


class Sums(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        z = torch.view_as_complex(x)
        return torch.view_as_real(z.cumsum(0))


def test_what_has_no_rule_is_named() -> None:
    x = torch.randn(4, 2)
    program = torch.export.export(Sums(), (x,), strict=False)
    with pytest.raises(ScoregenError, match="cumsum"):
        Realised(program)(x)


class Arithmetic(torch.nn.Module):
    def forward(self, a: Tensor, b: Tensor, size: Tensor) -> Tensor:
        z, w = torch.view_as_complex(a), torch.view_as_complex(b)
        turned = torch.polar(size, size)[:, None] * (z[:, 1:] * w[:, :-1].conj()).transpose(0, 1)[:, None]
        parts = torch.cat((turned, turned / 3), dim=-1)
        padded = torch.nn.functional.pad(parts, (1, 0, 0, 2))
        return torch.view_as_real(padded * padded.abs() + 2 * padded)[..., 0] + padded.imag


def test_complex_arithmetic_in_pairs() -> None:
    a, b, size = torch.randn(3, 5, 2), torch.randn(3, 5, 2), torch.rand(4)
    module = Arithmetic()
    program = torch.export.export(module, (a, b, size), strict=False)
    found = Realised(program)(a, b, size)
    torch.testing.assert_close(found, module(a, b, size))


def test_a_file_that_differs_is_found(tmp_path: Path) -> None:
    model = small(network={"kind": "frames", "width": 16, "layers": 1})
    magnitude = pieces(model)[0]
    write(magnitude, SPEC.hop, tmp_path / "a.onnx")
    assert compare(magnitude, SPEC.hop, tmp_path / "a.onnx") <= TOLERANCE
    magnitude.module.network.last.bias.data += 0.1
    with pytest.raises(ScoregenError, match=r"a\.onnx differs from PyTorch by"):
        compare(magnitude, SPEC.hop, tmp_path / "a.onnx")


def test_without_the_extra_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingExtra, match=r"onnxruntime is not installed; run: pip install 'scoregen\[onnx\]'"
    ):
        export_onnx(chain(), tmp_path / "out")


def test_other_models_are_refused(tmp_path: Path) -> None:
    from scoregen.hub import from_pretrained

    with pytest.raises(InputError, match="not a vocoder"):
        export_onnx(from_pretrained("conformer-small"), tmp_path / "out")
