"""What a vocoder learned, as ONNX files: one call of each network, for runtimes without PyTorch.

The batch and the number of frames are free. Beside the files, ``model.json`` names their inputs and outputs
and says how a waveform is made of them. Files are compared with PyTorch, on other sizes than they were traced
on.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scoregen.errors import InputError, MissingExtra, ScoregenError
from scoregen.files import atomic_folder
from scoregen.hub import Model

from .config import VocoderModelConfig
from .frames import FrameNet
from .guided import Guided
from .matching import scaled
from .mel import MelSpec
from .prior import Prior
from .realised import Realised
from .recipes import CHAIN, FRAMES, GUIDED
from .spectrum import CERTAINTY, SpectrumNet
from .wavegrad import LevelEncoding, WaveGrad

OPSET = 18

TOLERANCE = 1e-4
"""Largest difference from PyTorch, in units of the largest value where that is above 1."""

CARD = "model.json"

_SIZES = (
    "batch and frames are free; samples = frames · hop; grid = frames · config.spectrum.finer;"
    " columns: frames of the STFT of the mel's hop, the outer ones included"
)


@dataclass(frozen=True)
class Port:
    """An input or output: float32; sizes are numbers or names (``samples`` is ``frames`` times the hop)."""

    name: str
    shape: tuple[int | str, ...]
    meaning: str


@dataclass(frozen=True)
class Piece:
    """A module to be written as ``<name>.onnx``."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: in order.
        difference: largest difference from PyTorch of each, on inputs drawn at random.
    """

    files: list[Path]
    difference: dict[str, float]


def export_onnx(model: Model, out: str | os.PathLike[str]) -> Exported:
    """Write the networks of a vocoder into a folder; see the module docstring.

    Args:
        model: of modality ``audio``.
        out: folder; one that an earlier export wrote is replaced.

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        InputError: not a vocoder, or the folder holds something else.
        ScoregenError: a file does not give what PyTorch gives.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "onnx", "onnx") from None
    if not isinstance(model.config, VocoderModelConfig):
        raise InputError(f"model '{model.name}' is of modality '{model.modality}', not a vocoder")
    folder = Path(out)
    if folder.exists() and not (folder / CARD).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and was not written by export; choose another folder")
    hop, parts, difference = model.config.spec().hop, pieces(model), {}
    with atomic_folder(folder) as temporary:
        for piece in parts:
            path = temporary / f"{piece.name}.onnx"
            write(piece, hop, path)
            difference[path.name] = compare(piece, hop, path)
        text = json.dumps(card(model, parts, difference), indent=1, ensure_ascii=False)
        (temporary / CARD).write_text(text + "\n", encoding="utf-8")
    names = [*(f"{piece.name}.onnx" for piece in parts), CARD]
    return Exported([folder / name for name in names], difference)


def pieces(model: Model) -> list[Piece]:
    """What a vocoder learned, and the shape of its noise, one module each."""
    network, config = copy.deepcopy(model.denoiser.network).cpu().eval(), model.config
    spec, prior = config.spec(), config.make_prior()
    wave = ("batch", "samples")
    mel = Port("log_mel", ("batch", spec.n_mels, "frames"), "aligned log-mel of the convention 'mel'")
    noise = Piece(
        "prior",
        Shaped(prior),
        (Port("white", wave, "independent normal numbers"), mel),
        (Port("noise", wave, "noise n of the forward process"),),
    )
    if config.chain is not None:
        assert isinstance(network, WaveGrad)
        return [_chain(network, spec, prior, mel), noise]
    assert isinstance(network, Guided)
    parts = [_spectrum(network.spectrum, mel)]
    if network.correction is not None:
        parts.append(_frames(network.correction))
    return [*parts, noise]


def _chain(network: WaveGrad, spec: MelSpec, prior: Prior, mel: Port) -> Piece:
    wave = ("batch", "samples")
    inputs = (
        Port("noisy", wave, "√ᾱ times the speech plus √(1 − ᾱ) times the prior's noise"),
        Port("root_alpha_bar", ("batch",), "√ᾱ, between 0 and 1"),
        mel,
    )
    output = Port("epsilon", wave, "the prior's noise in 'noisy', as predicted; in units of the waveform")
    return Piece("network", ChainCall(network, spec, prior), inputs, (output,))


