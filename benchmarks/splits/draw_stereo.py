"""Draw ``stereo_1000.smi``: SMILES with stated stereo that no shipped model was trained on.

    python benchmarks/splits/draw_stereo.py --data PACK_FOLDER

Candidates: molecules of ZINC, bound ligands, CASCADE and QM9 (the xTB ensembles) that the hash split makes
development molecules, the test records of the latter three, and conformer_benchmark (held out whole). Of
those with a stated element, by the smallest SHA-256 of the canonical SMILES: at most 400 with three elements
or more, and others up to 1,000. ZINC states stereo in its SMILES; the others' is read from their coordinates.
Nothing is left out for being hard, only what scoregen refuses (metals, radicals, mixtures).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformer_suite.references import SPLITS, is_dev
from conformer_suite.stereo_check import stated_elements
from rdkit import Chem, rdBase

from scoregen.errors import InputError
from scoregen.files import atomic_path
from scoregen.molecules.chem import canonical_smiles, standardise, stereo_from_3d
from scoregen.molecules.sdf import open_text, parse_block, read_blocks

MANY, WITH_MANY, ALL = 3, 400, 1000


def main() -> None:
    """Write the list beside this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SCOREGEN_DATA", "data/molecules")))
    data = parser.parse_args().data
    many, few, seen = [], [], set()
    for smiles, name in candidates(data):
        if smiles in seen:
            continue
        seen.add(smiles)
        count = stated_elements(Chem.AddHs(Chem.MolFromSmiles(smiles)))
        if count:
            key = hashlib.sha256(smiles.encode()).hexdigest()
            (many if count >= MANY else few).append((key, smiles, name))
    chosen = sorted(many)[:WITH_MANY]
    drawn = sorted(chosen + sorted(few)[: ALL - len(chosen)])
    lines = [f"{smiles} {name}\n" for _, smiles, name in drawn]
    with atomic_path(SPLITS / "stereo_1000.smi") as target:
        target.write_text("".join(lines))
    print(f"{len(lines)} of {len(many) + len(few)} candidates")


def candidates(data: Path) -> Iterator[tuple[str, str]]:
    """Canonical SMILES and a name without spaces, supported molecules only."""
    for smiles, name in _raw(data):
        try:
            standardise(smiles)
        except InputError:
            continue
        yield smiles, name


def _raw(data: Path) -> Iterator[tuple[str, str]]:
    with open_text(data / "zinc_druglike.smi.gz") as stream, rdBase.BlockLogs():
        for line in stream:
            smiles, name = line.split()[:2]
            if "@" not in smiles and "/" not in smiles:
                continue
            mol = Chem.MolFromSmiles(smiles)
            if mol is not None and is_dev(mol):
                yield canonical_smiles(mol), name
    lists = (
        SPLITS / "pdb_ligands_test.txt",
        SPLITS / "cascade_dft_test.txt",
        data / "qm9_xtb_benchmark_ids.txt",
    )
    test = {title for path in lists for title in path.read_text().split()}
    for pack in ("pdb_ligands", "cascade_dft", "qm9_xtb_ensembles", "conformer_benchmark"):
        last = ""
        for block in read_blocks(data / f"{pack}.sdf.gz"):
            if block.title == last:
                continue
            last = block.title
            try:
                mol = stereo_from_3d(parse_block(block))
            except InputError:
                continue
            if pack == "conformer_benchmark" or block.title in test or is_dev(mol):
                yield canonical_smiles(mol), "_".join(block.title.split())


if __name__ == "__main__":
    main()
