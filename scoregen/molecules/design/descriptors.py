"""Numbers that describe a molecule to a chemist, one table name → function.

All are computed on the graph without hydrogen atoms, whatever the molecule carries, so that a record with
hydrogens and its SMILES have the same values.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import QED, Descriptors, Mol, rdMolDescriptors, rdmolops

from scoregen.errors import InputError, ScoregenError

Descriptor = Callable[[Mol], float]


def heavy_graph(mol: Mol) -> Mol:
    """A sanitised molecule with every hydrogen implied by its heavy atom: a copy, or itself if it is so."""
    if mol.GetNumHeavyAtoms() == mol.GetNumAtoms():
        return mol
    with rdBase.BlockLogs():
        return Chem.RemoveAllHs(mol)


def sa_score(mol: Mol) -> float:
    """Synthetic accessibility, 1 (easy) to 10 (hard), of Ertl and Schuffenhauer (2009).

    Raises:
        ScoregenError: this RDKit has no Contrib folder.
    """
    return float(_sa_scorer().calculateScore(mol))


DESCRIPTORS: dict[str, Descriptor] = {
    "qed": QED.qed,
    "logp": lambda mol: rdMolDescriptors.CalcCrippenDescriptors(mol)[0],
    "tpsa": rdMolDescriptors.CalcTPSA,
    "mw": Descriptors.MolWt,  # type: ignore[attr-defined]
    "sa": sa_score,
    "rotatable_bonds": rdMolDescriptors.CalcNumRotatableBonds,
    "hbd": rdMolDescriptors.CalcNumHBD,
    "hba": rdMolDescriptors.CalcNumHBA,
    "rings": rdMolDescriptors.CalcNumRings,
    "aromatic_rings": rdMolDescriptors.CalcNumAromaticRings,
    "fsp3": rdMolDescriptors.CalcFractionCSP3,
    "heavy_atoms": Mol.GetNumHeavyAtoms,
    "charge": rdmolops.GetFormalCharge,
}
"""Functions of :func:`heavy_graph`: drug-likeness (Bickerton et al. 2012), logP (Wildman and Crippen 1999),
polar surface in Å² (Ertl et al. 2000), average molar mass in g/mol, :func:`sa_score`, and counts."""


def describe(mol: Mol, names: Iterable[str] = tuple(DESCRIPTORS)) -> dict[str, float]:
    """Values of descriptors, in the order of ``names``.

    Args:
        mol: sanitised, with or without hydrogen atoms.
        names: keys of :data:`DESCRIPTORS`.

    Raises:
        InputError: an unknown name, or a molecule without a heavy atom.

    Example:
        >>> describe(Chem.MolFromSmiles("CCO"), ("heavy_atoms", "hbd"))
        {'heavy_atoms': 3, 'hbd': 1}
    """
    names = list(names)
    for name in names:
        if name not in DESCRIPTORS:
            raise InputError(f"unknown descriptor '{name}'; there are {', '.join(DESCRIPTORS)}")
    heavy = heavy_graph(mol)
    if not heavy.GetNumAtoms():
        raise InputError("no heavy atom to describe")
    return {name: DESCRIPTORS[name](heavy) for name in names}


@cache
def _sa_scorer() -> ModuleType:
    path = Path(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
    if not path.is_file():
        raise ScoregenError(
            f"this RDKit has no SA score: {path} is missing; run: pip install --force-reinstall rdkit"
        )
    spec = importlib.util.spec_from_file_location("scoregen_sascorer", path)
    if spec is None or spec.loader is None:
        raise ScoregenError(f"{path}: cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
