"""azula: every deterministic sampler, with σ(t) = t and α = 1 so that times are noise levels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .problem import Estimate


def samplers() -> dict[str, Any]:
    """Name to sampler; multistep ones at orders 1 to 4 as far as they differ."""
    from azula import sample

    def schedule(t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), t

    def wrap(kind: type, **options: Any) -> Any:
        def run(estimate: Estimate, start: Tensor, sigmas: Tensor) -> Tensor:
            # The library spaces times evenly; a subclass that returns ours gives it any grid.
            given = type(kind.__name__, (kind,), {"timesteps": property(lambda self: sigmas)})

            def denoiser(x: Tensor, t: Tensor) -> SimpleNamespace:
                return SimpleNamespace(mean=estimate(x, t))

            denoiser.schedule = schedule  # type: ignore[attr-defined]
            steps = len(sigmas) - 1
            result: Tensor = given(denoiser, steps=steps, silent=True, dtype=torch.float64, **options)(start)
            return result

        return run

    found = {
        "DDIM": wrap(sample.DDIMSampler),
        "Euler": wrap(sample.EulerSampler),
        "Heun": wrap(sample.HeunSampler),
        "Itô η=0": wrap(sample.ItoSampler, eta=0.0),
    }
    for name in ("zAB", "vAB", "zEAB", "xEAB", "REAB"):
        kind = getattr(sample, f"{name}Sampler", None)
        if kind is not None:
            found |= {f"{name} order {n}": wrap(kind, order=n) for n in (1, 2, 3, 4)}
    return found
