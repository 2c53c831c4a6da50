"""Prepared data on disk: a folder of memory-mapped safetensors shards and one index.

A cache holds *records*. A record is a dict of named arrays whose first axis may differ between
records (atoms of a molecule, samples of a clip), plus a small JSON dict of facts about it (name,
split, source). Arrays of one field are concatenated along the first axis inside a shard; the index
stores where each record begins. Reading needs numpy and safetensors alone, so a training node needs
neither RDKit nor soundfile.

Layout::

    cache/
      index.json            {"schema": 1, "kind": "molecules", "info": {...}, "fields": {...}, ...}
      shard-00000.safetensors
      records-00000.jsonl   one line of facts a record
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scoregen.errors import ScoregenError
from scoregen.files import atomic_folder

SCHEMA = 1
SHARD_BYTES = 64 * 2**20


class CacheError(ScoregenError, ValueError):
    """A cache folder is missing, incomplete or of another kind; the message names it."""


class CacheWriter:
    """Write a cache; the folder appears whole when the ``with`` block ends without an error.

    Args:
        path: folder to create; an existing cache there is replaced.
        kind: the modality the records belong to (``"molecules"``, ``"audio"``).
        info: JSON-able facts about the whole cache (conventions, sources, licence).

    Example:
        >>> with CacheWriter(path, "molecules", {"source": "QM9"}) as cache:   # doctest: +SKIP
        ...     cache.add({"x": positions, "z": numbers}, {"name": "gdb_1", "split": "train"})
    """

    def __init__(self, path: str | os.PathLike[str], kind: str, info: Mapping[str, Any] | None = None):
        self.path = Path(path)
        self.kind = kind
        self.info = dict(info or {})
        self.fields: dict[str, dict[str, Any]] = {}
        self.shards: list[int] = []
        self._records: list[dict[str, np.ndarray]] = []
        self._facts: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> CacheWriter:
        self._context = atomic_folder(self.path)
        self._folder = self._context.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self._flush()
            index = {
                "schema": SCHEMA,
                "kind": self.kind,
                "info": self.info,
                "fields": self.fields,
                "shards": self.shards,
            }
            (self._folder / "index.json").write_text(json.dumps(index, indent=1))
        self._context.__exit__(kind, error, trace)

    def add(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any] | None = None) -> None:
        """Append one record.

        Args:
            arrays: field name → array ``(n, ...)``; fields, trailing shapes and dtypes agree between records.
            facts: small JSON-able dict (``name``, ``split``, …).

        Raises:
            CacheError: a field is missing or its dtype or trailing shape differs from the first record's.
        """
        record = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        if not self.fields:
            self.fields = {
                name: {"dtype": value.dtype.name, "shape": list(value.shape[1:])}
                for name, value in record.items()
            }
        for name, field in self.fields.items():
            value = record.get(name)
            if value is None or value.dtype.name != field["dtype"] or list(value.shape[1:]) != field["shape"]:
                raise CacheError(f"record {facts}: field '{name}' does not match {field}")
        self._records.append(record)
        self._facts.append(dict(facts or {}))
        self._bytes += sum(value.nbytes for value in record.values())
        if self._bytes >= SHARD_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._records:
            return
        number = len(self.shards)
        tensors: dict[str, torch.Tensor] = {}
        for name in self.fields:
            parts = [record[name] for record in self._records]
            tensors[name] = torch.from_numpy(np.concatenate(parts))
            starts = np.cumsum([0] + [len(part) for part in parts])
            tensors[f"{name}.start"] = torch.from_numpy(starts.astype(np.int64))
        save_file(tensors, self._folder / f"shard-{number:05d}.safetensors")
        with open(self._folder / f"records-{number:05d}.jsonl", "w") as stream:
            stream.writelines(json.dumps(facts) + "\n" for facts in self._facts)
        self.shards.append(len(self._records))
        self._records, self._facts, self._bytes = [], [], 0


class Cache:
    """Read a prepared cache; ``cache[i]`` is a dict of numpy arrays, ``cache.facts[i]`` its facts.

    Shards are opened lazily and memory-mapped, so opening a large cache is immediate.

    Args:
        path: folder written by :class:`CacheWriter`.
        kind: when given, the kind the cache must be of.

    Raises:
        CacheError: the folder is missing, unfinished, of another schema or of another kind.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str | None = None):
        self.path = Path(path)
        try:
            index = json.loads((self.path / "index.json").read_text())
        except FileNotFoundError:
            raise CacheError(f"{self.path}: no prepared cache here; run 'scoregen prepare' first") from None
        except ValueError as error:
            raise CacheError(
                f"{self.path}/index.json is not JSON ({error}); prepare the cache again"
            ) from None
        schema = index.get("schema") if isinstance(index, dict) else None
        if schema != SCHEMA:
            raise CacheError(f"{self.path}: cache schema {schema}, this version reads {SCHEMA}")
        if kind is not None and index["kind"] != kind:
            raise CacheError(f"{self.path}: a cache of kind '{index['kind']}', need '{kind}'")
        self.kind: str = index["kind"]
        self.info: dict[str, Any] = index["info"]
        self.fields: dict[str, dict[str, Any]] = index["fields"]
        self._starts = np.cumsum([0] + index["shards"])
        self._open: dict[int, dict[str, np.ndarray]] = {}
        self.facts: list[dict[str, Any]] = []
        for number, count in enumerate(index["shards"]):
            path = self.path / f"records-{number:05d}.jsonl"
            try:
                facts = [json.loads(line) for line in path.read_text().splitlines()]
            except (OSError, ValueError) as error:
                raise CacheError(f"{path}: damaged or missing ({error}); prepare the cache again") from None
            if len(facts) != count:
                raise CacheError(f"{path}: {len(facts)} records, expected {count}; prepare the cache again")
            self.facts.extend(facts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        if not 0 <= i < len(self):
            raise IndexError(f"record {i} of a cache of {len(self)}")
        number = int(np.searchsorted(self._starts, i, side="right")) - 1
        shard, row = self._shard(number), i - int(self._starts[number])
        return {
            name: shard[name][shard[f"{name}.start"][row] : shard[f"{name}.start"][row + 1]]
            for name in self.fields
        }

    def lengths(self, field: str) -> np.ndarray:
        """Length of the first axis of ``field`` in every record, int64 ``(len(self),)``."""
        shards = range(len(self._starts) - 1)
        parts = [np.diff(self._shard(number)[f"{field}.start"]) for number in shards]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def select(self, **facts: Any) -> np.ndarray:
        """Indices of the records whose facts equal the given ones, int64 ``(k,)``.

        Example: ``cache.select(split="train")``.
        """
        matches = (all(have.get(k) == v for k, v in facts.items()) for have in self.facts)
        return np.flatnonzero(np.fromiter(matches, bool, len(self.facts)))

    def _shard(self, number: int) -> dict[str, np.ndarray]:
        if number not in self._open:
            path = self.path / f"shard-{number:05d}.safetensors"
            try:
                with safe_open(path, framework="pt") as shard:
                    self._open[number] = {name: shard.get_tensor(name).numpy() for name in shard.keys()}  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise CacheError(f"{path}: damaged or missing ({error}); prepare the cache again") from None
        return self._open[number]
