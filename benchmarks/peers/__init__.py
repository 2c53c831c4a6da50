"""The deterministic samplers of other libraries, each called as ``sampler(estimate, start, sigmas)``.

``estimate(x, sigma)`` is the denoised estimate, ``start`` the state at ``sigmas[0]`` and ``sigmas`` the noise
levels, decreasing, float64; the result is the state at ``sigmas[-1]``. A library that is not installed raises
``ImportError`` when its samplers are asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from . import azula_samplers, diffusers_schedulers, k_diffusion_samplers
from .problem import Estimate

Sampler = Callable[[Estimate, Tensor, Tensor], Tensor]

LIBRARIES: dict[str, Callable[[], dict[str, Sampler]]] = {
    "diffusers": diffusers_schedulers.samplers,
    "k-diffusion": k_diffusion_samplers.samplers,
    "azula": azula_samplers.samplers,
}

__all__ = ["LIBRARIES", "Estimate", "Sampler"]
