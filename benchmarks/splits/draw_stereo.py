"""Draw ``stereo_1000.smi``: SMILES with stated stereo that no shipped model was trained on.

    python benchmarks/splits/draw_stereo.py --data PACK_FOLDER

Candidates: molecules of ZINC, bound ligands, CASCADE and QM9 (the xTB ensembles) that the hash split makes
development molecules, the test records of the latter three, and conformer_benchmark (held out whole). Of
those with a stated element, by the smallest SHA-256 of the canonical SMILES: at most 400 with three elements
or more, and others up to 1,000. ZINC states stereo in its SMILES; the others' is read from their coordinates.

What ``scoregen.molecules.chem.standardise`` refuses is left out, so the list says nothing about it: metals,
radicals and mixtures, and by name the stereo of ``scoregen/molecules/stated.py`` that is not kept (hanging on
remote centres, bridgeheads, allenes, atropisomers, cumulenes, trigonal-bipyramidal and octahedral centres,
trans double bonds in small rings). How many with stated stereo were refused is printed, by reason; from
coordinates RDKit reads hardly any stereo of these kinds, so that count is mostly about ZINC. With ``--count``
nothing is written.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
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
    parser.add_argument("--count", action="store_true", help="print the counts, write nothing")
    args = parser.parse_args()
    refused: dict[str, str] = {}
    many, few, seen = [], [], set()
    for smiles, name in candidates(_raw(args.data), refused):
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
    if not args.count:
        with atomic_path(SPLITS / "stereo_1000.smi") as target:
            target.write_text("".join(lines))
    print(f"{len(lines)} of {len(many) + len(few)} candidates; refused with stated stereo: {len(refused)}")
    for reason, count in Counter(refused.values()).most_common():
        print(f"{count:6d}  {reason}")


def candidates(found: Iterable[tuple[str, str, str]], refused: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Canonical SMILES and a name without spaces, supported molecules only.

    Args:
        found: SMILES as stated, canonical SMILES, name.
        refused: is given the reason of every SMILES with stated stereo that is refused, as stated or
            canonical. The canonical form decides; it may have lost the mark that the other is refused for.
    """
    for stated, smiles, name in found:
        reason = refusal(smiles)
        if reason is None:
            yield smiles, name
            reason = refusal(stated)
        if reason is not None and any(mark in stated for mark in "@/\\"):
            refused[stated] = reason


def refusal(smiles: str) -> str | None:
    """Why a SMILES is refused, without the atom and the counts of this one; None if it is taken."""
    try:
        standardise(smiles)
    except InputError as error:
        named = re.match(r"(states .+) at atom", str(error))
        return named[1] if named else re.split(r"[:;(]", str(error))[0].lstrip("0123456789 ").rstrip()
    return None


def _raw(data: Path) -> Iterator[tuple[str, str, str]]:
    with open_text(data / "zinc_druglike.smi.gz") as stream, rdBase.BlockLogs():
        for line in stream:
            smiles, name = line.split()[:2]
            if "@" not in smiles and "/" not in smiles:
                continue
            mol = Chem.MolFromSmiles(smiles)
            if mol is not None and is_dev(mol):
                yield smiles, canonical_smiles(mol), name
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
                smiles = canonical_smiles(mol)
                yield smiles, smiles, "_".join(block.title.split())


if __name__ == "__main__":
    main()
