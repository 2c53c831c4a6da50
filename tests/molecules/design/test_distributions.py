from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.design.distributions import UNITS, distances, profile, split
from tests.molecules.samples import all_records, pack


def of(*smiles: str):
    return profile(map(Chem.MolFromSmiles, smiles))


def test_distances_worked_out_by_hand():
    """Ethane and propane against benzene and ethanol."""
    found = distances(of("CC", "CCC"), of("c1ccccc1", "CCO"))
    assert found["heavy_atoms_w1"] == pytest.approx((1 + 3) / 2)  # 2, 3 -> 3, 6
    assert found["rings_w1"] == pytest.approx(0.5)  # 0, 0 -> 0, 1
    assert found["mw_w1"] == pytest.approx((46.069 - 30.070 + 78.114 - 44.097) / 2, abs=1e-2)
    assert found["tpsa_w1"] == pytest.approx(20.23 / 2)
    # Bonds: 3 single -> 2 single, 6 aromatic.
    assert found["bond_types_tv"] == pytest.approx(0.75)
    assert found["bond_orders_w1"] == pytest.approx(0.75 * 0.5)
    assert found["elements_tv"] == pytest.approx(1 / 9)
    assert np.isnan(found["ring_sizes_w1"]) and np.isnan(found["ring_sizes_tv"])


def test_ring_sizes_and_bond_orders_by_hand():
    found = distances(of("C1CC1", "C1CCCC1"), of("C1CCCC1", "C1CCCCCC1"))
    assert found["ring_sizes_w1"] == pytest.approx(2)  # 3, 5 -> 5, 7
    assert found["ring_sizes_tv"] == pytest.approx(0.5)
    multiple = distances(of("C=C"), of("C#C"))
    assert (multiple["bond_orders_w1"], multiple["bond_types_tv"]) == (1, 1)
    none = distances(of("CC"), of("CCC"))
    assert (none["ring_sizes_w1"], none["ring_sizes_tv"]) == (0, 0)


@settings(deadline=None)  # the first call fills the cache
@given(st.lists(st.integers(0, 29), min_size=1), st.lists(st.integers(0, 29), min_size=1))
def test_distances_are_those_of_a_metric(a, b):
    whole = _whole()
    one, other = whole.take(a), whole.take(b)
    there, back = distances(one, other), distances(other, one)
    assert there == pytest.approx(back, nan_ok=True)
    assert all(value >= 0 or np.isnan(value) for value in there.values())
    assert all(value == pytest.approx(0) for value in distances(one, one.take(range(len(one)))).values())
    assert not any(value > 1 + 1e-9 for name, value in there.items() if name.endswith("tv"))
    assert set(there) == set(UNITS)


@cache
def _whole():
    return profile((*pack("cascade_dft_sample.sdf"), *pack("pdb_ligands_sample.sdf")))


def test_a_profile_does_not_see_hydrogen_atoms():
    mols = all_records()[-5:]
    flat = profile([Chem.RemoveAllHs(mol) for mol in mols])
    assert all(value == pytest.approx(0) for value in distances(profile(mols), flat).values())


def test_a_split_is_between_parts_of_one_set():
    whole = _whole()
    found = split(whole, 10, seed=1)
    assert found == split(whole, 10, seed=1) != split(whole, 10, seed=2)
    shifted = profile(pack("qm9_xtb_sample.sdf"))
    assert found["heavy_atoms_w1"] < distances(shifted, whole)["heavy_atoms_w1"]
    # Never more than half of it.
    assert split(whole, 10**6, seed=1) == split(whole, len(whole) // 2, seed=1)
    same = whole.take([0] * 6)
    assert all(value == pytest.approx(0) for value in split(same, 3).values())


def test_empty_sets_are_refused():
    with pytest.raises(InputError, match="no molecules"):
        distances(profile([]), _whole())
    with pytest.raises(InputError, match="two molecules"):
        split(of("CC"), 1)