def _spectrum(network: SpectrumNet, mel: Port) -> Piece:
    bins, band = network.magnitude.out_features // network.config.finer, network.band
    across, up = ("batch", band, "grid-1"), ("batch", band - 1, "grid")
    outputs = (
        Port("log_magnitude", ("batch", bins, "grid"), "natural logarithm of STFT magnitudes"),
        Port("across", (*across, 2), "cosine and sine of the phase difference to the next frame"),
        Port("across_certainty", across, "its concentration κ"),
        Port("up", (*up, 2), "cosine and sine of the phase difference to the next bin"),
        Port("up_certainty", up, "its concentration κ"),
    )
    return Piece("spectrum", SpectrumCall(network), (mel,), outputs)


def _frames(network: FrameNet) -> Piece:
    cells = ("batch", network.last.out_features // 2, "columns")
    inputs = (
        Port("state", (*cells, 2), "STFT of the state, real and imaginary part"),
        Port("classical", (*cells, 2), "STFT of the classical estimate, the same way"),
        Port("magnitude", cells, "estimated STFT magnitudes, geometric means over 'finer' frames"),
        Port("deviation", cells, "standard deviation of the noise on the STFT's grid, at this level"),
        Port("level", ("batch",), "¼ ln r"),
    )
    output = Port("correction", (*cells, 2), "STFT to be added to the classical estimate")
    return Piece("network", FrameCall(network), inputs, (output,))


class Shaped(nn.Module):
    """White noise to the prior's noise."""

    def __init__(self, prior: Prior):
        super().__init__()
        self.prior = prior

    def forward(self, white: Tensor, log_mel: Tensor) -> Tensor:
        """``(B, F * hop)`` and ``(B, n_mels, F)`` → ``(B, F * hop)``."""
        return self.prior.space(log_mel).color(white)


class SpectrumCall(nn.Module):
    """Log-mel to log magnitudes and phase differences, complex numbers as cosine, sine and modulus."""

    def __init__(self, network: SpectrumNet):
        super().__init__()
        self.network = network

    def forward(self, log_mel: Tensor) -> tuple[Tensor, ...]:
        """``(B, n_mels, F)`` → log magnitudes ``(B, K, G)``; then to the next frame and to the next bin:
        differences ``(B, ·, ·, 2)`` and certainties ``(B, ·, ·)``."""
        heads = self.network.heads(log_mel)
        out = [heads.log_magnitude]
        for slope, turn in zip(heads.slopes, heads.turns, strict=True):
            missing = slope.shape[1] - turn.shape[2]
            cosine, sine, level = functional.pad(turn, (0, 0, 0, missing)).unbind(1)
            turned = functional.normalize(torch.stack((1 + cosine, sine), dim=-1), dim=-1)
            (c, s), (a, b) = turned.unbind(-1), (slope.cos(), slope.sin())
            out += [torch.stack((a * c - b * s, b * c + a * s), dim=-1), (level + 1).clamp(*CERTAINTY).exp()]
        return tuple(out)


class ChainCall(nn.Module):
    """WaveGrad as published, which is told √ᾱ.

    Inside the package the level is ``¼ ln(σ/α)``. Near √ᾱ = 1 float32 cannot go from one to the other within
    the precision of 5000·√ᾱ, so here the encoding takes what it needs.
    """

    def __init__(self, network: WaveGrad, spec: MelSpec, prior: Prior):
        super().__init__()
        self.network, self.spec, self.prior = network, spec, prior
        for module in network.modules():
            if isinstance(module, LevelEncoding):
                module.alpha = False

    def forward(self, noisy: Tensor, root_alpha_bar: Tensor, log_mel: Tensor) -> Tensor:
        """``(B, F * hop)``, ``(B,)`` and ``(B, n_mels, F)`` → ``(B, F * hop)``."""
        space = self.prior.space(log_mel)
        out: Tensor = self.network(noisy, root_alpha_bar, space, scaled(self.spec, log_mel))
        return out


class FrameCall(nn.Module):
    """A frame-rate network with pairs of real numbers for complex ones."""

    def __init__(self, network: FrameNet):
        super().__init__()
        self.network = network

    def forward(
        self, state: Tensor, classical: Tensor, magnitude: Tensor, deviation: Tensor, level: Tensor
    ) -> Tensor:
        """``(B, K, F, 2)`` twice, ``(B, K, F)`` twice and ``(B,)`` → ``(B, K, F, 2)``."""
        one, two = torch.view_as_complex(state), torch.view_as_complex(classical)
        return torch.view_as_real(self.network(one, two, magnitude, deviation, level))


def write(piece: Piece, hop: int, path: Path) -> None:
    """Write one module as an ONNX file."""
    batch, frames = torch.export.Dim("batch", min=1), torch.export.Dim("frames", min=4)
    free = {"batch": batch, "frames": frames, "samples": hop * frames, "columns": frames}
    shapes = tuple(
        {axis: free[size] for axis, size in enumerate(port.shape) if isinstance(size, str)}
        for port in piece.inputs
    )
    examples = draw(piece, hop, batch=2, frames=12)
    with torch.no_grad(), _quiet():
        # Tables are computed on the first call and kept; while tracing they would be symbols, not numbers.
        piece.module(*examples)
        module: nn.Module = piece.module
        signature: tuple[Any, ...] = shapes
        if isinstance(module, FrameCall):
            program = torch.export.export(
                module,
                examples,
                dynamic_shapes=shapes,
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            module, signature = Realised(program), (shapes,)
        made = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=signature,
            input_names=[port.name for port in piece.inputs],
            output_names=[port.name for port in piece.outputs],
            verbose=False,
        )
        assert made is not None
        # Each node tells what line of which file it comes from, with the folders of this machine.
        for node in made.model.graph.all_nodes():
            node.metadata_props.clear()
        made.save(str(path))


def compare(piece: Piece, hop: int, path: Path) -> float:
    """Largest difference between a file and its module, over the largest value where that is above 1.

    Raises:
        ScoregenError: above :data:`TOLERANCE`.
    """
    inputs = draw(piece, hop, batch=3, frames=21)
    with torch.no_grad():
        expected = piece.module(*inputs)
    worst = 0.0
    for found, true in zip(
        run(path, *inputs), expected if isinstance(expected, tuple) else (expected,), strict=True
    ):
        scale = max(1.0, float(true.abs().max()))
        worst = max(worst, float(np.abs(found - true.numpy()).max()) / scale)
    if not worst <= TOLERANCE:
        raise ScoregenError(f"{path.name} differs from PyTorch by {worst:.1e}; it was not written")
    return worst


def run(path: Path, *inputs: Tensor) -> list[np.ndarray]:
    """The outputs of an ONNX file, by onnxruntime on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    found: list[np.ndarray] = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    return found


def draw(piece: Piece, hop: int, *, batch: int, frames: int) -> tuple[Tensor, ...]:
    """Inputs for a module, different from each other: numbers between 0 and 1, log-mels between −5 and 0."""
    sizes = {"batch": batch, "frames": frames, "samples": frames * hop, "columns": frames}
    generator = torch.Generator().manual_seed(0)
    made = []
    for port in piece.inputs:
        shape = [sizes[size] if isinstance(size, str) else size for size in port.shape]
        values = torch.rand(shape, generator=generator) * 0.9 + 0.05
        made.append(-5 * values if port.name == "log_mel" else values)
    return tuple(made)


def card(model: Model, parts: list[Piece], difference: dict[str, float]) -> dict[str, Any]:
    """What ``model.json`` holds."""
    config = model.config
    recipe: tuple[str, ...] = CHAIN
    if config.chain is None:
        recipe = GUIDED if config.network is None else FRAMES
    return {
        "model": model.name,
        "opset": OPSET,
        "dtype": "float32",
        "mel": config.spec().to_dict(),
        "hop": config.spec().hop,
        "sizes": _SIZES,
        "files": {
            f"{piece.name}.onnx": {
                "inputs": [asdict(port) for port in piece.inputs],
                "outputs": [asdict(port) for port in piece.outputs],
                "difference": difference[f"{piece.name}.onnx"],
            }
            for piece in parts
        },
        "recipe": list(recipe),
        "config": config.model_dump(mode="json"),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on what it cannot register."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
