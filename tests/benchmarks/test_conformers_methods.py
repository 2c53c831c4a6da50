"""What the conformer benchmark compares: peers and model get the same selections, and settings arrive."""

# ruff: noqa: E402
from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from scoregen.errors import InputError
from scoregen.molecules.metrics import pairwise_rmsd
from scoregen.molecules.relax import mmff_energy
from scoregen.molecules.selection import medoids
from scoregen.molecules.stereo import with_positions

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from conformer_suite.methods import default_draws, etkdg, model_method, peers, variants
from conformer_suite.options import Options
from conformer_suite.registry import REGISTRY
from suite.options import overrides, updated


def test_selection_keeps_n_of_what_was_drawn() -> None:
    _, drawn = etkdg("CCCCCO", 12, seed=1, relax=False)
    _, kept = etkdg("CCCCCO", 4, seed=1, relax=False, draws=3)
    assert len(kept) == 4
    assert all((np.abs(drawn - one).max((1, 2)) < 1e-9).any() for one in kept)


def test_selection_of_the_peers_is_that_of_the_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoregen.molecules.starts.STRAIN", 0.5)
    mol, pool = etkdg("CCCCCO", 24, seed=1, relax=True)
    _, kept = etkdg("CCCCCO", 2, seed=1, relax=True, draws=12)
    energies = np.array([mmff_energy(mol, xyz) for xyz in pool])
    low = pool[energies <= energies.min() + 0.5 + 1e-6]
    assert 2 < len(low) < len(pool)
    expected = low[medoids(pairwise_rmsd(mol, low), 2)]
    assert np.abs(kept - expected).max() < 1e-6


def test_settings_reach_the_generator_only_when_given() -> None:
    seen = []

    def generate(smiles: str, n: int, **settings: object) -> list:
        seen.append(settings)
        mol, xyz = etkdg(smiles, n, seed=0, relax=False)
        return [with_positions(mol, x) for x in xyz]

    generator = SimpleNamespace(generate=generate)
    model_method(generator, Options(), "gfn2", init="noise", relax="none", draws=1)("CCO", 2)
    options = Options(theory="reference", solver="vab-3", sigma=0.3)
    mol, xyz = model_method(generator, options, "gfn2", init="etkdg", relax="none", draws=4)("CCO", 2)
    assert seen[0] == {"seed": 0, "init": "noise", "relax": "none", "draws": 1}
    assert seen[1]["theory"] == "gfn2"
    assert (seen[1]["solver"], seen[1]["draws"], seen[1]["sigma"]) == ("vab-3", 4, 0.3)
    assert xyz.shape == (2, mol.GetNumAtoms(), 3)


def test_draws_are_left_to_the_generator_by_default() -> None:
    options = Options(init=("auto",), draws=(0.0, 1.0, 4.0))
    assert variants("m", options) == {
        "m, auto": {"init": "auto", "relax": "none"},
        "m, auto, ×1": {"init": "auto", "relax": "none", "draws": 1},
        "m, auto, ×4": {"init": "auto", "relax": "none", "draws": 4},
    }
    assert list(peers(options))[::2] == ["ETKDGv3", "ETKDGv3, × as auto", "ETKDGv3, ×4"]
    assert [default_draws(n) for n in (20, 60, 61)] == [4, 2, 1]
    _, unasked = peers(options)["ETKDGv3, × as auto"]("CCCCCO", 3)
    _, four = peers(options)["ETKDGv3, ×4"]("CCCCCO", 3)
    _, one = peers(options)["ETKDGv3"]("CCCCCO", 3)
    assert np.array_equal(unasked, four)
    assert not np.array_equal(unasked, one)
    own = {name: section.defaults.draws for name, section in REGISTRY.items()}
    assert own["pdb"] == own["stereo"] == own["geometry"] == (0,)
    assert own["speed"] == (0, 1)
    assert own["qm9"] == own["druglike"] == (1, 4)
    with pytest.raises(InputError, match="at least 1"):
        Options(draws=(0.5,))


def test_wrong_settings_are_refused_at_once_and_faults_of_the_generator_are_not_hidden() -> None:
    def broken(smiles: str, n: int, **settings: object) -> list:
        raise TypeError("a fault inside")

    generator = SimpleNamespace(generate=broken)
    settings = {"init": "auto", "relax": "none", "draws": 1}
    with pytest.raises(InputError, match="--solver"):
        model_method(generator, Options(solver="nonsense"), None, **settings)
    with pytest.raises(TypeError, match="a fault inside"):
        model_method(generator, Options(), None, **settings)("CCO", 1)


def test_overrides_are_typed_and_checked() -> None:
    found = overrides(["pdb.count=5", "pdb.init=noise,mix", "steps.nfe=3,10"], ["pdb", "steps"], Options)
    assert found == {"pdb": {"count": 5, "init": ("noise", "mix")}, "steps": {"nfe": (3, 10)}}
    assert updated(Options(limit=3), {"limit": None, "count": 4}) == Options(limit=3, count=4)
    for wrong in ("pdb.count", "pdb.nothing=1", "other.count=1", "pdb.count=x"):
        with pytest.raises(InputError, match="--set"):
            overrides([wrong], ["pdb"], Options)
