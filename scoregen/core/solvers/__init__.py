"""Integration rules for the reverse process, one module each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .ancestral import Ancestral
from .base import Draw, Solver, State
from .churn import HeunChurn
from .ddim import DDIM
from .deis import DEIS
from .dpmpp import DPMpp2M, DPMpp2S, DPMpp3M
from .eab import EAB
from .er_sde import ERSDE
from .euler_maruyama import EulerMaruyama
from .heun import Heun
from .ipndm import IPNDM
from .langevin import PredictorCorrector
from .renoise import Renoise
from .resample import Resampled
from .rk45 import RK45
from .sde_dpmpp import SDEDPMpp2M
from .unipc import UniPC
from .vab import VAB

SOLVERS: dict[str, Callable[[], Any]] = {
    "ddim": DDIM,
    "dpmpp-1s": DDIM,  # The same rule: DPM-Solver++ of order 1 is DDIM (Lu et al. 2022).
    "heun": Heun,
    "dpmpp-2s": DPMpp2S,
    "dpmpp-2m": DPMpp2M,
    "dpmpp-3m": DPMpp3M,
    **{f"unipc-{order}": partial(UniPC, order) for order in UniPC.orders},
    **{f"deis-{order}": partial(DEIS, order) for order in DEIS.orders},
    **{f"eab-{order}": partial(EAB, order) for order in EAB.orders},
    **{f"xeab-{order}": partial(EAB, order, on="x0") for order in EAB.orders},
    **{f"ipndm-{order}": partial(IPNDM, order) for order in IPNDM.orders},
    **{f"vab-{order}": partial(VAB, order) for order in VAB.orders},
    "euler-maruyama": EulerMaruyama,
    "ddpm": Ancestral,
    "heun-churn": HeunChurn,
    "pc": PredictorCorrector,
    "sde-dpmpp-2m": SDEDPMpp2M,
    **{f"er-sde-{order}": partial(ERSDE, order) for order in (1, 2, 3)},
}
"""Factories of solvers by name. A number in a name is the order of convergence of a deterministic solver; the
multistep rules of order 3 and 4 have it with ``start="rk"``."""


def solver_by_name(name: str, **options: Any) -> Solver[Any]:
    """The solver registered under ``name``.

    Args:
        name: a key of :data:`SOLVERS`.
        options: arguments of the solver that differ from the registered ones, e.g. ``start="rk"``.

    Raises:
        ValueError: no such solver (the message lists the names), or an option that it does not have or take.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver '{name}'; known: {', '.join(SOLVERS)}")
    solver: Solver[Any] = SOLVERS[name]()
    try:
        return replace(solver, **options) if options else solver  # type: ignore[type-var]
    except TypeError as error:
        raise ValueError(f"solver '{name}': {error}") from None


__all__ = [
    "DDIM",
    "DEIS",
    "EAB",
    "ERSDE",
    "IPNDM",
    "RK45",
    "SOLVERS",
    "VAB",
    "Ancestral",
    "DPMpp2M",
    "DPMpp2S",
    "DPMpp3M",
    "Draw",
    "EulerMaruyama",
    "Heun",
    "HeunChurn",
    "PredictorCorrector",
    "Renoise",
    "Resampled",
    "SDEDPMpp2M",
    "Solver",
    "State",
    "UniPC",
    "solver_by_name",
]
