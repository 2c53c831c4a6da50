"""diffusers: every deterministic scheduler that takes continuous noise levels, driven by hand.

``set_timesteps`` builds its levels in float32 from a table of β; here the levels are then replaced by ours in
float64, so that every scheduler walks the grid of the others. Schedulers of the variance-preserving family
see ``x/√(1 + σ²)``, as they define their state. DDIM, PNDM and DDPM schedulers know only whole time steps of
the β table and are left out (DDIM equals Euler here).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .problem import Estimate

# One driver for each kind of state that the library knows.
VE, VP, EDM, ANGLE = "ve", "vp", "edm", "angle"


def samplers() -> dict[str, Any]:
    """Name to sampler."""
    import diffusers

    def wrap(kind: str, state: str, **options: Any) -> Any:
        def run(estimate: Estimate, start: Tensor, sigmas: Tensor) -> Tensor:
            zero = bool(sigmas[-1] == 0)
            if kind not in _NO_FINAL:
                options["final_sigmas_type"] = "zero" if zero else "sigma_min"
            scheduler = getattr(diffusers, kind)(**options)
            scheduler.set_timesteps(len(sigmas) - 1)
            levels = _levels(scheduler, kind, sigmas, zero)
            return _drive(scheduler, state, estimate, start, levels, float(sigmas[-1]))

        return run

    x0 = {"prediction_type": "sample"}
    found = {
        "Euler": wrap("EulerDiscreteScheduler", VE, **x0),
        "Heun": wrap("HeunDiscreteScheduler", VE, **x0),
        "KDPM2": wrap("KDPM2DiscreteScheduler", VE, prediction_type="epsilon"),
        "LMS": wrap("LMSDiscreteScheduler", VE, **x0),
        "iPNDM": wrap("IPNDMScheduler", ANGLE),
        "EDM Euler": wrap("EDMEulerScheduler", EDM, prediction_type="epsilon"),
        "SA-Solver τ=0": wrap("SASolverScheduler", VP, tau_func=lambda t: 0, **x0),
    }
    for n in (1, 2, 3):
        found[f"DEIS order {n}"] = wrap("DEISMultistepScheduler", VP, solver_order=n, **x0)
        for bh in ("bh1", "bh2"):
            options = {"solver_order": n, "solver_type": bh, **x0}
            found[f"UniPC order {n} {bh}"] = wrap("UniPCMultistepScheduler", VP, **options)
    for name, state, prediction in (
        ("DPMSolverMultistep", VP, "sample"),
        ("DPMSolverSinglestep", VP, "sample"),
        ("EDMDPMSolverMultistep", EDM, "epsilon"),
    ):
        kinds = [("dpmsolver++", 2, "midpoint"), ("dpmsolver++", 2, "heun"), ("dpmsolver++", 3, "midpoint")]
        if name == "DPMSolverMultistep":
            kinds += [("dpmsolver", 2, "midpoint"), ("dpmsolver", 3, "midpoint")]
        for algorithm, order, rule in kinds:
            label = f"{name} {algorithm} {order} {rule}"
            options = {"algorithm_type": algorithm, "solver_order": order, "solver_type": rule}
            found[label] = wrap(f"{name}Scheduler", state, prediction_type=prediction, **options)
    return found


_NO_FINAL = {
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "IPNDMScheduler",
    "SASolverScheduler",
    "DEISMultistepScheduler",
}


def _levels(scheduler: Any, kind: str, sigmas: Tensor, zero: bool) -> Tensor:
    """Give the scheduler our levels; returns the level of the state at each call of the network."""
    if kind in ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler"):
        middle = (
            (sigmas[:-1].log() + sigmas[1:].log()).div(2).exp() if kind.startswith("KDPM2") else sigmas[1:]
        )
        # Two stages a step, but one in a step to zero.
        calls = torch.stack([sigmas[:-1], middle], dim=1).flatten()
        doubled = sigmas[1:].repeat_interleave(2)
        scheduler.sigmas = torch.cat([sigmas[:1], doubled])
        scheduler.sigmas_interpol = torch.cat([sigmas[:1], middle.repeat_interleave(2)])
        calls = calls[:-1] if zero else calls
    else:
        scheduler.sigmas, calls = sigmas, sigmas[:-1]
    if kind == "IPNDMScheduler":
        scheduler.alphas, scheduler.betas = (1 + sigmas**2).rsqrt(), sigmas * (1 + sigmas**2).rsqrt()
    scheduler.timesteps = torch.arange(len(calls), 0, -1, dtype=torch.float64)
    scheduler.set_begin_index(0)
    scheduler.is_scale_input_called = True
    return calls


def _drive(
    scheduler: Any, state: str, estimate: Estimate, start: Tensor, calls: Tensor, last: float
) -> Tensor:
    def scale(sigma: Any) -> Any:
        return (1 + sigma**2) ** -0.5 if state in (VP, ANGLE) else 1.0

    raw = getattr(estimate, "raw", None)
    if raw is not None:  # Only the scheduler's own work, for timing: no change of variables of ours.
        x = start
        for t in scheduler.timesteps:
            x = scheduler.step(raw, t, x, return_dict=False)[0]
        return x
    x = start * scale(calls[0])
    for t, sigma in zip(scheduler.timesteps, calls, strict=True):
        plain = x / scale(sigma)
        x0 = estimate(plain, sigma)
        output = x0
        if state == ANGLE:  # v = αε − σx_0, which is what this scheduler turns into ε.
            output = scale(sigma) * ((plain - x0) / sigma - sigma * x0)
        elif state == EDM:  # The raw network behind Karras preconditioning.
            data = scheduler.config.sigma_data
            total = sigma**2 + data**2
            output = (x0 - data**2 / total * plain) * total.sqrt() / (sigma * data)
        elif scheduler.config.prediction_type == "epsilon":
            output = (plain - x0) / sigma
        x = scheduler.step(output, t, x, return_dict=False)[0]
    return x / scale(last)
