"""Is the stereo of a record what its SMILES states? RDKit's word alone, none of the package's own checks.

The record's own tags are thrown away, stereo is read from its coordinates and the canonical isomeric SMILES
of both are compared. Elements that the input leaves open are left out of the comparison.
"""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

_OPEN_BONDS = (Chem.BondStereo.STEREONONE, Chem.BondStereo.STEREOANY)


class StereoCheck:
    """The stereo that a SMILES states.

    Args:
        smiles: the input.

    Attributes:
        elements: stated elements, centres and double bonds.
    """

    def __init__(self, smiles: str):
        with rdBase.BlockLogs():
            self.mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            self.smiles = _canonical(self.mol)
        self.elements = stated_elements(self.mol)

    def wrong(self, record: Mol) -> bool:
        """Whether a record shows another stereo than stated.

        Args:
            record: with one 3D conformer, hydrogens explicit, atoms in the order of the SMILES; hydrogens
                that it does not write come last.
        """
        return bool(self.elements) and self.read(record) != self.smiles

    def read(self, record: Mol) -> str:
        """Canonical SMILES of the record with the stereo of its coordinates, at the stated elements only."""
        read = Chem.Mol(record)
        if [a.GetAtomicNum() for a in read.GetAtoms()] != [a.GetAtomicNum() for a in self.mol.GetAtoms()]:
            raise ValueError(f"{self.smiles}: the record's atoms are not those of the SMILES")
        Chem.AssignStereochemistryFrom3D(read, replaceExistingTags=True)
        for stated, atom in zip(self.mol.GetAtoms(), read.GetAtoms(), strict=True):
            if stated.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED:
                atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        for bond in read.GetBonds():
            stated = self.mol.GetBondBetweenAtoms(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
            if stated.GetStereo() in _OPEN_BONDS:
                bond.SetStereo(Chem.BondStereo.STEREONONE)
            # Directions would bring the open elements back; those of the stated ones are set again.
            bond.SetBondDir(Chem.BondDir.NONE)
        Chem.SetDoubleBondNeighborDirections(read)
        return _canonical(read)


def stated_elements(mol: Mol) -> int:
    """Centres and double bonds whose stereo is stated."""
    kinds = (Chem.StereoType.Atom_Tetrahedral, Chem.StereoType.Bond_Double)
    return sum(
        info.type in kinds and info.specified == Chem.StereoSpecified.Specified
        for info in Chem.FindPotentialStereo(Chem.Mol(mol))
    )


def _canonical(mol: Mol) -> str:
    """Canonical SMILES of a canonical SMILES, until it stays: one pass may leave ring stereo in two forms."""
    with rdBase.BlockLogs():
        smiles = Chem.MolToSmiles(Chem.RemoveHs(mol))
        for _ in range(4):
            again = Chem.MolFromSmiles(smiles)
            new = smiles if again is None else Chem.MolToSmiles(again)
            if new == smiles:
                break
            smiles = new
    return str(smiles)
