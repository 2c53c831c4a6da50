"""The store of the conformer benchmark: what was made is taken up as it was, and only where all agrees."""

# ruff: noqa: E402
from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from conformer_suite import workbench
from conformer_suite.methods import PEERS, etkdg, peers
from conformer_suite.options import Options
from conformer_suite.references import Reference
from conformer_suite.store import Entry, Store, key_of
from conformer_suite.workbench import Workbench, run_method

from scoregen.errors import InputError

SMILES = ("C[C@H](N)C(=O)O", "OCC")


@pytest.fixture(scope="module")
def molecules() -> list[Reference]:
    found = []
    for smiles in SMILES:
        mol, positions = etkdg(smiles, 1, seed=0, relax=False)
        found.append(Reference(smiles, smiles, mol, positions))
    return found


def test_an_entry_comes_back_as_it_was(tmp_path: Path, molecules: list[Reference]) -> None:
    store, mol = Store(tmp_path / "new"), molecules[0].mol
    entry = Entry(mol, molecules[0].positions, 1.5, 1.25)
    assert store.load("key", SMILES[0], 1) is None
    store.save("key", SMILES[0], 1, entry)
    found = store.load("key", SMILES[0], 1)
    assert found is not None
    np.testing.assert_array_equal(found.positions, entry.positions)
    assert (found.seconds, found.cpu_seconds) == (1.5, 1.25)
    assert found.mol is not None
    assert Chem.MolToSmiles(found.mol) == Chem.MolToSmiles(mol)
    for other in (("other", SMILES[0], 1), ("key", SMILES[1], 1), ("key", SMILES[0], 2)):
        assert store.load(*other) is None


def test_what_failed_stays_failed(tmp_path: Path, molecules: list[Reference]) -> None:
    calls = []

    def fails(smiles: str, n: int) -> tuple:
        calls.append(smiles)
        raise InputError("none")

    runs = [run_method("m", fails, molecules, lambda _: 2, Store(tmp_path), "key") for _ in range(2)]
    assert len(calls) == len(molecules)
    assert [row["failures"] for _, row in runs] == [2, 2]


def test_a_stopped_run_goes_on_where_it_was(
    tmp_path: Path, molecules: list[Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # every look at it takes a second
    monkeypatch.setattr(workbench, "cpu_seconds", lambda: float(next(clock)))
    method, calls = peers(Options(draws=(1.0,)))["ETKDGv3"], []

    def stops(smiles: str, n: int) -> tuple:
        calls.append(smiles)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return method(smiles, n)

    with pytest.raises(KeyboardInterrupt):
        run_method("m", stops, molecules, lambda _: 3, Store(tmp_path), "key")
    made, row = run_method("m", stops, molecules, lambda _: 3, Store(tmp_path), "key")
    assert calls == [SMILES[0], SMILES[1], SMILES[1]]
    fresh, _ = run_method("m", method, molecules, lambda _: 3)
    for one, other in zip(made, fresh, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
    assert row["generated"] == 6
    assert row["cpu_seconds"] == len(molecules)  # what was kept counts with the time it took then


def test_seeds_and_methods_have_their_own_entries(tmp_path: Path, molecules: list[Reference]) -> None:
    bench = Workbench(tmp_path, "none", store=tmp_path / "store")
    for seed in (0, 1, 0):
        rows = [row for _, row in bench.run(Options(draws=(1.0,), seed=seed), "gfn2", molecules, lambda _: 1)]
        assert all(row["method"].startswith(PEERS) for row in rows)
    assert len(list((tmp_path / "store").iterdir())) == 2 * 2  # seeds times methods


def test_keys_tell_facts_apart() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert len({key_of({"a": 1}), key_of({"a": 2}), key_of({"b": 1}), key_of({})}) == 4
