"""Multi-resolution distances of spectra, blind to phases: losses, and a metric."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks

SIZES = (2048, 1024, 512, 256)


def mr_stft(x: Tensor, reference: Tensor, *, sizes: Sequence[int] = SIZES, floor: float = 1e-3) -> Tensor:
    r"""Mean over FFT sizes of spectral convergence plus log-magnitude distance, for each signal (Yamamoto,
    Song & Kim, *Parallel WaveGAN*, 2020).

    .. math:: \frac{\lVert |X| - |Y| \rVert_F}{\lVert |Y| \rVert_F}
              + \operatorname{mean} \big|\ln(|X| + ε) - \ln(|Y| + ε)\big|

    with periodic Hann windows as long as the FFT and hops of a quarter.

    Args:
        x, reference: ``(B, T)``, ``T`` above half the largest size.
        sizes: FFT sizes.
        floor: ε; full-scale signals have magnitudes up to a quarter of the FFT size.

    Returns:
        ``(B,)``.
    """
    total = x.new_zeros(x.shape[0])
    for size in sizes:
        window = torch.hann_window(size, dtype=x.dtype, device=x.device)
        a, b = (
            # Away from 0, where the gradient of the modulus does not exist.
            (s.real.square() + s.imag.square() + 1e-12).sqrt()
            for s in (
                torch.stft(v, size, size // 4, window=window, return_complex=True) for v in (x, reference)
            )
        )
        convergence = (a - b).square().sum((1, 2)).sqrt() / b.square().sum((1, 2)).sqrt().clamp(min=floor)
        total = total + convergence + ((a + floor).log() - (b + floor).log()).abs().mean((1, 2))
    return total / len(sizes)


WINDOWS = {2048: 160, 1024: 80, 704: 64, 352: 40, 128: 20}
"""Windows of :func:`log_mel_distance` at 22.05 kHz, in samples, and their mel bands. 704 samples are PESQ's
32 ms."""


def log_mel_distance(x: Tensor, reference: Tensor, sample_rate: int, floor: float = 1e-3) -> Tensor:
    """Mean absolute difference of log-mels over five resolutions, for each signal.

    Bands as wide as the ear's weigh the low harmonics as they are heard, which linear bins do not
    (multi-scale mel loss: Kumar et al., *High-fidelity audio compression with improved RVQGAN*, NeurIPS
    2023).

    Args:
        x, reference: ``(B, T)``, ``T`` above 1024.
        sample_rate: Hz.
        floor: added to the magnitudes of bands.

    Returns:
        ``(B,)``, nats.
    """
    total = x.new_zeros(x.shape[0])
    for size, bands in WINDOWS.items():
        window = torch.hann_window(size, dtype=x.dtype, device=x.device)
        filters = _filters(size, bands, sample_rate).to(x)
        a, b = (
            filters @ (s.real.square() + s.imag.square() + 1e-12).sqrt()
            for s in (
                torch.stft(v, size, size // 4, window=window, return_complex=True) for v in (x, reference)
            )
        )
        total = total + ((a + floor).log() - (b + floor).log()).abs().mean((1, 2))
    return total / len(WINDOWS)


@lru_cache(maxsize=16)
def _filters(size: int, bands: int, sample_rate: int) -> Tensor:
    """Triangular mel filters ``(bands, size // 2 + 1)``, each of sum 1; those narrower than a bin are left
    out."""
    with warnings.catch_warnings():  # of empty filters
        warnings.simplefilter("ignore")
        found = melscale_fbanks(size // 2 + 1, 20.0, min(8000.0, sample_rate / 2), bands, sample_rate).T
    found = found[found.sum(1) > 1e-3]
    filters: Tensor = found / found.sum(1, keepdim=True)
    return filters
