"""The vocoder people call: mel spectrogram or recording in, waveform of exactly the right length out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scoregen.core import Noise
from scoregen.errors import InputError
from scoregen.hub import Model, from_pretrained

from .config import VocoderModelConfig
from .files import check_wave, fit, resample, split, undershoot_notice
from .longform import Recording
from .loudness import Level, scale_mel
from .mel import MelSpec, aligned, raised
from .melstream import FRAMES
from .render import DEFAULT_STEPS, GuidedRenderer, Start, renderer
from .stream import BLOCK, PAD, Stream

DEFAULT_MODEL = "vocoder-fast-22k"


class Vocoder:
    """A trained vocoder.

    Args:
        model: a loaded model of modality ``audio``.

    Example:
        >>> vocoder = Vocoder.from_pretrained("vocoder-fast-22k")   # doctest: +SKIP
        >>> wave = vocoder.synthesize(vocoder.spec(recording))       # doctest: +SKIP
    """

    def __init__(self, model: Model):
        if not isinstance(model.config, VocoderModelConfig):
            raise InputError(f"model '{model.name}' is of modality '{model.modality}', not a vocoder")
        self.name = model.name
        self.config = model.config
        self.info = model.info
        self.denoiser = model.denoiser
        self.network = model.denoiser.network
        self.spec: MelSpec = model.config.spec()
        self.renderer = renderer(model.denoiser, model.config)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = DEFAULT_MODEL, device: str | torch.device = "cpu"
    ) -> Vocoder:
        """Load a shipped model, a model folder, or ``owner/name`` from the Hugging Face Hub.

        Raises:
            InputError: not found, damaged, or not a vocoder.
        """
        return cls(from_pretrained(name, "audio", device))

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that :meth:`synthesize` makes."""
        return self.spec.sample_rate

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.network.parameters()).device

    def synthesize(
        self,
        mel: Tensor | np.ndarray,
        *,
        seed: int = 0,
        steps: int = DEFAULT_STEPS,
        sample_id: int = 0,
        start: Start | None = None,
        block: int = BLOCK,
        gain: float | None = None,
        source: str = "mel",
    ) -> np.ndarray:
        """Waveform of one log-mel spectrogram.

        Args:
            mel: ``(n_mels, F)`` of the convention :attr:`spec`; values up to one nat below its floor are
                raised to it, with a warning where they are many.
            seed, sample_id: key of the noise; the same key gives the same waveform, whatever else is
                synthesised beside it.
            steps: network calls.
            start: where the reverse process starts; the model's own default when omitted.
            block: frames rendered at once; bounds the memory.
            gain: factor to the level of the training clips, undone afterwards; None measures it.
            source: how error messages name the input.

        Returns:
            float32 ``(F * hop,)`` at :attr:`sample_rate`.

        Raises:
            InputError: the mel is of another shape or convention, or ``steps < 1``.
        """
        mel = torch.as_tensor(mel, dtype=torch.float32)
        if mel.ndim != 2:
            raise InputError(f"{source}: shape {tuple(mel.shape)}; need ({self.spec.n_mels}, frames)")
        ids = torch.tensor([sample_id])
        factor = None if gain is None else torch.tensor([float(gain)])
        options: dict[str, Any] = {
            "seed": seed,
            "steps": steps,
            "start": start,
            "block": block,
            "gain": factor,
        }
        return self.synthesize_batch(mel[None], ids, **options, source=source)[0].numpy()

    @torch.no_grad()
    def synthesize_batch(
        self,
        mels: Tensor,
        ids: Tensor,
        *,
        seed: int = 0,
        steps: int = DEFAULT_STEPS,
        start: Start | None = None,
        block: int = BLOCK,
        gain: Tensor | None = None,
        source: str = "mel",
    ) -> Tensor:
        """Waveforms ``(B, F * hop)`` of log-mels of equal length ``(B, n_mels, F)``; see :meth:`synthesize`.

        They are rendered in blocks of ``block`` frames, as :meth:`stream` does, so memory stays bounded.
        ``gain`` has one factor a mel, ``(B,)``.
        """
        mels = self._raised(mels, source)
        gain = self.gain(mels, source) if gain is None else gain
        stream = self._stream(ids, seed, steps, start, block, gain)
        return torch.cat((stream.push(mels, source), stream.close()), dim=1)

    def stream(
        self,
        chunks: Iterable[Tensor | np.ndarray],
        *,
        seed: int = 0,
        steps: int = DEFAULT_STEPS,
        sample_id: int = 0,
        start: Start | None = None,
        block: int = BLOCK,
        gain: float | None = None,
        source: str = "mel",
    ) -> Iterator[np.ndarray]:
        """The waveform of a log-mel that arrives in pieces, in pieces.

        Put together they are what :meth:`synthesize` gives for the whole, whatever the sizes of the pieces:
        sample for sample if ``gain`` is that of the whole (:meth:`gain`) and ``block`` the same.

        Args:
            chunks: log-mels ``(n_mels, f)``, any ``f``.
            seed, steps, sample_id, start, source: as in :meth:`synthesize`.
            block: frames rendered at once. A sample is made when at most ``block + 33`` frames beyond it are
                known; every block costs 64 frames more than its own.
            gain: factor to the level of the training clips; None measures it on the first block.

        Yields:
            float32 ``(T,)``; in all ``F * hop`` samples.

        Raises:
            InputError: a mel of another shape or convention, ``steps < 1`` or ``block < 1``.
        """
        factor = None if gain is None else torch.tensor([float(gain)])
        stream = self._stream(torch.tensor([sample_id]), seed, steps, start, block, factor)
        for number, chunk in enumerate(chunks):
            mel = torch.as_tensor(chunk, dtype=torch.float32)
            if mel.ndim != 2:
                raise InputError(
                    f"{source}, piece {number}: shape {tuple(mel.shape)}; need ({self.spec.n_mels}, frames)"
                )
            mel = self._raised(mel, source)
            made = stream.push(mel[None], f"{source}, piece {number}")
            if made.shape[1]:
                yield made[0].numpy()
        rest = stream.close()
        if rest.shape[1]:
            yield rest[0].numpy()

    def gain(self, mels: Tensor, source: str = "mel") -> Tensor:
        """Factors ``(B,)`` that bring log-mels ``(B, n_mels, F)`` to the level of the training clips."""
        mels, _ = raised(self.spec, mels)
        self.spec.check(mels, source)
        level = Level(self.spec, FRAMES)
        level.push(mels)
        return level.gain()

    def latency(self, *, steps: int = DEFAULT_STEPS, block: int = BLOCK, start: Start | None = None) -> float:
        """Seconds of mel beyond a sample, at most, that :meth:`stream` waits for before it makes it.

        Raises:
            InputError: ``steps < 1`` or ``block < 1``.
        """
        return self._stream(torch.zeros(1, dtype=torch.int64), 0, steps, start, block, None).latency

    def _raised(self, mel: Tensor, source: str) -> Tensor:
        mel, low = raised(self.spec, mel)
        for notice in undershoot_notice(source, low, mel.numel()):
            warnings.warn(notice, stacklevel=3)
        return mel

    def _stream(
        self, ids: Tensor, seed: int, steps: int, start: Start | None, block: int, gain: Tensor | None
    ) -> Stream:
        start = start or Start(self.config.init, self.config.start)
        options: dict[str, Any] = {"seed": seed, "steps": steps, "start": start, "block": block, "gain": gain}
        return Stream(self.renderer, self.spec, ids, self.device, **options)

    def resynthesize(
        self,
        waveform: Tensor | np.ndarray,
        sample_rate: int,
        *,
        seed: int = 0,
        steps: int = DEFAULT_STEPS,
        sample_id: int = 0,
        start: Start | None = None,
        block: int = BLOCK,
        source: str = "waveform",
    ) -> np.ndarray:
        """A recording through its mel spectrogram and back: same length, same sample rate.

        Its level is measured before the mel, in which quiet recordings would sink below the floor, and
        restored. A DC offset is removed.

        Args:
            waveform: mono ``(T,)``, float in [-1, 1] or integer.
            sample_rate: its rate in Hz; another than the model's is converted there and back.
            seed, steps, sample_id, start, block, source: as in :meth:`synthesize`.

        Returns:
            float32 ``(T,)`` at ``sample_rate``.

        Raises:
            InputError: not a mono waveform, empty, or with NaN or infinite samples.
        """
        wave = check_wave(waveform, source)
        recording = Recording(lambda: split(wave), sample_rate, self.spec)
        if recording.silent:
            return np.zeros_like(wave)
        out = self.synthesize(
            torch.cat(list(recording.mels()), dim=-1),
            seed=seed,
            steps=steps,
            sample_id=sample_id,
            start=start,
            block=block,
            gain=1.0,
            source=source,
        )
        return fit(resample(out / recording.gain, self.sample_rate, sample_rate), len(wave))

    def mel(self, waveform: Tensor | np.ndarray, sample_rate: int) -> Tensor:
        """Log-mel of a mono waveform ``(T,)``: ``(n_mels, F)``, F blocks that just cover it."""
        wave = resample(check_wave(waveform), sample_rate, self.sample_rate)
        frames = -(-len(wave) // self.spec.hop)
        return self.spec(self._padded(wave))[:, :frames]

    def _padded(self, wave: np.ndarray) -> Tensor:
        """Zeros at the end up to whole blocks, and to two analysis windows at least."""
        hop = self.spec.hop
        frames = max(-(-len(wave) // hop), -(-2 * self.spec.n_fft // hop))
        return torch.from_numpy(fit(wave, frames * hop))

    def estimate(self, mel: Tensor | np.ndarray, *, seed: int = 0) -> np.ndarray:
        """The estimate without diffusion: what is likely by the mel alone.

        Args:
            mel: ``(n_mels, F)``; held in memory whole.
            seed: of the phases above the mel's band.

        Returns:
            float32 ``(F * hop,)``.

        Raises:
            InputError: the model has none, or the mel is of another convention.
        """
        if not isinstance(self.renderer, GuidedRenderer):
            raise InputError(f"model '{self.name}' starts from noise; it makes no estimate before")
        mel = torch.as_tensor(mel, dtype=torch.float32)[None]
        self.spec.check(mel)
        gain = self.gain(mel)
        level = scale_mel(self.spec, aligned(self.spec, mel), gain)
        padded = functional.pad(level, (PAD, PAD), mode="replicate")
        noise = Noise(seed, torch.zeros(1, dtype=torch.int64))
        wave = self.renderer.estimate(padded.to(self.device), noise)[0].cpu() / gain
        return wave[PAD * self.spec.hop : -PAD * self.spec.hop].numpy()


def describe(vocoder: Vocoder) -> dict[str, Any]:
    """JSON-able facts about a vocoder for reports."""
    count = sum(p.numel() for p in vocoder.network.parameters())
    return {"model": vocoder.name, "mel": vocoder.spec.name, "parameters": count}
