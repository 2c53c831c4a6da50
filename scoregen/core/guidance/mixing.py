"""Guides that mix the estimates of two denoisers, and guides made of guides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoise, Prediction
from ..sampling import Guide
from ..sde import SDE, as_float64
from ..space import Space
from .local import Weight, check_weight, spread


@dataclass(frozen=True)
class ClassifierFree:
    r"""Classifier-free guidance (Ho & Salimans 2022): away from the unconditional estimate.

    .. math::  D_w(x) = D(x) + w\,(D(x|c) − D(x)), \qquad
               ∇\log p_w = w\,∇\log p(x|c) + (1 − w)\,∇\log p(x).

    **w = 1 is the conditional model, w = 0 the unconditional one**, above 1 the condition is stressed. (Ho &
    Salimans write ``1 + w`` for this w; Karras et al. and most programs use ours.) The guided denoiser is the
    conditional one; it costs one more network call, which :class:`Within` can save outside an interval.

    Args:
        unconditional: the denoiser without the condition.
        space: the batch.
        weight: w; a number, ``(B,)``, or a function of time.
        rescale: φ in [0, 1]: how far each sample's estimate is brought back to the size of its conditional
            estimate (Lin et al. 2024, sec. 3.4; root mean square over the sample in place of the standard
            deviation, which is the same for centred data). 0 leaves it.

    Raises:
        ValueError: a weight of the wrong shape, or ``rescale`` outside [0, 1].
    """

    unconditional: Denoise
    space: Space
    weight: Weight
    rescale: float = 0.0

    def __post_init__(self) -> None:
        check_weight("weight", self.weight, self.space)
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale must lie in [0, 1], got {self.rescale}")

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap the conditional denoiser."""

        def guided(x: Tensor, t: Tensor) -> Prediction:
            strong = denoise(x, t)
            x0 = _extrapolated(strong, self.unconditional(x, t), self.weight, t, self.space)
            if self.rescale:
                energy = self.space.sum(x0**2)
                wanted = self.space.sum(strong.x0**2)
                ratio = torch.where(energy > 0, (wanted / torch.where(energy > 0, energy, 1.0)).sqrt(), 1.0)
                x0 = x0 * self.space.expand(self.rescale * ratio + (1 - self.rescale), x0)
            return Prediction(x0, strong.x, strong.alpha, strong.sigma)

        return guided


@dataclass(frozen=True)
class Autoguidance:
    r"""Guidance by a weaker version of the model (Karras et al. 2024, *Guiding a Diffusion Model with a Bad
    Version of Itself*): ``D_w = D_weak + w (D − D_weak)``.

    w = 1 is the model itself. The weak model is smaller or less trained, on the same data and condition.

    Args:
        weak: the weaker denoiser.
        space: the batch.
        weight: w; a number, ``(B,)``, or a function of time.

    Raises:
        ValueError: a weight of the wrong shape.
    """

    weak: Denoise
    space: Space
    weight: Weight

    def __post_init__(self) -> None:
        check_weight("weight", self.weight, self.space)

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap the stronger denoiser."""

        def guided(x: Tensor, t: Tensor) -> Prediction:
            strong = denoise(x, t)
            x0 = _extrapolated(strong, self.weak(x, t), self.weight, t, self.space)
            return Prediction(x0, strong.x, strong.alpha, strong.sigma)

        return guided


def _extrapolated(strong: Prediction, weak: Prediction, weight: Weight, t: Tensor, space: Space) -> Tensor:
    # Written from the strong side, so that w = 1 gives its estimate to the last bit.
    factor = spread(weight, t, space, strong.x0) - 1.0
    mixed: Tensor = strong.x0 + factor * (strong.x0 - space.project(weak.x0))
    return mixed


@dataclass(frozen=True)
class Within:
    r"""A guide used only while ``low < σ/α ≤ high`` (Kynkäänniemi et al. 2024; their σ is our σ/α).

    Outside, the denoiser is called as it is: the guide's network calls are saved, not multiplied by zero
    (with a time for each sample both are called, and each sample takes its own). For a product of fields
    the first field's level counts, as it does for grids.

    Args:
        guide: any guide.
        sde: the process, which turns times into levels.
        space: the batch.
        low, high: ends of the interval, as noise-to-signal ratios.

    Raises:
        ValueError: not ``0 <= low < high``.
    """

    guide: Guide
    sde: SDE
    space: Space
    low: float = 0.0
    high: float = float("inf")

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"need 0 <= low < high, got {self.low} and {self.high}")

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap a denoiser."""
        inner = self.guide(denoise)

        def guided(x: Tensor, t: Tensor) -> Prediction:
            times = as_float64(t)
            alpha, sigma = self.sde.marginal(times)
            if alpha.ndim > times.ndim:
                alpha, sigma = alpha[..., 0], sigma[..., 0]
            inside = (sigma > self.low * alpha) & (sigma <= self.high * alpha)
            if times.ndim == 0:
                # Grids keep their times on the host, so that this is no device synchronisation.
                return inner(x, t) if bool(inside) else denoise(x, t)
            there, elsewhere = inner(x, t), denoise(x, t)
            chosen = self.space.expand(inside.to(x.device), x)
            return Prediction(torch.where(chosen, there.x0, elsewhere.x0), there.x, there.alpha, there.sigma)

        return guided


@dataclass(frozen=True)
class Compose:
    """Several guides as one, applied from left to right: the last one is the outermost.

    A guide sees the estimate that those before it made. Put mixing guides (:class:`ClassifierFree`,
    :class:`Autoguidance`) first, because they stand for the model; energies and measurements after them,
    so that their gradients run through the mixed model; inpainting last, because whatever comes after it
    may move the fixed part. ``sample(guides=[a, b])`` and ``sample(guides=[Compose((a, b))])`` are the same.

    Args:
        guides: applied in this order.
    """

    guides: Sequence[Guide]

    def __call__(self, denoise: Denoise) -> Denoise:
        """Wrap a denoiser with all guides."""
        for guide in self.guides:
            denoise = guide(denoise)
        return denoise
