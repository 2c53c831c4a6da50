"""Ensembles of one molecule, with MMFF94s where the level does not matter."""

import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, standardise, stereo_from_3d
from scoregen.molecules.etkdg import embed
from scoregen.molecules.metrics import heavy_graph, rmsd_matrix
from scoregen.molecules.minima import (
    GAS_CONSTANT,
    SAME_ENERGY,
    TEMPERATURE,
    Deadline,
    EnsembleSettings,
    boltzmann_weights,
    candidate_count,
    distinct_minima,
    find_minima,
    optimised,
    pre_relaxed,
    state_stereo,
)
from scoregen.molecules.relax import relax
from scoregen.molecules.stereo import geometry_ok, list_stereo, stereo_matches, with_positions

needs_xtb = pytest.mark.skipif(shutil.which("xtb") is None, reason="the xtb program is not installed")

STATED = ("CC[C@H](C)[C@@H](N)C(=O)O", "C/C=C\\C(=O)NCC", "OC[C@H]1O[C@H](O)C[C@@H]1O", "CC[P@](C)CCO")
OPEN = (
    "CC(O)C(N)C(=O)O",
    "CC=CCCO",
    "C1CC2CCC1C2O",
    "CC=NO",
    "C[C@H](F)C(Cl)CO",
    "CC(C)P(C)CC",
    "CC1CN1CO",
    "N=C(C)CC",
)


def read_back(mol, positions) -> str:
    return canonical_smiles(stereo_from_3d(with_positions(mol, positions)))


@pytest.mark.parametrize("smiles", STATED)
def test_an_ensemble_is_what_it_promises(smiles):
    settings = EnsembleSettings("mmff", candidates=16, window=4.0, dedup=0.2)
    found = find_minima(standardise(smiles), settings)
    count = len(found.positions)
    assert found.positions.shape == (count, found.mol.GetNumAtoms(), 3) and 2 <= count <= 16
    assert found.smiles == canonical_smiles(standardise(smiles))
    assert found.energies[0] == 0 and (np.diff(found.energies) >= 0).all() and found.energies[-1] <= 4.0
    assert found.weights.sum() == pytest.approx(1) and (np.diff(found.weights) <= 0).all()
    for positions in found.positions:
        assert geometry_ok(found.mol, positions) and stereo_matches(found.mol, positions)
    distances = rmsd_matrix(found.mol, found.positions, found.mol, found.positions)
    gaps = np.abs(found.energies[:, None] - found.energies[None])
    assert ((distances >= 0.2) | (gaps >= SAME_ENERGY))[~np.eye(count, dtype=bool)].all()


def test_the_energies_are_those_of_the_level():
    found = find_minima(standardise("CCCCO"), EnsembleSettings("mmff"))
    energies = [relax(found.mol, positions, "mmff")[1] for positions in found.positions]
    np.testing.assert_allclose(np.array(energies) - energies[0], found.energies, atol=0.01)


def test_a_narrow_window_keeps_the_lowest_and_mirror_images_are_two():
    """Butane: anti, and two gauche conformers 0.8 kcal/mol (MMFF94s) above it that are mirror images."""
    found = find_minima(standardise("CCCC"), EnsembleSettings("mmff", candidates=20))
    assert len(found.energies) == 3 and found.energies[1:] == pytest.approx([0.78, 0.78], abs=0.05)
    lowest = find_minima(standardise("CCCC"), EnsembleSettings("mmff", candidates=20, window=0.5))
    np.testing.assert_array_equal(lowest.positions, found.positions[:1])
    assert lowest.weights.tolist() == [1.0]


@pytest.mark.parametrize("smiles", OPEN)
def test_open_stereo_becomes_one_isomer_that_all_conformers_show(smiles):
    mol = standardise(smiles)
    settings = EnsembleSettings("mmff", candidates=8)
    found = find_minima(mol, settings)
    assert list_stereo(mol).unspecified and not list_stereo(standardise(found.smiles)).unspecified
    flat, asked = (Chem.MolToSmiles(heavy_graph(m), isomericSmiles=False) for m in (found.mol, mol))
    assert flat == asked
    assert len({read_back(mol, positions) for positions in found.positions}) == 1
    again = find_minima(mol, settings)
    assert again.smiles == found.smiles
    np.testing.assert_array_equal(again.positions, found.positions)


def test_deciding_open_stereo_leaves_stated_stereo_alone():
    stated = "C[C@H](F)C(Cl)CO"
    mol = state_stereo(standardise(stated), 0, Deadline(60))
    assert canonical_smiles(mol) in {
        canonical_smiles(standardise(s)) for s in ("C[C@H](F)[C@H](Cl)CO", "C[C@H](F)[C@@H](Cl)CO")
    }
    # Phosphines are never read from 3D: what is stated must survive.
    both = state_stereo(standardise("CC[P@](C)C(C)O"), 0, Deadline(60))
    assert list_stereo(both) == (2, 0)


