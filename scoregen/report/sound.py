"""Pictures and bytes of waveforms for the page."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import soundfile
from matplotlib.figure import Figure


def wav_bytes(wave: np.ndarray, sample_rate: int) -> bytes:
    """16-bit WAV file of a mono waveform in [−1, 1] (clipped)."""
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(wave, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def mel_pictures(mels: Sequence[np.ndarray], hop_seconds: float) -> list[bytes]:
    """PNG of each log-mel ``(n_mels, F)`` on one colour scale, that of the first.

    Args:
        mels: the first is the reference.
        hop_seconds: duration of a frame.
    """
    low, high = (float(v) for v in np.percentile(mels[0], [2, 99.8]))
    return [_picture(mel, hop_seconds, low, high) for mel in mels]


def _picture(mel: np.ndarray, hop_seconds: float, low: float, high: float) -> bytes:
    figure = Figure(figsize=(5.2, 2.5), dpi=160)
    axes = figure.add_axes((0.095, 0.175, 0.885, 0.785))
    axes.imshow(
        mel,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=high,
        extent=(0, mel.shape[1] * hop_seconds, 0, mel.shape[0]),
        interpolation="nearest",
    )
    # A mid grey reads on light and on dark paper.
    grey = "#7f8994"
    axes.set_xlabel("time / s", color=grey, fontsize=8, labelpad=2)
    axes.set_ylabel("mel band", color=grey, fontsize=8, labelpad=2)
    axes.tick_params(colors=grey, labelsize=7, length=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", transparent=True)
    return stream.getvalue()
