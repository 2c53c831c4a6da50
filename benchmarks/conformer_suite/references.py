"""The reference geometries of each section, read from the data packs.

Test molecules are listed in files; development molecules are those that the hash split of ``scoregen
prepare`` keeps out of training and that are not, stereo aside, among the test molecules.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, stereo_from_3d
from scoregen.molecules.metrics import pairwise_rmsd
from scoregen.molecules.prepare import molecule_key, split_of
from scoregen.molecules.sdf import Block, parse_block, properties, read_blocks
from scoregen.molecules.selection import distinct

SPLITS = Path(__file__).resolve().parents[1] / "splits"
DEV_FRACTION = 0.05
DISTINCT = 0.5  # Å: conformer_benchmark holds near-duplicates


@dataclass(frozen=True)
class Reference:
    """A molecule of a benchmark.

    Args:
        name: title in the pack.
        smiles: the only input of a method; states the stereo of the coordinates.
        mol: graph with hydrogens, in the atom order of the positions.
        positions: ``(R, N, 3)``, Å.
        energies: kcal/mol, ``(R,)``, or None.
    """

    name: str
    smiles: str
    mol: Mol
    positions: np.ndarray
    energies: np.ndarray | None = None


def qm9(data: Path, split: str, limit: int | None) -> list[Reference]:
    """GFN2-xTB ensembles of QM9 molecules: the benchmark ids, or the development molecules of the pack."""
    ids = set(_lines(_file(data, "qm9_xtb_benchmark_ids.txt")))
    wanted: Iterable[list[Block]] = _groups(_file(data, "qm9_xtb_ensembles.sdf.gz"))
    if split == "test":
        chosen = (group for group in wanted if group[0].title in ids)
    else:
        chosen = (g for g in wanted if g[0].title not in ids and is_dev(parse_block(g[0])))
    found = []
    for blocks in itertools.islice(chosen, limit):
        mols = [parse_block(block) for block in blocks]
        facts = [properties(block) for block in blocks]
        energies = np.array([float(fact["relative_energy_kcal_mol"]) for fact in facts])
        found.append(Reference(blocks[0].title, facts[0]["smiles"], mols[0], _positions(mols), energies))
    return found


def druglike(data: Path, split: str, limit: int | None, *, dedup: bool = True) -> list[Reference]:
    """DFT conformers of drug-like molecules with DLPNO-CCSD(T) energies (Folmsbee & Hutchison 2020).

    Conformers whose stereo differs from the first are left out; with ``dedup`` so are those nearer than 0.5 Å
    to one of lower energy.
    """
    test = _lines(SPLITS / "conformer_benchmark_test.txt")
    groups: dict[str, list[Block]] = {}
    for block in read_blocks(_file(data, "conformer_benchmark.sdf.gz")):
        groups.setdefault(block.title, []).append(block)
    titles = test if split == "test" else sorted(set(groups) - set(test), key=_sha)
    found = []
    for title in titles[:limit]:
        pairs = [(stereo_from_3d(parse_block(block)), properties(block)) for block in groups[title]]
        # The pack has energies of atomisation, large for stable conformers: its GFN2 column is a constant
        # minus what xtb gives for its geometries.
        energies = -np.array([float(fact.get("E_rel_or_abs_dlpno_kcal", "nan")) for _, fact in pairs])
        mols = [mol for mol, _ in pairs]
        smiles = canonical_smiles(mols[0])
        symbols = [atom.GetAtomicNum() for atom in mols[0].GetAtoms()]
        same = [
            canonical_smiles(mol) == smiles and [a.GetAtomicNum() for a in mol.GetAtoms()] == symbols
            for mol in mols
        ]
        order = [int(i) for i in np.argsort(energies, kind="stable") if same[i]]
        positions = _positions([mols[i] for i in order])
        if dedup:
            kept = distinct(pairwise_rmsd(mols[0], positions), DISTINCT)
            order, positions = [order[k] for k in kept], positions[kept]
        found.append(Reference(title, smiles, mols[0], positions, energies[order]))
    return found


def pdb(data: Path, split: str, limit: int | None) -> list[Reference]:
    """Protein-bound poses of ligands, one each."""
    return _singles(_file(data, "pdb_ligands.sdf.gz"), SPLITS / "pdb_ligands_test.txt", split, limit)


def cascade(data: Path, split: str, limit: int | None) -> list[Reference]:
    """M06-2X/def2-TZVP minima of drug- and natural-product-like molecules, one each."""
    return _singles(_file(data, "cascade_dft.sdf.gz"), SPLITS / "cascade_dft_test.txt", split, limit)


def is_dev(mol: Mol) -> bool:
    """Whether the hash split of ``scoregen prepare`` makes it a development molecule."""
    return split_of(molecule_key(mol), DEV_FRACTION) == "dev"


def _singles(pack: Path, tests: Path, split: str, limit: int | None) -> list[Reference]:
    titles = _lines(tests)
    if split == "test":
        wanted = set(titles[:limit])
        blocks = {block.title: block for block in read_blocks(pack) if block.title in wanted}
        if missing := [title for title in titles[:limit] if title not in blocks]:
            raise InputError(f"{pack}: holds no record '{missing[0]}'; give the whole pack with --data")
        return [_single(blocks[title]) for title in titles[:limit]]
    # A molecule may stand in the pack under several titles: one that a test record shares is no dev molecule.
    known, dev = set(titles), []
    test_keys: set[str] = set()
    for block in read_blocks(pack):
        try:
            mol = parse_block(block)
        except InputError:
            continue
        if block.title in known:
            test_keys.add(molecule_key(mol))
        elif is_dev(mol):
            dev.append((block, molecule_key(mol)))
    fit = [block for block, key in dev if key not in test_keys]
    return [_single(block) for block in sorted(fit, key=lambda block: _sha(block.title))[:limit]]


def _single(block: Block) -> Reference:
    mol = stereo_from_3d(parse_block(block))
    return Reference(block.title, canonical_smiles(mol), mol, _positions([mol]))


def _groups(path: Path) -> Iterator[list[Block]]:
    for _, group in itertools.groupby(read_blocks(path), key=lambda block: block.title):
        yield list(group)


def _positions(mols: list[Mol]) -> np.ndarray:
    return np.stack([mol.GetConformer().GetPositions() for mol in mols])


def _lines(path: Path) -> list[str]:
    return path.read_text().split()


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InputError(f"{folder / name}: no such file; give the folder with --data or SCOREGEN_DATA")
    return folder / name


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
