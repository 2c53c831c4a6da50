"""Mel spectrograms whose convention is data: :class:`MelSpec` and the presets people really have files in.

A log-mel value means nothing without its convention: two common 24 kHz, 100-band conventions differ by
more than four nats and one frame on the same signal. So a convention is a frozen value that travels with
every model and cache, and :meth:`MelSpec.check` refuses what cannot be of this convention.
The presets are data in :mod:`scoregen.audio.presets`; conversion is in :mod:`scoregen.audio.convert`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal

import torch
import torchaudio
from torch import Tensor

from scoregen.errors import InputError

from .presets import PRESET_DATA

_KINDS = {
    "scale": ("slaney", "htk"),
    "log": ("ln", "log10", "db01"),
    "guard": ("clamp", "add"),
    "window": ("periodic", "symmetric"),
    "padding": ("reflect", "zero"),
}

UNDERSHOOT = 1.0
"""Nats below the floor that :func:`raised` forgives."""


@dataclass(frozen=True)
class MelSpec:
    """One mel convention.

    Attributes:
        name: what people call it; presets are in :data:`PRESETS`.
        sample_rate: Hz.
        n_fft, win_length, hop: samples; the window is a Hann.
        n_mels, f_min, f_max: number of bands and their range in Hz.
        scale: ``"slaney"`` (linear below 1 kHz) or ``"htk"``.
        area_norm: divide each triangle by its width (Slaney).
        centre: frames centred on multiples of the hop (reflect padding of ``n_fft / 2``), giving
            ``T // hop + 1`` frames; else reflect padding of ``(n_fft - hop) / 2``, giving ``T // hop``.
        window_norm: divide the spectrum by the window's root energy.
        power_floor: added to the power before the square root (magnitude spectrogram).
        log: ``"ln"``: ``ln max(m, floor)``; ``"log10"``: the same to base 10; ``"db01"``:
            ``clamp((20 log10 max(m, floor) + 80) / 100, 0, 1)``.
        floor: smallest magnitude in the logarithm.
        guard: ``"clamp"``: ``max(m, floor)`` as above; ``"add"``: ``m + floor`` instead.
        window: ``"periodic"`` (the field's usual choice) or ``"symmetric"`` Hann.
        padding: of both ends: ``"reflect"`` or ``"zero"``.
        mean, std: the z-norm ``(value - mean) / std`` after the logarithm; one number, or one a band.
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
    log: Literal["ln", "log10", "db01"]
    floor: float
    guard: Literal["clamp", "add"] = "clamp"
    window: Literal["periodic", "symmetric"] = "periodic"
    padding: Literal["reflect", "zero"] = "reflect"
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        for field in ("mean", "std"):  # JSON has lists; a frozen value needs something hashable
            value = getattr(self, field)
            if not isinstance(value, int | float):
                object.__setattr__(self, field, tuple(float(v) for v in value))
        if not 0 < self.hop <= self.win_length <= self.n_fft:
            raise ValueError(f"mel spec '{self.name}': need 0 < hop <= win_length <= n_fft")
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"mel spec '{self.name}': need 0 <= f_min < f_max <= sample_rate / 2")
        for field, kinds in _KINDS.items():
            if getattr(self, field) not in kinds:
                raise ValueError(f"mel spec '{self.name}': {field} is one of {', '.join(kinds)}")
        if not self.floor > 0 or self.power_floor < 0:
            raise ValueError(f"mel spec '{self.name}': need floor > 0 and power_floor >= 0")
        for field in ("mean", "std"):
            value = getattr(self, field)
            numbers = value if isinstance(value, tuple) else (value,)
            if isinstance(value, tuple) and len(value) != self.n_mels:
                raise ValueError(
                    f"mel spec '{self.name}': {len(value)} values of {field}, {self.n_mels} bands"
                )
            if not all(math.isfinite(v) and (field == "mean" or v > 0) for v in numbers):
                raise ValueError(f"mel spec '{self.name}': mean must be finite and std positive")

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
        """Rebuild from :meth:`to_dict`; unknown, missing or senseless values are an :class:`InputError`."""
        known = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        wrong = (set(values) - known) | (needed - set(values))
        if wrong:
            raise InputError(f"mel spec: keys {sorted(wrong)} are unknown or missing")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict that :meth:`from_dict` takes back.

        Fields added since the first release appear only where they say something, so that what older
        versions wrote and read stays the same.
        """
        defaults = {field.name: field.default for field in fields(self)}
        values = {k: v for k, v in asdict(self).items() if defaults[k] is MISSING or v != defaults[k]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def normed(
        self, mean: float | Sequence[float], std: float | Sequence[float], name: str | None = None
    ) -> MelSpec:
        """This convention followed by the z-norm ``(value - mean) / std``.

        Args:
            mean, std: of this convention's values; one number, or one a band.
            name: of the new convention, ``"<name>+znorm"`` when omitted.

        Raises:
            InputError: not as many values as bands, not finite, or ``std <= 0``.
        """
        inner, outer = (torch.as_tensor(v, dtype=torch.float64) for v in (self.mean, self.std))
        shift, scale = (torch.as_tensor(v, dtype=torch.float64) for v in (mean, std))
        try:
            changes: dict[str, Any] = {
                "mean": (inner + shift * outer).tolist(),
                "std": (outer * scale).tolist(),
            }
            return replace(self, name=name or f"{self.name}+znorm", **changes)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"z-norm statistics for '{self.name}': {error}") from None

    def frames(self, samples: int) -> int:
        """Number of mel frames of a waveform of ``samples`` samples."""
        return samples // self.hop + int(self.centre)

    def samples(self, frames: int) -> int:
        """Length of the waveform that a vocoder makes from ``frames`` frames: ``frames * hop``."""
        return frames * self.hop

    @property
    def lowest(self) -> float:
        """The smallest value a mel of this convention can hold (in any band, where the z-norm has many)."""
        if self.log == "db01":
            plain = torch.zeros(())
        else:
            plain = torch.tensor(self.floor).log() if self.log == "ln" else torch.tensor(self.floor).log10()
        return float(self._norm(plain.expand(self.n_mels, 1)).min())

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
        return self.magnitude_of_padded(self.padded(wave))

    def padded(self, wave: Tensor) -> Tensor:
        """``wave`` ``(..., T)`` with both ends padded; frame f begins at sample ``f * hop`` of the result."""
        pad = self.n_fft // 2 if self.centre else (self.n_fft - self.hop) // 2
        if wave.shape[-1] <= pad:
            raise InputError(f"{wave.shape[-1]} samples are too few for a mel; need more than {pad}")
        flat = wave.reshape(-1, 1, wave.shape[-1])
        mode = "reflect" if self.padding == "reflect" else "constant"
        flat = torch.nn.functional.pad(flat, (pad, pad), mode=mode)
        return flat.reshape(*wave.shape[:-1], flat.shape[-1])

    def magnitude_of_padded(self, padded: Tensor) -> Tensor:
        """Magnitudes ``(..., n_fft // 2 + 1, F)`` of all whole frames, ``F = (T - n_fft) // hop + 1``."""
        spectrum = torch.stft(
            padded.reshape(-1, padded.shape[-1]),
            self.n_fft,
            self.hop,
            self.win_length,
            _window(self).to(padded),
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        if self.window_norm:
            power = power / _window(self).square().sum().to(power)
        magnitude = (power + self.power_floor).sqrt()
        return magnitude.reshape(*padded.shape[:-1], *magnitude.shape[-2:])

    def __call__(self, wave: Tensor) -> Tensor:
        """Log-mel spectrogram of ``wave`` ``(..., T)`` → ``(..., n_mels, frames(T))``."""
        return self.from_magnitude(self.magnitude(wave))

    def from_magnitude(self, magnitude: Tensor) -> Tensor:
        """Log-mel ``(..., n_mels, F)`` of magnitudes ``(..., n_fft // 2 + 1, F)``."""
        return self.compress(_filterbank(self).to(magnitude).T @ magnitude)

    def compress(self, mel: Tensor) -> Tensor:
        """Linear mel magnitudes ``(..., n_mels, F)`` → this convention's values."""
        mel = mel.clamp(min=self.floor) if self.guard == "clamp" else mel + self.floor
        if self.log == "ln":
            return self._norm(mel.log())
        if self.log == "log10":
            return self._norm(mel.log10())
        return self._norm(((20 * mel.log10() + 80) / 100).clamp(0, 1))

    def expand(self, mel: Tensor) -> Tensor:
        """Values → linear mel magnitudes (the inverse of :meth:`compress` above the floor)."""
        mel = self.unnormed(mel)
        if self.log == "ln":
            linear = mel.exp()
        else:
            linear = 10**mel if self.log == "log10" else 10 ** ((100 * mel - 80) / 20)
        return linear if self.guard == "clamp" else (linear - self.floor).clamp(min=0)

    def unnormed(self, mel: Tensor) -> Tensor:
        """Values without the z-norm: ``value * std + mean``, ``(..., n_mels, F)``."""
        if self.mean == 0 and self.std == 1:
            return mel
        mean, std = self._statistics(mel)
        return mel * std + mean

    def _norm(self, mel: Tensor) -> Tensor:
        if self.mean == 0 and self.std == 1:
            return mel
        mean, std = self._statistics(mel)
        return (mel - mean) / std

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.as_tensor(v, dtype=torch.float64).to(like) for v in (self.mean, self.std))
        return (m[:, None] if m.ndim else m for m in (mean, std))  # type: ignore[return-value]

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
        plain = self.unnormed(mel)
        low, high = float(plain.min()), float(plain.max())
        remedy = f"compute it with MelSpec.preset('{self.name}')"
        if self.name not in PRESETS:
            remedy = "compute it with the model's MelSpec"
        values = "values" if plain is mel else "values without the z-norm"
        unit = math.log(10) if self.log == "log10" else 1.0
        floor = 0.0 if self.log == "db01" else math.log(self.floor) / unit
        if low < floor - 1e-2 / unit:
            raise InputError(
                f"{source}: {values} down to {low:.2f}, but '{self.name}' has its floor at {floor:.2f}:"
                f" another convention; {remedy}"
            )
        # A full-scale sine stays below 2.5 nats in Slaney-normed bands, and below 7 in unnormed HTK bands.
        ceiling = 1.0 + 1e-3 if self.log == "db01" else (3.5 if self.area_norm else 7.5) / unit
        if high > ceiling:
            raise InputError(
                f"{source}: {values} up to {high:.2f}, but '{self.name}' stays below {ceiling:.1f}:"
                f" another convention; {remedy}"
            )
        if self.log != "db01" and low >= 0:
            kind = "natural logarithms" if self.log == "ln" else "logarithms to base 10"
            raise InputError(f"{source}: no negative value, so not in {kind}; {remedy}")


def raised(spec: MelSpec, mel: Tensor) -> tuple[Tensor, int]:
    """Values up to :data:`UNDERSHOOT` below the convention's floor, raised to it.

    Networks that were trained on mels undershoot the floor in silence. A mel that goes lower, or is none of
    this convention for another reason, is returned as it is, for :meth:`MelSpec.check` to refuse.

    Args:
        spec: the convention.
        mel: ``(..., n_mels, F)``.

    Returns:
        The mel, and how many values lay more than rounding below the floor.
    """
    if mel.ndim < 2 or mel.shape[-2] != spec.n_mels or not mel.numel():
        return mel, 0
    nat = {"ln": 1.0, "log10": 1 / math.log(10), "db01": 0.2 / math.log(10)}[spec.log]
    floor = 0.0 if spec.log == "db01" else math.log(spec.floor) * nat
    plain = spec.unnormed(mel)
    count = int((plain < floor - 1e-2 * nat).sum())
    if not count or not float(plain.min()) >= floor - UNDERSHOOT * nat:
        return mel, 0
    return torch.maximum(mel, spec._norm(torch.full((spec.n_mels, 1), floor).to(mel))), count


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


PRESETS: dict[str, MelSpec] = {name: MelSpec(name=name, **data.values) for name, data in PRESET_DATA.items()}


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
    return torch.hann_window(spec.win_length, periodic=spec.window == "periodic")
