"""Multi-resolution STFT distance (Yamamoto, Song & Kim, *Parallel WaveGAN*, 2020): a loss and a metric."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SIZES = (2048, 1024, 512, 256)


def mr_stft(x: Tensor, reference: Tensor, *, sizes: Sequence[int] = SIZES, floor: float = 1e-3) -> Tensor:
    r"""Mean over FFT sizes of spectral convergence plus log-magnitude distance, for each signal.

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
