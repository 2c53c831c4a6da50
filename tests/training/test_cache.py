"""Prepared caches: what goes in comes out, and damage is named."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scoregen.training import cache as module
from scoregen.training.cache import Cache, CacheError, CacheWriter


def records(count: int = 7) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [
        {
            "x": generator.normal(size=(i % 4, 3)).astype(np.float32),
            "z": generator.integers(0, 9, size=(2 * i,), dtype=np.int64),
        }
        for i in range(count)
    ]


def write(path: Path, count: int = 7) -> Path:
    with CacheWriter(path, "toy", {"licence": "CC0"}) as cache:
        for i, record in enumerate(records(count)):
            cache.add(record, {"name": f"r{i}", "split": "dev" if i % 3 == 0 else "train"})
    return path


@pytest.mark.parametrize("shard_bytes", [1, 100, 2**20])
def test_round_trip_over_any_number_of_shards(tmp_path: Path, monkeypatch, shard_bytes: int) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", shard_bytes)
    cache = Cache(write(tmp_path / "cache"), "toy")
    assert len(cache) == 7
    assert cache.info == {"licence": "CC0"}
    for i, record in enumerate(records()):
        found = cache[i]
        assert found.keys() == record.keys()
        for name, value in record.items():
            assert found[name].dtype == value.dtype
            assert np.array_equal(found[name], value)
        assert cache.facts[i]["name"] == f"r{i}"
    assert cache.lengths("x").tolist() == [i % 4 for i in range(7)]
    assert cache.lengths("z").tolist() == [2 * i for i in range(7)]
    assert cache.select(split="dev").tolist() == [0, 3, 6]
    assert cache.select(split="dev", name="r3").tolist() == [3]
    assert cache.select(split="other").tolist() == []


@pytest.mark.parametrize("i", [-1, 7])
def test_records_outside_the_cache(tmp_path: Path, i: int) -> None:
    with pytest.raises(IndexError, match="cache of 7"):
        Cache(write(tmp_path / "cache"))[i]


def test_an_empty_cache(tmp_path: Path) -> None:
    cache = Cache(write(tmp_path / "cache", 0))
    assert len(cache) == 0
    assert cache.select().tolist() == []
    assert cache.lengths("x").tolist() == []


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="field 'x'"), CacheWriter(tmp_path / "cache", "toy") as cache:
        cache.add({"x": np.zeros((2, 3), np.float32)})
        cache.add({"x": np.zeros((2, 3), np.float64)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "record", [{}, {"x": np.zeros((2, 4), np.float32)}, {"x": np.zeros((2, 3), np.float16)}]
)
def test_records_of_another_form_are_refused(tmp_path: Path, record: dict) -> None:
    with pytest.raises(CacheError, match="does not match"), CacheWriter(tmp_path / "c", "toy") as cache:
        cache.add({"x": np.zeros((2, 3), np.float32)})
        cache.add(record)


def damage_index(folder: Path) -> None:
    (folder / "index.json").write_text("{")


def damage_index_type(folder: Path) -> None:
    (folder / "index.json").write_text("[1]")


def damage_index_bytes(folder: Path) -> None:
    (folder / "index.json").write_bytes(b"\xff\xfe\x00")


def damage_schema(folder: Path) -> None:
    content = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(content | {"schema": 99}))


def damage_shard(folder: Path) -> None:
    shard = folder / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-20])


def damage_shard_missing(folder: Path) -> None:
    (folder / "shard-00000.safetensors").unlink()


def damage_facts(folder: Path) -> None:
    facts = folder / "records-00000.jsonl"
    facts.write_text(facts.read_text()[:-30])


def damage_facts_short(folder: Path) -> None:
    facts = folder / "records-00000.jsonl"
    facts.write_text("".join(facts.read_text().splitlines(keepends=True)[:-1]))


def damage_facts_missing(folder: Path) -> None:
    (folder / "records-00000.jsonl").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_index,
        damage_index_type,
        damage_index_bytes,
        damage_schema,
        damage_shard,
        damage_shard_missing,
        damage_facts,
        damage_facts_short,
        damage_facts_missing,
    ],
)
def test_damage_is_a_clear_error(tmp_path: Path, damage) -> None:
    folder = write(tmp_path / "cache")
    damage(folder)
    with pytest.raises(CacheError, match=str(folder)):
        Cache(folder)[0]


def test_missing_and_foreign_caches(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="no prepared cache here; run 'scoregen prepare' first"):
        Cache(tmp_path / "nothing")
    with pytest.raises(CacheError, match="kind 'toy', need 'audio'"):
        Cache(write(tmp_path / "cache"), "audio")


def test_reading_imports_neither_rdkit_nor_soundfile(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['rdkit'] = sys.modules['soundfile'] = None\n"
        "from scoregen.training.cache import Cache\n"
        f"print(len(Cache({str(write(tmp_path / 'cache'))!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "7"
