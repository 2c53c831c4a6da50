"""What the methods made, kept on disk, so that a stopped run goes on at the molecule where it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import __version__ as rdkit_version
from rdkit.Chem import Mol, PropertyPickleOptions

from scoregen.files import atomic_path


@dataclass(frozen=True)
class Entry:
    """What a method made of a molecule: its graph (None where it failed), positions and times in seconds."""

    mol: Mol | None
    positions: np.ndarray
    seconds: float
    cpu_seconds: float


def key_of(facts: dict[str, Any]) -> str:
    """A short text that differs where ``facts`` differ, or the version of RDKit."""
    told = json.dumps({**facts, "rdkit": rdkit_version}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:24]


class Store:
    """Entries in one folder, a file each, by method, molecule and number of conformers.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def load(self, key: str, smiles: str, n: int) -> Entry | None:
        """What :meth:`save` kept, or None."""
        path = self._path(key, smiles, n)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as held:
            mol = Mol(held["mol"].tobytes()) if held["mol"].size else None
            seconds, cpu = held["times"].tolist()
            return Entry(mol, held["positions"], seconds, cpu)

    def save(self, key: str, smiles: str, n: int, entry: Entry) -> None:
        """Keep an entry; a file appears whole or not at all."""
        path = self._path(key, smiles, n)
        path.parent.mkdir(parents=True, exist_ok=True)
        graph = entry.mol.ToBinary(int(PropertyPickleOptions.AllProps)) if entry.mol is not None else b""
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.savez(
                stream,
                mol=np.frombuffer(graph, np.uint8),
                positions=entry.positions,
                times=np.array([entry.seconds, entry.cpu_seconds]),
            )

    def _path(self, key: str, smiles: str, n: int) -> Path:
        return self.folder / key / (hashlib.sha256(f"{smiles} {n}".encode()).hexdigest()[:24] + ".npz")
