"""All stereoisomers of a molecule that leaves stereo open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import EnumerateStereoisomers as rdStereo
from rdkit.Chem import Mol, rdMolDescriptors

from .chem import canonical_smiles
from .inputs import MoleculeInput

# RDKit's module has no annotations.
_rd: Any = rdStereo

MOST = 32
"""Stereoisomers made of one input; more are reported."""


def enumerate_inputs(entries: Iterable[MoleculeInput], most: int = MOST) -> Iterator[MoleculeInput]:
    """Replace each molecule with open stereo by its stereoisomers, named ``NAME_1``, ``NAME_2``, ….

    A molecule with more than ``most`` gives that many of them and an entry with an error that says so.
    Molecules without open stereo, and entries that are errors, pass unchanged.
    """
    for entry in entries:
        if entry.mol is None:
            yield entry
            continue
        isomers, possible = stereoisomers(entry.mol, most)
        if len(isomers) == 1:
            yield replace(entry, mol=isomers[0])
            continue
        for k, mol in enumerate(isomers, 1):
            yield replace(entry, name=f"{entry.name}_{k}", mol=mol)
        if possible:
            error = (
                f"stereo enumeration stopped at {most} of up to {possible} stereoisomers; "
                "state some of the centres to narrow it down"
            )
            yield replace(entry, mol=None, error=error)


def stereoisomers(mol: Mol, most: int = MOST) -> tuple[list[Mol], int]:
    """Stereoisomers that agree with what ``mol`` states, different from each other, by canonical SMILES.

    Tetrahedral centres and double bonds, ring cis/trans included; not E/Z of an implicit hydrogen (``C=N``),
    which proton exchange turns over. In bridged rings combinations that no geometry can show are left out.

    Args:
        mol: with explicit hydrogens; left unchanged.
        most: stereoisomers made at most.

    Returns:
        The molecules, with explicit hydrogens (behind the other atoms), and 0; or an upper bound of how many
        there are, if not all were made.
    """
    with rdBase.BlockLogs():
        heavy = Chem.RemoveHs(mol)
        bound = int(_rd.GetStereoisomerCount(heavy))
        if bound == 1:
            return [mol], 0
        bridged = rdMolDescriptors.CalcNumBridgeheadAtoms(heavy) > 0
        # One more than wanted tells whether there are more.
        options = _rd.StereoEnumerationOptions(unique=True, maxIsomers=most + 1, tryEmbedding=bridged)
        found = {canonical_smiles(isomer): isomer for isomer in _rd.EnumerateStereoisomers(heavy, options)}
        if len(found) <= 1:
            return [mol], 0
        kept = [Chem.AddHs(found[smiles]) for smiles in sorted(found)[:most]]
    return kept, bound if len(found) > most else 0
