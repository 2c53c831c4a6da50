"""Real molecules that several tests share."""

from functools import cache
from pathlib import Path

import numpy as np
from rdkit.Chem import Mol, rdDistGeom

from scoregen.molecules.chem import standardise
from scoregen.molecules.sdf import parse_block, read_blocks

DATA = Path(__file__).parents[2] / "data" / "molecules"
PACKS = ("qm9_xtb_sample.sdf", "cascade_dft_sample.sdf", "pdb_ligands_sample.sdf")

# Stated tetrahedral centres: chains, rings, fused, bridged, spiro; from "sulfoxide" on with three neighbours.
CHIRAL = {
    "alanine": "C[C@H](N)C(=O)O",
    "threonine": "C[C@@H](O)[C@H](N)C(=O)O",
    "CHFClBr": "[C@](F)(Cl)(Br)[H]",
    "glucose": "OC[C@H]1O[C@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "menthol": "CC(C)[C@@H]1CC[C@@H](C)C[C@H]1O",
    "cis-1,4-dimethylcyclohexane": "C[C@H]1CC[C@@H](C)CC1",
    "camphor": "CC1(C)[C@@H]2CC[C@@]1(C)C(=O)C2",
    "morphine": "CN1CC[C@]23[C@@H]4[C@H]1CC5=C2C(=C(C=C5)O)O[C@H]3[C@H](C=C4)O",
    "spiro": "C[C@H]1CC[C@]2(CC1)CCC(=O)O2",
    "spiro diamine": "C1CN[C@@]2(C1)CCNC2",
    "cholesterol": "C[C@H](CCCC(C)C)[C@H]1CC[C@@H]2[C@@]1(CC[C@H]3[C@H]2CC=C4[C@@]3(CC[C@@H](C4)O)C)C",
    "quaternary nitrogen": "CC[N@+](C)(CC=C)c1ccccc1",
    "silane": "CC[Si@H](C)c1ccccc1",
    "phosphine oxide": "CC[P@](=O)(C)c1ccccc1",
    "sulfoxide": "CC[S@](=O)c1ccccc1",
    "esomeprazole": "COc1ccc2[nH]c(nc2c1)[S@](=O)Cc1ncc(C)c(OC)c1C",
    "sulfonium": "C[S@+](CC)CCC",
    "phosphine": "CC[P@](C)c1ccccc1",
    "aziridine": "C[C@H]1C[N@]1C",
    "quinine": "C=C[C@H]1C[N@]2CC[C@H]1C[C@H]2[C@H](O)c1ccnc2ccc(OC)cc12",
}

# SMILES with stated double bonds.
DOUBLE = {
    "(E)-crotonic acid": "C/C=C/C(=O)O",
    "(Z)-crotonic acid": "C/C=C\\C(=O)O",
    "tamoxifen": "CC/C(=C(\\c1ccccc1)/c1ccc(OCCN(C)C)cc1)/c1ccccc1",
    "(E)-oxime": "C/C(=N\\O)c1ccccc1",
    "(Z)-azobenzene": "c1ccccc1/N=N\\c1ccccc1",
    "(2E,4Z)-hexadiene": "C/C=C/C=C\\C",
    "(Z)-imine": "[H]/N=C(/C)CC",
    "trifluoro": "F/C(Cl)=C(/Br)C",
    "trans-cyclodecene": "C1CCCC/C=C/CCC1",
}


@cache
def pack(name: str) -> tuple[Mol, ...]:
    """Records of a shipped sample file, with hydrogens, coordinates and the stereo they show."""
    return tuple(parse_block(block) for block in read_blocks(DATA / name))


def all_records() -> list[Mol]:
    return [mol for name in PACKS for mol in pack(name)]


def positions(mol: Mol) -> np.ndarray:
    return np.asarray(mol.GetConformer().GetPositions())


@cache
def embedded(smiles: str, n: int = 3) -> tuple[Mol, tuple[np.ndarray, ...]]:
    """ETKDGv3 geometries: RDKit enforces the stated stereo while embedding."""
    mol = standardise(smiles)
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed = 7
    work = Mol(mol)
    ids = list(rdDistGeom.EmbedMultipleConfs(work, n, settings))
    assert ids, smiles
    return mol, tuple(work.GetConformer(i).GetPositions() for i in ids)
