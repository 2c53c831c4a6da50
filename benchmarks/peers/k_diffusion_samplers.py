"""k-diffusion: the deterministic ``sample_*`` functions.

``import k_diffusion`` pulls in CLIP, torchvision and wandb, which no sampler needs. Where that import fails,
``k_diffusion.sampling`` is loaded alone: its only use of the rest is ``utils.append_dims``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .problem import Estimate


def sampling() -> ModuleType:
    """The module ``k_diffusion.sampling``."""
    try:
        return importlib.import_module("k_diffusion.sampling")
    except ImportError:
        for name in [name for name in sys.modules if name.split(".")[0] == "k_diffusion"]:
            del sys.modules[name]
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None:
        raise ImportError("k-diffusion is not installed")
    package, utils = ModuleType("k_diffusion"), ModuleType("k_diffusion.utils")
    package.__path__ = list(spec.submodule_search_locations or [])
    utils.append_dims = lambda x, ndim: x.reshape(x.shape + (1,) * (ndim - x.ndim))  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules.update({"k_diffusion": package, "k_diffusion.utils": utils})
    return importlib.import_module("k_diffusion.sampling")


def samplers() -> dict[str, Any]:
    """Name to sampler; the ancestral and SDE functions with η = 0, where they are deterministic."""
    module = sampling()

    def silent(sigma: Any, sigma_next: Any) -> float:
        return 0.0

    def function(name: str, **options: Any) -> Any:
        call = getattr(module, f"sample_{name}")

        def run(estimate: Estimate, start: Tensor, sigmas: Tensor) -> Tensor:
            def model(x: Tensor, sigma: Tensor) -> Tensor:
                return estimate(x, sigma[0])

            result: Tensor = call(model, start, sigmas, disable=True, **options)
            return result

        return run

    def fast(estimate: Estimate, start: Tensor, sigmas: Tensor) -> Tensor:
        """DPM-Solver-fast takes the two ends and the number of calls; the levels between are its own."""

        def model(x: Tensor, sigma: Tensor) -> Tensor:
            return estimate(x, sigma.reshape(-1)[0])

        calls, ends = len(sigmas) - 1, sigmas.tolist()
        with torch.no_grad():
            result: Tensor = module.sample_dpm_fast(model, start, ends[-1], ends[0], calls, disable=True)
        return result

    still = {"eta": 0.0, "noise_sampler": silent}
    return {
        "euler": function("euler"),
        "heun": function("heun"),
        "dpm_2": function("dpm_2"),
        **{f"lms order {n}": function("lms", order=n) for n in (2, 3, 4)},
        "dpmpp_2s_ancestral η=0": function("dpmpp_2s_ancestral", **still),
        "dpmpp_sde η=0": function("dpmpp_sde", **still),
        "dpmpp_2m": function("dpmpp_2m"),
        "dpmpp_2m_sde η=0 midpoint": function("dpmpp_2m_sde", **still, solver_type="midpoint"),
        "dpmpp_2m_sde η=0 heun": function("dpmpp_2m_sde", **still, solver_type="heun"),
        "dpmpp_3m_sde η=0": function("dpmpp_3m_sde", **still),
        "dpm_fast (own grid)": fast,
    }