def test_seeds_give_different_isomers_in_time():
    mol = standardise("CC(O)C(N)C(F)Cl")
    assert len({canonical_smiles(state_stereo(mol, seed, Deadline(60))) for seed in range(8)}) > 2


def test_pre_relaxation_drops_what_falls_into_one_minimum():
    mol = standardise("C1CCCCC1")
    starts = embed(mol, 8, 1)
    chairs = pre_relaxed(mol, starts, 0.1, Deadline(60))
    assert len(starts) == 8 and len(chairs) < 4
    assert len(distinct_minima(mol, starts, [0.0] * 8, 0.0)) == 8
    boron = standardise("OB(O)CC")  # MMFF94s has no boron: the starts go on as they are
    starts = embed(boron, 3, 1)
    assert [id(a) for a in pre_relaxed(boron, starts, 0.1, Deadline(60))] == [id(a) for a in starts]


@needs_xtb
def test_gfn2_ensemble_of_propanol():
    found = find_minima(standardise("CCCO"), EnsembleSettings("gfn2", candidates=8))
    assert len(found.energies) >= 3 and found.energies.max() < 3
    relaxed, _ = relax(found.mol, found.positions[0], "gfn2")
    assert rmsd_matrix(found.mol, relaxed[None], found.mol, found.positions[:1]).item() < 0.02


@needs_xtb
def test_a_proton_that_moves_is_seen():
    """The zwitterion of glycine is no minimum in the gas phase."""
    with pytest.raises(InputError, match="gfn2 changes its bonds"):
        find_minima(standardise("[NH3+]CC(=O)[O-]"), EnsembleSettings("gfn2", candidates=2))


def test_a_start_of_the_other_enantiomer_is_left_out():
    mol = standardise("C[C@H](N)C(=O)O")
    start = embed(mol, 1, 1)[0]
    found, energies = optimised(mol, [start * [1, 1, -1], start], "mmff", Deadline(60))
    assert len(found) == len(energies) == 1
    with pytest.raises(InputError, match="mmff changes its bonds or stereo"):
        optimised(mol, [start * [1, 1, -1]], "mmff", Deadline(60))


def test_time_limit_and_settings_are_checked():
    with pytest.raises(InputError, match=r"took more than 1e-06 s; raise --time-limit"):
        find_minima(standardise("CCO"), EnsembleSettings("mmff", time_limit=1e-6))
    ring = standardise("CC1NC(=O)C(CC(C)C)NC(=O)C(CO)NC(=O)CNC(=O)C(C(C)C)NC(=O)C(CC(C)C)NC1=O")
    with pytest.raises(InputError, match=r"took more than 0.5 s"):
        find_minima(ring, EnsembleSettings("mmff", candidates=200, time_limit=0.5))
    for wrong in ({"level": "dft"}, {"candidates": 0}, {"window": 0}, {"dedup": -1}, {"time_limit": 0}):
        with pytest.raises(InputError, match="--"):
            EnsembleSettings(**wrong)


def test_embedding_gets_the_time_of_the_molecule_shared_among_its_geometries(monkeypatch):
    """Its timeout is for one geometry: the whole limit for each would be many times the limit."""
    calls = []

    def watched(mol, n, seed, timeout):
        calls.append((n, timeout))
        return embed(mol, n, seed, timeout=timeout)

    monkeypatch.setattr("scoregen.molecules.minima.embed", watched)
    find_minima(standardise("CC(O)CN"), EnsembleSettings("mmff", candidates=7, time_limit=90))
    assert [n for n, _ in calls] == [3, 7]  # open stereo, candidates
    for n, timeout in calls:
        assert 60 < n * timeout <= 90


def test_more_rotors_get_more_starts():
    counts = [candidate_count(standardise(s)) for s in ("c1ccccc1", "CCCC", "CCCCCC", "C" * 40)]
    assert counts == [10, 15, 25, 60]


@given(st.lists(st.floats(0, 50, allow_subnormal=False), min_size=1, max_size=20))
def test_boltzmann_weights(values):
    energies = np.array(values)
    weights = boltzmann_weights(energies)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    np.testing.assert_allclose(weights, boltzmann_weights(energies + 1000), rtol=1e-9)
    np.testing.assert_allclose(
        weights, weights.max() * np.exp(-(energies - energies.min()) / (GAS_CONSTANT * TEMPERATURE))
    )


def test_a_factor_of_ten_is_1_36_kcal():
    weights = boltzmann_weights(np.array([0.0, 1.3644]))
    assert math.log10(weights[0] / weights[1]) == pytest.approx(1, abs=1e-3)
