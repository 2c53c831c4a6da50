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
from scoregen.audio.onnx import card, compare, export_onnx, pieces, run
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
    config = VocoderModelConfig.model_validate(values)
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


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model with a correction network, and where its files are."""
    model = small(
        network={"kind": "frames", "width": 16, "layers": 1},
        spectrum={"width": 16, "layers": 2, "expansion": 2, "bins": 64},
        prior=calibrated("spectral").to_dict(),
        iterations=2,
    )
    folder = tmp_path_factory.mktemp("guided") / "out"
    export_onnx(model, folder)
    return model, folder


def mels(batch: int, frames: int) -> Tensor:
    """Log-mels of different places of a recording."""
    whole = mel_of(speech(0))
    return torch.stack([whole[:, 9 * k : 9 * k + frames] for k in range(batch)])


def call_of_the_network(model: Model, mel: Tensor, ratio: float = 0.3) -> tuple[list, Tensor]:
    """What a guided model's network gets in a real call of the denoiser, and what it returns."""
    network, calls = model.denoiser.network, []
    assert isinstance(network, Guided)
    assert network.correction is not None
    space = model.config.make_prior().space(mel)
    white = Noise(0, torch.arange(len(mel))).white(space, 0)
    clean = torch.stack([torch.from_numpy(speech(0)[: mel.shape[-1] * SPEC.hop])] * len(mel))
    handle = network.correction.register_forward_hook(lambda module, args, out: calls.append((args, out)))
    sigma = torch.full((len(mel),), ratio, dtype=torch.float64)
    time = model.denoiser.sde.time(-2 * sigma.log())
    model.denoiser(clean + ratio * space.color(white), time, space, network.condition(mel, space))
    handle.remove()
    ((args, out),) = calls
    return list(args), out


def ports_agree(folder: Path) -> None:
    """Names and shapes that ``model.json`` tells are the files'; no path of this machine is in them."""
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    sizes = {
        "samples": f"{SPEC.hop}*frames",
        "grid": "2*frames",
        "grid-1": "2*frames - 1",
        "columns": "frames",
    }
    assert card["mel"] == SPEC.to_dict()
    assert card["recipe"]
    assert {f"{path.stem}.onnx" for path in folder.glob("*.onnx*")} == set(card["files"]), "one file each"
    for name, ports in card["files"].items():
        graph = onnx.load(folder / name).graph
        assert b".py" not in (folder / name).read_bytes()
        for kind, values in (("inputs", graph.input), ("outputs", graph.output)):
            assert [port["name"] for port in ports[kind]] == [value.name for value in values]
            for port, value in zip(ports[kind], values, strict=True):
                found = [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
                assert found == [sizes.get(size, size) for size in port["shape"]], (name, port["name"])


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
    mel, betas = mels(3, 27), (1e-3, 0.05, 0.4)
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

    ports_agree(tmp_path / "out")
    # What an earlier export wrote is replaced; anything else is not.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    refused = command_line("export", tmp_path / "m", "-o", tmp_path / "mine")
    assert refused.exit_code == 2
    assert "choose another folder" in refused.stderr


def test_the_files_of_a_guided_model(guided: tuple[Model, Path]) -> None:
    _, folder = guided
    assert {path.name for path in folder.iterdir()} == {
        "network.onnx",
        "spectrum.onnx",
        "prior.onnx",
        "model.json",
    }
    ports_agree(folder)


def test_magnitudes_and_phase_differences(guided: tuple[Model, Path]) -> None:
    model, folder = guided
    mel = mels(3, 33)
    log_magnitude, *found = (torch.from_numpy(x) for x in run(folder / "spectrum.onnx", mel))
    expected = model.denoiser.network.spectrum(mel)
    assert log_magnitude.shape[-1] == 66
    torch.testing.assert_close(log_magnitude, expected.log_magnitude, atol=TOLERANCE, rtol=0)
    for edge, turn, certainty in zip(
        (expected.edges.across, expected.edges.up), found[::2], found[1::2], strict=True
    ):
        torch.testing.assert_close(certainty, edge.abs(), atol=TOLERANCE, rtol=1e-5)
        assert float(certainty.std()) > 1e-3
        torch.testing.assert_close(turn, torch.view_as_real(edge / edge.abs()), atol=TOLERANCE, rtol=0)


def test_the_correction_at_the_frame_rate(guided: tuple[Model, Path]) -> None:
    model, folder = guided
    args, out = call_of_the_network(model, mels(3, 33))
    inputs = [torch.view_as_real(x.resolve_conj()) if x.is_complex() else x for x in args]
    (found,) = run(folder / "network.onnx", *(x.contiguous() for x in inputs))
    assert float(out.abs().max()) > 1e-3
    np.testing.assert_allclose(found, torch.view_as_real(out).numpy(), atol=TOLERANCE)


def test_the_noise(guided: tuple[Model, Path]) -> None:
    model, folder = guided
    noise, mel = Noise(1, torch.tensor([0])), mels(1, 17)
    space = model.config.make_prior().space(mel)
    (shaped,) = run(folder / "prior.onnx", noise.white(space, 0), mel)
    np.testing.assert_allclose(shaped, noise.normal(space, 0).numpy(), atol=TOLERANCE)


def test_without_a_correction_there_is_no_network() -> None:
    model = small(spectrum={"width": 16, "layers": 1, "bins": 64})
    parts = pieces(model)
    assert [piece.name for piece in parts] == ["spectrum", "prior"]
    recipe = card(model, parts, {f"{piece.name}.onnx": 0.0 for piece in parts})["recipe"]
    assert not any("network.onnx" in line for line in recipe)


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
        turned = torch.polar(size, size)[:, None] * (z[:, 1:] * w[:, :-1].conj())[:, None]
        padded = torch.nn.functional.pad(turned / 3, (1, 0, 0, 2))
        return torch.view_as_real(padded * padded.abs())[..., 0] + (2 * padded).imag


def test_complex_arithmetic_in_pairs() -> None:
    a, b, size = torch.randn(3, 5, 2), torch.randn(3, 5, 2), torch.rand(4)
    module = Arithmetic()
    program = torch.export.export(module, (a, b, size), strict=False)
    found = Realised(program)(a, b, size)
    torch.testing.assert_close(found, module(a, b, size))


def test_a_file_that_differs_is_found(guided: tuple[Model, Path]) -> None:
    model, folder = guided
    spectrum = pieces(model)[0]
    assert compare(spectrum, SPEC.hop, folder / "spectrum.onnx") <= TOLERANCE
    spectrum.module.network.magnitude.bias.data += 0.1
    with pytest.raises(ScoregenError, match=r"spectrum\.onnx differs from PyTorch by"):
        compare(spectrum, SPEC.hop, folder / "spectrum.onnx")


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
