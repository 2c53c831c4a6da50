"""Integration rules for the reverse process, one module each."""

from __future__ import annotations

from typing import Any

from .base import Draw, Solver, State
from .ddim import DDIM
from .dpmpp import DPMpp2M
from .euler_maruyama import EulerMaruyama
from .heun import Heun
from .ipndm import IPNDM

SOLVERS: dict[str, type[Any]] = {
    "ddim": DDIM,
    "euler-maruyama": EulerMaruyama,
    "heun": Heun,
    "dpmpp-2m": DPMpp2M,
    "ipndm-4": IPNDM,
}


def solver_by_name(name: str) -> Solver[Any]:
    """The solver registered under ``name``.

    Raises:
        ValueError: no such solver; the message lists the names.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver '{name}'; known: {', '.join(SOLVERS)}")
    solver: Solver[Any] = SOLVERS[name]()
    return solver


__all__ = [
    "DDIM",
    "IPNDM",
    "SOLVERS",
    "DPMpp2M",
    "Draw",
    "EulerMaruyama",
    "Heun",
    "Solver",
    "State",
    "solver_by_name",
]
