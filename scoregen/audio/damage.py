"""What can be wrong with a recording, as linear measurements of the sound that was meant.

A gap is a mask in time, a band limit an orthogonal projection in frequency, noise leaves everything and adds
a Gaussian. Each damage also has an estimate that needs no network; the reverse process starts from it.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scoregen.errors import InputError

LONGEST_GAP = 0.5
"""Seconds. What is missing in a longer gap is words, and nothing beside it says which."""

LOWEST_BAND = 1000.0
"""Hz. A narrower band does not hold the formants that say what lies above it."""


@dataclass(frozen=True)
class Gap:
    """Stretches of a recording that are lost; whatever the samples there are is not used.

    Attributes:
        spans: ``(start, end)`` in seconds, not overlapping, in any order.

    Raises:
        InputError: no span, or one that is empty, negative, longer than :data:`LONGEST_GAP` or over another.
    """

    spans: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        spans = tuple(sorted((float(a), float(b)) for a, b in self.spans))
        object.__setattr__(self, "spans", spans)
        if not spans:
            raise InputError("no gap given; need START:END in seconds")
        for start, end in spans:
            if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
                raise InputError(f"gap {start:g}:{end:g}: need 0 <= START < END, in seconds")
            if end - start > LONGEST_GAP + 1e-9:
                raise InputError(
                    f"gap {start:g}:{end:g} is longer than {LONGEST_GAP:g} s: words are missing there, "
                    "which nothing beside the gap can tell: cut the clip there instead"
                )
        for (_, end), (start, _) in pairwise(spans):
            if start < end:
                raise InputError(f"gaps overlap at {start:g} s; join them into one")

    @classmethod
    def parse(cls, text: str) -> Gap:
        """From ``START:END[,START:END…]``.

        Raises:
            InputError: not of this form, or as above.
        """
        try:
            spans = [tuple(map(float, part.split(":"))) for part in text.split(",")]
        except ValueError:
            spans = [()]
        if any(len(span) != 2 for span in spans):
            raise InputError(f"gap '{text}': need START:END[,START:END…] in seconds")
        return cls(tuple((span[0], span[1]) for span in spans))

    def samples(self, length: int, rate: float, source: str = "waveform") -> list[tuple[int, int]]:
        """First and last + 1 sample of each gap in a clip of ``length`` samples.

        Raises:
            InputError: a gap beyond the clip, shorter than a sample, or nothing left beside the gaps.
        """
        found = []
        for start, end in self.spans:
            first, last = round(start * rate), round(end * rate)
            if last > length:
                raise InputError(
                    f"{source}: gap {start:g}:{end:g} lies outside the clip of {length / rate:.3f} s"
                )
            if first == last:
                raise InputError(f"{source}: gap {start:g}:{end:g} holds no sample at {rate:g} Hz")
            found.append((first, last))
        if sum(last - first for first, last in found) > length / 2:
            raise InputError(f"{source}: more than half of the clip is missing; nothing to restore it from")
        return found


@dataclass(frozen=True)
class Bandwidth:
    """A recording that holds nothing above ``hz``, or nothing worth keeping.

    Attributes:
        hz: the band limit.

    Raises:
        InputError: below :data:`LOWEST_BAND`, or not finite.
    """

    hz: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.hz) and self.hz >= LOWEST_BAND):
            raise InputError(
                f"bandwidth {self.hz:g} Hz: need at least {LOWEST_BAND:g}; less does not tell what lies above"
            )

    def check(self, rate: float, source: str = "waveform") -> None:
        """Refuse what has no room above the band limit.

        Raises:
            InputError: the band limit is not below half the sample rate.
        """
        if self.hz >= rate / 2:
            raise InputError(
                f"{source}: bandwidth {self.hz:g} Hz is not below {rate / 2:g} Hz, half the sample rate; "
                "resample the file to the rate the result shall have first"
            )


@dataclass(frozen=True)
class Noise:
    """A recording with stationary noise.

    Attributes:
        snr: power of the speech over that of the noise in dB; None takes the level of the quietest frames.
            The spectrum of the noise is always theirs.

    Raises:
        InputError: not within -10 to 60 dB.
    """

    snr: float | None = None

    def __post_init__(self) -> None:
        if self.snr is not None and not -10 <= self.snr <= 60:
            raise InputError(f"snr {self.snr:g} dB: need -10 to 60")


Damage = Gap | Bandwidth | Noise


def read_gaps(path: str | os.PathLike[str]) -> dict[str | None, Gap]:
    """Gaps from a CSV with the columns ``start,end`` (seconds) and, for several inputs, ``file``.

    Returns:
        Gaps by file name; those under None are for every input without rows of its own.

    Raises:
        InputError: unreadable, without these columns, or with a row that is no gap.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if not {"start", "end"} <= set(reader.fieldnames or ()):
                raise InputError(f"{path}: need a header with the columns start and end")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as CSV ({error})") from None
    spans: dict[str | None, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            span = (float(row["start"] or ""), float(row["end"] or ""))
        except ValueError:
            raise InputError(
                f"{path}, line {number}: '{row['start']}', '{row['end']}': need seconds"
            ) from None
        spans.setdefault((row.get("file") or "").strip() or None, []).append(span)
    try:
        return {name: Gap(tuple(found)) for name, found in spans.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def low_pass(x: Tensor, rate: float, hz: float) -> Tensor:
    """What ``x`` ``(..., T)`` holds up to ``hz``: the orthogonal projection of the whole clip.

    Linear, its own adjoint, and doing it again changes nothing.
    """
    spectrum = torch.fft.rfft(x)
    frequency = torch.fft.rfftfreq(x.shape[-1], 1 / rate, device=x.device)
    kept: Tensor = torch.fft.irfft(torch.where(frequency <= hz, spectrum, 0.0), x.shape[-1])
    return kept


def burg(x: np.ndarray, order: int) -> np.ndarray:
    """Coefficients ``(order + 1,)`` of the prediction error filter, the first 1 (Burg 1975); stable."""
    x = np.asarray(x, np.float64)
    forward, backward, a = x[1:], x[:-1], np.ones(1)
    for _ in range(order):
        power = float(forward @ forward + backward @ backward)
        k = -2 * float(forward @ backward) / power if power > 1e-20 else 0.0
        a = np.append(a, 0.0)
        a = a + k * a[::-1]
        forward, backward = (forward + k * backward)[1:], (backward + k * forward)[:-1]
    return a


def extrapolate(x: np.ndarray, count: int, order: int) -> np.ndarray:
    """``count`` samples that go on after ``x`` by linear prediction of ``order`` from :func:`burg`."""
    from scipy.signal import lfilter, lfiltic

    order = min(order, len(x) // 2)
    if order < 1:
        return np.zeros(count)
    a = burg(x, order)
    state = lfiltic([1.0], a, x[::-1][:order])
    result: np.ndarray = lfilter([1.0], a, np.zeros(count), zi=state)[0]
    return result


def bridge(wave: np.ndarray, gaps: Sequence[tuple[int, int]], rate: float) -> np.ndarray:
    """``wave`` ``(T,)`` with its gaps bridged by linear prediction from both sides.

    Order and context reach over two periods of a low voice (23 and 93 ms); the two predictions are
    cross-faded (Kauppinen & Roth, 2002). The samples within the gaps are not looked at.

    Args:
        wave: float.
        gaps: sorted, as :meth:`Gap.samples` gives them.
        rate: Hz.
    """
    out = np.array(wave, np.float64)
    order, context = round(0.0232 * rate), round(0.093 * rate)
    for number, (first, last) in enumerate(gaps):
        count = last - first
        until = gaps[number + 1][0] if number + 1 < len(gaps) else len(out)
        after = out[last : min(last + context, until)][::-1]
        before = out[max(0, first - context) : first]
        fade = np.cos(np.pi / 2 * (np.arange(count) + 0.5) / count) ** 2
        if not len(before) or not len(after):
            fade = np.full(count, float(len(before) > 0))
        ahead, back = extrapolate(before, count, order), extrapolate(after, count, order)[::-1]
        out[first:last] = fade * ahead + (1 - fade) * back
    return out.astype(np.float32)
