"""Mel spectrograms whose convention is data: :class:`MelSpec` and the presets people really have files in.

A log-mel value means nothing without its convention: two common 24 kHz, 100-band conventions differ by
more than four nats and one frame on the same signal. So a convention is a frozen value that travels with
every model and cache, and :meth:`MelSpec.check` refuses what cannot be of this convention.

=============  ===================================================================================
preset         where it comes from
=============  ===================================================================================
hifigan-22k    HiFi-GAN (Kong et al. 2020), Tacotron 2, Matcha-TTS: 22.05 kHz, 80 bands, 0-8 kHz
bigvgan-24k    BigVGAN (Lee et al. 2023): the same recipe with 100 bands, 0-12 kHz
vocos-24k      Vocos (Siuzdak 2024): torchaudio's HTK scale, no area norm, centred frames
wavegrad-24k   the lmnt WaveGrad implementation: 128 bands, hop 300, decibels mapped to [0, 1]
=============  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, Literal

import torch
import torchaudio
from torch import Tensor

from scoregen.errors import InputError


@dataclass(frozen=True)
class MelSpec:
    """One mel convention.

    Attributes:
        name: what people call it; presets are in :data:`PRESETS`.
        sample_rate: Hz.
        n_fft, win_length, hop: samples; the window is a periodic Hann.
        n_mels, f_min, f_max: number of bands and their range in Hz.
        scale: ``"slaney"`` (linear below 1 kHz) or ``"htk"``.
        area_norm: divide each triangle by its width (Slaney).
        centre: frames centred on multiples of the hop (reflect padding of ``n_fft / 2``), giving
            ``T // hop + 1`` frames; else reflect padding of ``(n_fft - hop) / 2``, giving ``T // hop``.
        window_norm: divide the spectrum by the window's root energy.
        power_floor: added to the power before the square root (magnitude spectrogram).
        log: ``"ln"``: ``ln max(m, floor)``; ``"db01"``: ``clamp((20 log10 max(m, floor) + 80) / 100, 0, 1)``.
        floor: smallest magnitude in the logarithm.
    """

    name: str
    sample_rate: int
    n_fft: int
    win_length: int
    hop: int
    n_mels: int
    f_min: float
    f_max: float
    scale: Literal["slaney", "htk"]
    area_norm: bool
    centre: bool
    window_norm: bool
    power_floor: float
    log: Literal["ln", "db01"]
    floor: float

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.win_length <= self.n_fft:
            raise ValueError(f"mel spec '{self.name}': need 0 < hop <= win_length <= n_fft")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"mel spec '{self.name}': need 0 <= f_min < f_max <= sample_rate / 2")
        if self.scale not in ("slaney", "htk") or self.log not in ("ln", "db01"):
            raise ValueError(f"mel spec '{self.name}': scale is slaney or htk, log is ln or db01")

    @classmethod
    def preset(cls, name: str) -> MelSpec:
        """The preset of that name.

        Raises:
            InputError: no such preset; the message lists them.

        Example:
            >>> MelSpec.preset("hifigan-22k").frames(22050)
            86
        """
        if name not in PRESETS:
            raise InputError(f"no mel convention '{name}'; choose one of {', '.join(PRESETS)}")
        return PRESETS[name]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MelSpec:
        """Rebuild from :meth:`to_dict`; unknown or missing keys are an :class:`InputError`."""
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            raise InputError(f"mel spec: keys {sorted(set(values) ^ known)} are unknown or missing")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict that :meth:`from_dict` takes back."""
        return asdict(self)

    def frames(self, samples: int) -> int:
        """Number of mel frames of a waveform of ``samples`` samples."""
        return samples // self.hop + int(self.centre)

    def samples(self, frames: int) -> int:
        """Length of the waveform that a vocoder makes from ``frames`` frames: ``frames * hop``."""
        return frames * self.hop

    @property
    def lowest(self) -> float:
        """The smallest value a mel of this convention can hold."""
        return float(torch.log(torch.tensor(self.floor))) if self.log == "ln" else 0.0

    def filterbank(self) -> Tensor:
        """Triangular mel filters, float32 ``(n_fft // 2 + 1, n_mels)``."""
        return _filterbank(self).clone()

    def magnitude(self, wave: Tensor) -> Tensor:
        """Magnitude spectrogram.

        Args:
            wave: ``(..., T)`` in [-1, 1], ``T > n_fft / 2``.

        Returns:
            ``(..., n_fft // 2 + 1, frames(T))``.
        """
        pad = self.n_fft // 2 if self.centre else (self.n_fft - self.hop) // 2
        if wave.shape[-1] <= pad:
            raise InputError(f"{wave.shape[-1]} samples are too few for a mel; need more than {pad}")
        flat = wave.reshape(-1, 1, wave.shape[-1])
        flat = torch.nn.functional.pad(flat, (pad, pad), mode="reflect")[:, 0]
        spectrum = torch.stft(
            flat,
            self.n_fft,
            self.hop,
            self.win_length,
            _window(self).to(flat),
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        if self.window_norm:
            power = power / _window(self).square().sum().to(power)
        magnitude = (power + self.power_floor).sqrt()
        return magnitude.reshape(*wave.shape[:-1], *magnitude.shape[-2:])

    def __call__(self, wave: Tensor) -> Tensor:
        """Log-mel spectrogram of ``wave`` ``(..., T)`` → ``(..., n_mels, frames(T))``."""
        magnitude = self.magnitude(wave)
        mel = _filterbank(self).to(magnitude).T @ magnitude
        return self.compress(mel)

    def compress(self, mel: Tensor) -> Tensor:
        """Linear mel magnitudes → this convention's log values."""
        mel = mel.clamp(min=self.floor)
        if self.log == "ln":
            return mel.log()
        return ((20 * mel.log10() + 80) / 100).clamp(0, 1)

    def expand(self, mel: Tensor) -> Tensor:
        """Log values → linear mel magnitudes (the inverse of :meth:`compress` above the floor)."""
        return mel.exp() if self.log == "ln" else 10 ** ((100 * mel - 80) / 20)

    def check(self, mel: Tensor, source: str = "mel") -> None:
        """Refuse what cannot be a mel of this convention.

        Args:
            mel: ``(..., n_mels, F)``.
            source: how the message names the input.

        Raises:
            InputError: wrong number of bands, no frames, not finite, or values outside the convention's range
                (another floor, another logarithm, decibels, not logarithmic at all). A different convention
                with the same range cannot be told apart from its values.
        """
        if mel.ndim < 2 or mel.shape[-2] != self.n_mels:
            shape = tuple(mel.shape)
            hint = " (transposed?)" if mel.ndim >= 2 and mel.shape[-1] == self.n_mels else ""
            raise InputError(f"{source}: shape {shape}{hint}; '{self.name}' needs ({self.n_mels}, frames)")
        if mel.shape[-1] == 0:
            raise InputError(f"{source}: no frames")
        if not torch.isfinite(mel).all():
            raise InputError(f"{source}: holds NaN or infinite values")
        low, high = float(mel.min()), float(mel.max())
        remedy = f"compute it with MelSpec.preset('{self.name}')"
        if self.name not in PRESETS:
            remedy = "compute it with the model's MelSpec"
        if low < self.lowest - 1e-2:
            raise InputError(
                f"{source}: values down to {low:.2f}, but '{self.name}' has its floor at {self.lowest:.2f}:"
                f" another convention; {remedy}"
            )
        # A full-scale sine stays below 2.5 nats in Slaney-normed bands, and below 7 in unnormed HTK bands.
        ceiling = 1.0 + 1e-3 if self.log == "db01" else (3.5 if self.area_norm else 7.5)
        if high > ceiling:
            raise InputError(
                f"{source}: values up to {high:.2f}, but '{self.name}' stays below {ceiling:.1f}:"
                f" another convention; {remedy}"
            )
        if self.log == "ln" and low >= 0:
            raise InputError(f"{source}: no negative value, so not in natural logarithms; {remedy}")


def aligned(spec: MelSpec, mel: Tensor, frames: int | None = None) -> Tensor:
    """Frames centred in the middle of hop-sized blocks, as the vocoder wants them.

    Uncentred conventions are so already; frames centred on multiples of the hop are averaged in pairs.

    Args:
        spec: the convention.
        mel: ``(..., n_mels, F)``.
        frames: how many to return, ``F`` when omitted; the last one is repeated when one is missing.
    """
    frames = mel.shape[-1] if frames is None else frames
    if spec.centre:
        mel = torch.cat(((mel[..., :-1] + mel[..., 1:]) / 2, mel[..., -1:]), dim=-1)
    if mel.shape[-1] < frames:
        mel = torch.cat((mel, mel[..., -1:].expand(*mel.shape[:-1], frames - mel.shape[-1])), dim=-1)
    return mel[..., :frames]


def _spec(name: str, rate: int, mels: int, top: float, **changes: Any) -> MelSpec:
    base: dict[str, Any] = {
        "n_fft": 1024,
        "win_length": 1024,
        "hop": 256,
        "f_min": 0.0,
        "scale": "slaney",
        "area_norm": True,
        "centre": False,
        "window_norm": False,
        "power_floor": 1e-9,
        "log": "ln",
        "floor": 1e-5,
    }
    return MelSpec(name=name, sample_rate=rate, n_mels=mels, f_max=top, **{**base, **changes})


_HTK = {"scale": "htk", "area_norm": False, "centre": True, "power_floor": 0.0}

PRESETS: dict[str, MelSpec] = {
    spec.name: spec
    for spec in (
        _spec("hifigan-22k", 22050, 80, 8000.0),
        _spec("bigvgan-24k", 24000, 100, 12000.0),
        _spec("vocos-24k", 24000, 100, 12000.0, floor=1e-7, **_HTK),
        _spec(
            "wavegrad-24k",
            24000,
            128,
            12000.0,
            n_fft=2048,
            win_length=1200,
            hop=300,
            f_min=20.0,
            window_norm=True,
            log="db01",
            **_HTK,
        ),
    )
}


@lru_cache(maxsize=16)
def _filterbank(spec: MelSpec) -> Tensor:
    filters: Tensor = torchaudio.functional.melscale_fbanks(
        spec.n_fft // 2 + 1,
        spec.f_min,
        spec.f_max,
        spec.n_mels,
        spec.sample_rate,
        norm="slaney" if spec.area_norm else None,
        mel_scale=spec.scale,
    )
    return filters


@lru_cache(maxsize=16)
def _window(spec: MelSpec) -> Tensor:
    return torch.hann_window(spec.win_length)
