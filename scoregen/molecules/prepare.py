"""From SDF packs to a prepared cache that training reads without RDKit.

A record is one conformer: the arrays of :func:`scoregen.molecules.features.featurise` and ``x`` ``(N, 3)``
float32, Å, centred. Its facts are ``name``, ``smiles`` (canonical, with stereo, without hydrogens),
``source`` (file stem) and ``split``: ``train``, ``dev`` or ``benchmark``.

The split is by molecule: every conformer and every stereoisomer of a molecule shares one, in every source
and in every run, because it is a hash of the canonical SMILES without stereo.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, check_supported, has_3d, stereo_from_3d
from scoregen.molecules.features import featurise
from scoregen.molecules.sdf import SUFFIXES, Block, open_text, parse_block, read_blocks
from scoregen.molecules.stereo import geometry_ok, stereo_matches
from scoregen.training.cache import CacheWriter

PathLike = str | os.PathLike[str]

Record = tuple[dict[str, np.ndarray], str, str]
"""Arrays, canonical SMILES, and the key of the molecule."""


@dataclass
class Prepared:
    """What :func:`prepare_molecules` did."""

    path: Path
    records: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return {
            "records": self.records,
            "splits": dict(self.splits),
            "sources": dict(self.sources),
            "skipped": dict(self.skipped),
        }


def prepare_molecules(
    sources: Sequence[PathLike],
    out: PathLike,
    *,
    holdout_ids: PathLike | Sequence[PathLike] | None = None,
    dev_fraction: float = 0.05,
    max_records: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Write a cache of kind ``molecules`` from SDF files (plain or gzipped) with 3D coordinates.

    Stereo is read from the coordinates. Records that cannot be used (unreadable, unsupported, no 3D, missing
    hydrogens, overlapping atoms, a stated centre that is flat) are skipped and counted by reason in the
    cache's ``info["skipped"]``.

    Args:
        sources: SDF files.
        out: cache folder; it appears whole.
        holdout_ids: text files with one record title a line, or SDF files. These records, and every record
            of the same molecules (stereo aside), get split ``benchmark``.
        dev_fraction: share of the remaining molecules that get split ``dev``.
        max_records: at most so many records from each source.
        progress: called with the number of records seen, about once per thousand.

    Raises:
        InputError: a source is missing or not an SDF, or nothing usable was found.
    """
    paths = [_checked(Path(source)) for source in sources]
    if not paths:
        raise InputError("no sources: give at least one .sdf or .sdf.gz file")
    held = held_out_keys(paths, holdout_ids)

    def records(path: Path) -> Iterator[tuple[str, Callable[[], Record]]]:
        for block in _blocks(path, max_records):
            yield block.title, partial(_record, block)

    return write_records("molecules", paths, out, records, held, dev_fraction, progress)


def write_records(
    kind: str,
    paths: Sequence[Path],
    out: PathLike,
    records: Callable[[Path], Iterator[tuple[str, Callable[[], Record]]]],
    held: Collection[str],
    dev_fraction: float,
    progress: Callable[[int], None] | None,
) -> Prepared:
    """Write a cache of any kind of molecule records, split by molecule; faults are counted by reason.

    Args:
        kind: of the cache.
        paths: sources.
        out: cache folder; it appears whole.
        records: the title of each record of a source, and how to make it (:class:`InputError` skips it).
        held: keys of the molecules that get split ``benchmark``.
        dev_fraction: share of the remaining molecules that get split ``dev``.
        progress: called with the number of records seen, about once per thousand.

    Raises:
        InputError: a share outside [0, 1), or nothing usable was found.
    """
    if not 0 <= dev_fraction < 1:
        raise InputError(f"dev_fraction {dev_fraction}: must be at least 0 and below 1")
    done = Prepared(Path(out))
    seen = 0
    info = {"sources": [path.name for path in paths], "dev_fraction": dev_fraction, "held_out": len(held)}
    with CacheWriter(out, kind, info) as cache:
        for path in paths:
            stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
            for name, make in records(path):
                seen += 1
                if progress is not None and seen % 1000 == 0:
                    progress(seen)
                try:
                    arrays, smiles, key = make()
                except InputError as error:
                    done.skipped[_category(error)] += 1
                    continue
                split = "benchmark" if key in held else split_of(key, dev_fraction)
                cache.add(arrays, {"name": name, "smiles": smiles, "source": stem, "split": split})
                done.records += 1
                done.splits[split] += 1
                done.sources[stem] += 1
        if not done.records:
            raise InputError(f"no usable record in {', '.join(map(str, paths))}: {dict(done.skipped)}")
        cache.info.update(done.as_dict())
    if progress is not None:
        progress(seen)
    return done


def molecule_key(mol: Mol) -> str:
    """Key shared by all conformers and stereoisomers of a molecule: canonical SMILES without stereo."""
    return canonical_smiles(mol, stereo=False)


def _record(block: Block) -> Record:
    mol = parse_block(block)
    check_supported(mol)
    if not has_3d(mol):
        raise InputError("no 3D coordinates")
    if any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        raise InputError("hydrogens without coordinates")
    stereo_from_3d(mol)
    x = mol.GetConformer().GetPositions()
    if not geometry_ok(mol, x):
        raise InputError("overlapping atoms or broken bonds")
    if not stereo_matches(mol, x):
        raise InputError("flat stereo centre or twisted double bond")
    arrays = featurise(mol)
    arrays["x"] = (x - x.mean(0)).astype(np.float32)
    return arrays, canonical_smiles(mol), molecule_key(mol)


def split_of(key: str, dev_fraction: float) -> str:
    """Split of the molecule with a key: ``train``, or with the chance ``dev_fraction`` ``dev``."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return "dev" if number < dev_fraction * 2**64 else "train"


def held_out_keys(paths: list[Path], holdout: PathLike | Sequence[PathLike] | None) -> set[str]:
    """Molecule keys of the held-out records, looked up by title in the sources or read from SDF files."""
    if holdout is None:
        return set()
    files = [holdout] if isinstance(holdout, str | os.PathLike) else list(holdout)
    ids: set[str] = set()
    keys: set[str] = set()
    for file in map(Path, files):
        if not file.is_file():
            raise InputError(f"{file}: no such hold-out file")
        if is_sdf(file):
            keys.update(_keys(_blocks(file, None)))
            continue
        with open_text(file) as stream:
            ids.update(line.strip() for line in stream if line.strip() and not line.startswith("#"))
    found: set[str] = set()
    for path in paths if ids else []:
        blocks = [block for block in _blocks(path, None) if block.title in ids]
        found.update(block.title for block in blocks)
        keys.update(_keys(iter(blocks)))
    if missing := ids - found:
        raise InputError(f"{len(missing)} hold-out ids are in no source, first: {min(missing)}")
    return keys


def _keys(blocks: Iterator[Block]) -> Iterator[str]:
    for block in blocks:
        try:
            yield molecule_key(parse_block(block))
        except InputError:
            continue


def _blocks(path: Path, limit: int | None) -> Iterator[Block]:
    try:
        for count, block in enumerate(read_blocks(path)):
            if limit is not None and count >= limit:
                return
            yield block
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not is_sdf(path):
        raise InputError(f"{path}: not an SDF file (.sdf or .sdf.gz)")
    return path


def is_sdf(path: Path) -> bool:
    """Whether it is named as an SDF, plain or gzipped."""
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def _category(error: InputError) -> str:
    """Reason without the particulars, so that counts add up."""
    return str(error).split(":")[0].split(" (")[0]
