"""Defaults by molecule, starts in turn, and which solvers self-conditioning allows."""

import math

import pytest
import torch

from scoregen.core.denoiser import Prediction
from scoregen.core.grid import karras_grid
from scoregen.core.noise import Noise
from scoregen.core.sampling import sample
from scoregen.core.solvers import SOLVERS as CORE_SOLVERS
from scoregen.core.solvers import solver_by_name
from scoregen.molecules.chem import standardise
from scoregen.molecules.graph import collate
from scoregen.molecules.settings import SOLVERS, Settings
from tests.molecules.helpers import data_for, small_model


@pytest.mark.parametrize(
    ("smiles", "count"), [("CCO", 50), ("C" * 10, 50), ("C" * 11, 200), ("C" * 15, 200), ("C" * 16, 300)]
)
def test_auto_counts_rotatable_bonds(smiles: str, count: int) -> None:
    """7 rotors in decane, 8 in undecane, 12 in pentadecane, 13 in hexadecane."""
    mol = standardise(smiles)
    assert Settings(n="auto").count(mol) == count
    assert Settings(n="auto", draws=1.5).drawn(mol) == count * 3 // 2
    assert Settings(n=7, draws=1.5).drawn(mol) == 11


def test_auto_prunes_and_cuts() -> None:
    assert (Settings(n="auto").threshold, Settings(n="auto").window) == (0.5, 6.0)
    assert (Settings(n="auto", prune=0.0).threshold, Settings(n=5).threshold) == (0.0, 0.0)
    assert (Settings(n=5).window, Settings(n=5, energy_window=2).window) == (math.inf, 2)
    assert not Settings(n="auto").energetic and Settings(rank="energy").energetic


def test_starts_take_turns_and_give_way() -> None:
    assert Settings().starts == ("mmff",) and Settings().falls_back
    for wide in (Settings(n=21), Settings(n="auto"), Settings(theory="experiment")):
        assert wide.starts == ("mmff", "etkdg")
    assert Settings(init="mix").starts == ("mmff", "etkdg", "noise") and Settings(init="mix").falls_back
    assert Settings(init="mmff+etkdg+noise").starts == ("mmff", "etkdg", "noise")
    assert not Settings(init="noise").falls_back and not Settings(init="mmff").falls_back


def test_the_solvers_offered_call_the_network_once_a_step() -> None:
    """And those left out do not, so none is left out for nothing."""
    graphs, denoiser = collate([data_for("CCO")]), small_model()
    space, grid = graphs.space(), karras_grid(denoiser.sde, 4)
    calls = {}
    for name in CORE_SOLVERS:
        count = 0

        def denoise(x: torch.Tensor, t: torch.Tensor) -> Prediction:
            nonlocal count
            count += 1
            return denoiser(x, t, space, graphs)

        sample(
            denoise,
            denoiser.sde,
            space,
            solver=solver_by_name(name),
            grid=grid,
            noise=Noise(0, torch.tensor([0])),
        )
        calls[name] = count
    assert {name for name, count in calls.items() if count == 4} == set(SOLVERS)
