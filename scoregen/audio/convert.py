"""From one mel convention to another: exact where values determine it, refused with the reasons elsewhere.

Two mels of the same frames and the same filters differ by what was done to the linear magnitudes m: a
floor, a logarithm, a stretch, a z-norm. All of that can be undone and redone. Another sample rate, hop,
window, filterbank or placement of frames cannot: the mel has to be computed again from the recording.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scoregen.errors import InputError

from .mel import PRESETS, MelSpec

# How far from a limit, in nats, a value still counts as lying on it: float32 rounding of values near -23.
_ON_LIMIT = 2e-5

# Decibels mapped to [0, 1] saturate at 20 log10 m = -80 and 20.
_DB01_LOWEST, _DB01_HIGHEST = 1e-4, 10.0

_MEASURES = (
    ("sample_rate", "sample rate", " Hz"),
    ("n_fft", "FFT size", ""),
    ("win_length", "window length", ""),
    ("hop", "hop", ""),
    ("n_mels", "bands", ""),
    ("f_min", "lowest frequency", " Hz"),
    ("f_max", "highest frequency", " Hz"),
    ("scale", "filter scale", ""),
    ("power_floor", "power floor", ""),
    ("window", "window", ""),
    ("padding", "padding", ""),
)


def differences(source: MelSpec, target: MelSpec) -> list[str]:
    """Why mels of ``source`` cannot, in general, become mels of ``target``; empty where all can, exactly.

    The last one or two may be about the floor and the ceiling: these stand in the way only of mels that
    have values there (see :func:`convert`).

    Example:
        >>> differences(MelSpec.preset("vocos-24k"), MelSpec.preset("f5tts-24k"))
        []
        >>> differences(MelSpec.preset("f5tts-24k"), MelSpec.preset("vocos-24k"))
        ['floor 1e-05 above 1e-07']
    """
    return _analysis(source, target) + _floor(source, target) + _ceiling(source, target)


def convert(mel: Tensor, source: MelSpec, target: MelSpec, name: str = "mel") -> Tensor:
    """A log-mel of convention ``source`` as one of ``target``, exact up to the rounding of its dtype.

    A value at the source's floor may have been anything below; it converts where the target's floor is at
    least as high, and is refused elsewhere. The same holds at the ceiling of clipped decibels. (A floor that
    was added hides nothing, but magnitudes far below it keep few digits.)

    Args:
        mel: ``(..., n_mels, F)``.
        source: its convention.
        target: the convention wanted.
        name: how error messages call the mel.

    Returns:
        ``(..., n_mels, F)`` of the same dtype; a copy.

    Raises:
        InputError: not a mel of ``source``; or not convertible, with every reason and the remedy.
    """
    source.check(mel, name)
    reasons = _analysis(source, target)
    if reasons:
        raise _refusal(name, source, target, reasons)
    if _same_values(source, target):
        return mel.clone()
    values = source.unnormed(mel.to(torch.float64))
    if (source.log, source.guard, source.floor) == (target.log, target.guard, target.floor):
        # Only the z-norm differs: no logarithm is taken, so nothing at the floor moves.
        return _z(values, target).to(mel.dtype)
    nats = _to_nats(values, source)
    reasons = []
    if _floor(source, target):
        reasons += _lost(nats <= math.log(_bottom(source)) + _ON_LIMIT, _floor(source, target))
    if _ceiling(source, target):
        reasons += _lost(nats >= math.log(_top(source)) - _ON_LIMIT, _ceiling(source, target))
    if reasons:
        raise _refusal(name, source, target, reasons)
    return _z(_from_nats(nats, target), target).to(mel.dtype)


def _analysis(source: MelSpec, target: MelSpec) -> list[str]:
    """What differs in how the linear magnitudes came about."""
    reasons = []
    for field, name, unit in _MEASURES:
        have, want = getattr(source, field), getattr(target, field)
        if have != want:
            shown = (f"{v:g}" if isinstance(v, float) else str(v) for v in (have, want))
            reasons.append(f"{name} {' ≠ '.join(shown)}{unit}")
    if source.area_norm != target.area_norm:
        reasons.append(f"filters {_with(source.area_norm)} ≠ {_with(target.area_norm)} area norm")
    if source.centre != target.centre:
        words = ("centred" if spec.centre else "uncentred" for spec in (source, target))
        reasons.append(f"frames {' ≠ '.join(words)}")
    if source.window_norm != target.window_norm:
        reasons.append(f"spectrum {_with(source.window_norm)} ≠ {_with(target.window_norm)} window norm")
    return reasons


def _floor(source: MelSpec, target: MelSpec) -> list[str]:
    low, lower = _bottom(source), _bottom(target)
    return [f"floor {low:g} above {lower:g}"] if lower < low else []


def _ceiling(source: MelSpec, target: MelSpec) -> list[str]:
    high, higher = _top(source), _top(target)
    return [f"ceiling {high:g} below {higher:g}"] if higher > high else []


def _lost(where: Tensor, reason: list[str]) -> list[str]:
    count = int(where.sum())
    return [f"{reason[0]}, and {count} of {where.numel()} values lie there"] if count else []


def _refusal(name: str, source: MelSpec, target: MelSpec, reasons: list[str]) -> InputError:
    option = f"--preset {target.name}" if target.name in PRESETS else "--model MODEL"
    return InputError(
        f"{name}: no exact way from mel convention '{source.name}' to '{target.name}' ({'; '.join(reasons)});"
        f" compute the mel again from the recording with: scoregen mel {option}"
    )


def _with(there: bool) -> str:
    return "with" if there else "without"


def _bottom(spec: MelSpec) -> float:
    """Magnitudes up to this one look alike (0: none do)."""
    if spec.guard == "add":
        return 0.0 if spec.log != "db01" else max(_DB01_LOWEST - spec.floor, 0.0)
    return max(spec.floor, _DB01_LOWEST) if spec.log == "db01" else spec.floor


def _top(spec: MelSpec) -> float:
    """Magnitudes from this one on look alike."""
    return _DB01_HIGHEST if spec.log == "db01" else math.inf


def _same_values(source: MelSpec, target: MelSpec) -> bool:
    kinds = ("log", "guard", "floor", "mean", "std")
    return all(getattr(source, kind) == getattr(target, kind) for kind in kinds)


def _to_nats(values: Tensor, spec: MelSpec) -> Tensor:
    """Values without z-norm → ln of the linear magnitude, float64; -inf for a magnitude of 0."""
    if spec.log == "ln":
        nats = values
    elif spec.log == "log10":
        nats = values * math.log(10)
    else:
        nats = (5 * values - 4) * math.log(10)
    return nats if spec.guard == "clamp" else (nats.exp() - spec.floor).clamp(min=0).log()


def _from_nats(nats: Tensor, spec: MelSpec) -> Tensor:
    """The inverse of :func:`_to_nats`, with the floor and ceiling of ``spec``."""
    floor = torch.tensor(math.log(spec.floor), dtype=nats.dtype, device=nats.device)
    nats = nats.clamp(min=floor) if spec.guard == "clamp" else torch.logaddexp(nats, floor)
    if spec.log == "ln":
        return nats
    decades = nats / math.log(10)
    return decades if spec.log == "log10" else ((decades + 4) / 5).clamp(0, 1)


def _z(values: Tensor, spec: MelSpec) -> Tensor:
    mean, std = (torch.as_tensor(v, dtype=values.dtype, device=values.device) for v in (spec.mean, spec.std))
    mean, std = (v[:, None] if v.ndim else v for v in (mean, std))
    return (values - mean) / std
