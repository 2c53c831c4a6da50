"""What vocoders are compared with: Griffin-Lim from the mel, without any learning."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor
from torch.nn import functional

from .matching import pseudo_inverse
from .mel import MelSpec, aligned
from .phase import outer


@torch.no_grad()
def griffin_lim(
    spec: MelSpec, mel: Tensor, *, iterations: int = 60, momentum: float = 0.99, seed: int = 0
) -> Tensor:
    """Waveform ``(F * hop,)`` of a log-mel ``(n_mels, F)``.

    Magnitudes by the pseudo-inverse of the mel filters, negative values set to 0; phases by torchaudio's
    fast Griffin-Lim (Perraudin et al. 2013; momentum 0.99 is its default) from random phases.
    """
    magnitude = outer(pseudo_inverse(spec, aligned(spec, mel[None])))
    frames = mel.shape[-1]
    transform = torchaudio.transforms.GriffinLim(
        n_fft=spec.n_fft,
        n_iter=iterations,
        win_length=spec.win_length,
        hop_length=spec.hop,
        power=1.0,
        momentum=momentum,
        length=(frames + 1) * spec.hop,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wave = transform(magnitude)[0]
    # Frames are centred in the middle of blocks; the transform centres them at block boundaries.
    half = spec.hop // 2
    return functional.pad(wave, (0, half))[half : half + frames * spec.hop]
