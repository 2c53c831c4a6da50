"""Molecule cards from the records of an SDF."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rdkit import Chem
from rdkit.Chem import Mol, rdCoordGen, rdDepictor, rdMolAlign, rdMolDescriptors, rdMolTransforms
from rdkit.Chem.Draw import rdMolDraw2D

from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.sdf import Block, parse_block, properties, read_blocks

from .page import MoleculeCard

TINT = (0.73, 0.91, 0.88)
"""Colour behind atoms that are drawn apart: red, green, blue."""


def molecule_cards(path: str | os.PathLike[str]) -> list[MoleculeCard]:
    """A card for each run of records with one title, conformers superposed on the first.

    Args:
        path: SDF written by ``scoregen conformers``.
    """
    return [_card(name, list(blocks)) for name, blocks in groupby(read_blocks(path), key=lambda b: b.title)]


def _card(name: str, blocks: list[Block]) -> MoleculeCard:
    mols = [parse_block(block) for block in blocks]
    spread = superpose(mols)
    facts = properties(blocks[0])
    mol = mols[0]
    Chem.AssignStereochemistryFrom3D(mol)
    return MoleculeCard(
        name=name,
        smiles=facts.get("smiles", canonical_smiles(mol)),
        facts=describe(mol, len(mols), spread),
        drawing=drawing(mol),
        blocks=[Chem.MolToMolBlock(m) for m in mols],
    )


def superpose(mols: list[Mol]) -> float:
    """Move all onto the first by their heavy atoms, its long axis horizontal.

    Returns:
        The largest distance of one to the first: heavy-atom RMSD in Å, atom for atom.
    """
    first = mols[0]
    rdMolTransforms.CanonicalizeConformer(first.GetConformer(), ignoreHs=True)
    heavy = [(a.GetIdx(), a.GetIdx()) for a in first.GetAtoms() if a.GetAtomicNum() > 1]
    return max((float(rdMolAlign.AlignMol(m, first, atomMap=heavy)) for m in mols[1:]), default=0.0)


def describe(mol: Mol, count: int, spread: float) -> str:
    """One line: formula, what makes the molecule hard, and how far its conformers differ."""
    elements = [info for info in Chem.FindPotentialStereo(Chem.Mol(mol)) if info.specified != 0]
    centres = sum(info.type == Chem.StereoType.Atom_Tetrahedral for info in elements)
    bonds = sum(info.type == Chem.StereoType.Bond_Double for info in elements)
    charge = Chem.GetFormalCharge(mol)
    rotors = rdMolDescriptors.CalcNumRotatableBonds(Chem.RemoveHs(mol))
    parts = [rdMolDescriptors.CalcMolFormula(mol)]
    if centres:
        parts.append(f"{centres} stereocentre{'s' * (centres > 1)}")
    if bonds:
        parts.append(f"{bonds} E/Z bond{'s' * (bonds > 1)}")
    if charge:
        parts.append(f"charge {charge:+d}")
    parts.append(f"{rotors} rotor{'s' * (rotors != 1)}")
    if count > 1:
        parts.append(f"{count} conformers, up to {spread:.1f} Å from the first")
    return " · ".join(parts)


def drawing(
    mol: Mol,
    size: tuple[int, int] = (220, 170),
    *,
    kept: Sequence[int] = (),
    template: Mol | None = None,
    bond: float | None = None,
) -> str:
    """SVG of the structure in two dimensions, stereo as wedges.

    Args:
        mol: with or without hydrogens; left unchanged.
        size: width and height.
        kept: atoms to tint, with the bonds between them.
        template: with 2D coordinates, one atom for each of ``kept``: these are drawn as they lie there.
        bond: length of a bond, in the units of ``size``, where there is room; None fills the drawing.
    """
    flat = Chem.Mol(mol)
    for atom in flat.GetAtoms():
        atom.SetIntProp("_was", atom.GetIdx())
    flat = Chem.RemoveHs(flat)
    flat.RemoveAllConformers()
    place = {atom.GetIntProp("_was"): atom.GetIdx() for atom in flat.GetAtoms()}
    atoms = [place[i] for i in kept]
    if template is not None and atoms:
        rdDepictor.GenerateDepictionMatching2DStructure(flat, template, list(enumerate(atoms)))
    else:
        rdCoordGen.AddCoords(flat)
    tinted = set(atoms)
    bonds = [b.GetIdx() for b in flat.GetBonds() if {b.GetBeginAtomIdx(), b.GetEndAtomIdx()} <= tinted]
    canvas = rdMolDraw2D.MolDraw2DSVG(*size)
    options: Any = canvas.drawOptions()
    options.clearBackground = False
    options.padding = 0.04
    if bond is not None:
        options.fixedBondLength = bond
    options.setHighlightColour(TINT)
    options.highlightBondWidthMultiplier = 12
    options.highlightRadius = 0.34
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, flat, highlightAtoms=atoms, highlightBonds=bonds)
    canvas.FinishDrawing()
    text = canvas.GetDrawingText()
    return text[text.index("<svg") :]
