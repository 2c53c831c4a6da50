"""From text to a molecule the models can take, or a one-line reason why not.

Every molecule that reaches a model has passed :func:`check_supported`: one connected fragment, supported
elements, no radicals, no dummy atoms, at most :data:`~scoregen.molecules.vocabulary.MAX_HEAVY_ATOMS`
heavy atoms; and carries all its hydrogens as explicit atoms.
"""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.stated import refuse_lost_stereo, refuse_unknown_kinds
from scoregen.molecules.vocabulary import ATOMIC_NUMBERS, ELEMENTS, MAX_HEAVY_ATOMS

# Characters without which a SMILES states no stereo.
_STEREO_MARKS = frozenset("@/\\")
_SUPPORTED = frozenset(ATOMIC_NUMBERS)
_METALS = (
    frozenset((3, 4, 11, 12, 13))
    | frozenset(range(19, 32))
    | frozenset(range(37, 52))
    | frozenset(range(55, 85))
    | frozenset(range(87, 117))
)


def standardise(molecule: str | Mol) -> Mol:
    """Sanitised molecule with explicit hydrogens and no coordinates.

    Atoms keep the input's order; added hydrogens follow. Stereo is what the input states: the tags of a
    ``Mol`` are kept, its conformers are dropped (see :func:`stereo_from_3d` to read stereo from them first).

    Args:
        molecule: SMILES, with a ChemAxon extension behind a blank if there is one; or an RDKit molecule (left
            unchanged).

    Raises:
        InputError: not parsable, or unsupported; the message says what is wrong with it.

    Example:
        >>> standardise("CCO").GetNumAtoms()
        9
    """
    mol = parse_smiles(molecule.strip()) if isinstance(molecule, str) else _sanitised(Chem.Mol(molecule))
    check_supported(mol)
    mol.RemoveAllConformers()
    return Chem.AddHs(mol)


def check_supported(mol: Mol) -> None:
    """Raise :class:`InputError` with the reason if no model here can take ``mol``.

    Tags that mean nothing on SF5 and the like are cleared (see :mod:`scoregen.molecules.stated`).
    """
    heavy = mol.GetNumHeavyAtoms()
    if mol.GetNumAtoms() == 0:
        raise InputError("empty molecule: no atoms")
    if heavy > MAX_HEAVY_ATOMS:
        raise InputError(f"too large: {heavy} heavy atoms, at most {MAX_HEAVY_ATOMS}")
    numbers = {atom.GetAtomicNum() for atom in mol.GetAtoms()}
    if 0 in numbers:
        raise InputError("contains dummy atoms (*): replace attachment points by real atoms")
    fragments = Chem.GetMolFrags(mol)
    if len(fragments) > 1:
        names = sorted({_fragment_smiles(mol, fragment) for fragment in fragments})
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        raise InputError(
            f"{len(fragments)} separate fragments ({shown}): give one molecule, without its salt"
        )
    if unsupported := numbers - _SUPPORTED:
        table = Chem.GetPeriodicTable()
        number = min(unsupported)
        kind = "metal" if number in _METALS else "element"
        raise InputError(
            f"unsupported {kind} {table.GetElementName(number).lower()} ({table.GetElementSymbol(number)}); "
            f"supported: {' '.join(ELEMENTS)}"
        )
    for atom in mol.GetAtoms():
        if atom.GetNumRadicalElectrons():
            raise InputError(f"radical: unpaired electron on atom {atom.GetIdx() + 1} ({atom.GetSymbol()})")
    refuse_unknown_kinds(mol)
    if heavy <= 1 and mol.GetNumAtoms() == 1 and mol.GetAtomWithIdx(0).GetTotalNumHs() == 0:
        raise InputError("a single atom has no conformers")


def stereo_from_3d(mol: Mol) -> Mol:
    """Replace all stereo tags of ``mol`` (in place) by those its first conformer shows; returns ``mol``."""
    Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)
    return mol


def has_3d(mol: Mol) -> bool:
    """Whether the first conformer is marked 3D and is more than one point."""
    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        return False
    positions = mol.GetConformer().GetPositions()
    return len(positions) == 1 or float((positions.max(0) - positions.min(0)).max()) > 0.1


def canonical_smiles(mol: Mol, *, stereo: bool = True) -> str:
    """Canonical SMILES without explicit hydrogens.

    Args:
        mol: with or without explicit hydrogens.
        stereo: ``False`` drops stereo and isotopes: one key for all stereoisomers.
    """
    with rdBase.BlockLogs():  # RDKit warns of hydrogens it has to keep, e.g. on a C=N bond
        return str(Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=stereo))


def parse_smiles(smiles: str) -> Mol:
    """Sanitised molecule, hydrogens implicit; dummy atoms, salts and any element pass.

    Raises:
        InputError: not parsable, chemically impossible, too large, or it states stereo that would be lost.
    """
    if not smiles:
        raise InputError("empty SMILES")
    with rdBase.BlockLogs():
        raw = Chem.MolFromSmiles(smiles, sanitize=False)
        if raw is None:
            plain = smiles.split(None, 1)[0]
            if plain != smiles and Chem.MolFromSmiles(plain, sanitize=False) is not None:
                raise InputError("the extension |…| behind the SMILES cannot be read; leave it out")
            raise InputError("not a valid SMILES")
        # Refuse giants before the costly perception of rings and aromaticity.
        if raw.GetNumHeavyAtoms() > MAX_HEAVY_ATOMS:
            raise InputError(f"too large: {raw.GetNumHeavyAtoms()} heavy atoms, at most {MAX_HEAVY_ATOMS}")
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            raise InputError(_problem(raw))
    plain = smiles.split(None, 1)[0]
    if not _STEREO_MARKS.isdisjoint(plain):
        refuse_lost_stereo(raw if plain == smiles else Chem.MolFromSmiles(plain, sanitize=False))
    return mol


def _sanitised(mol: Mol) -> Mol:
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
        except (Chem.MolSanitizeException, ValueError) as error:
            raise InputError(f"chemically impossible: {str(error).strip()}") from None
    return mol


def _problem(raw: Mol) -> str:
    problems = Chem.DetectChemistryProblems(raw)
    reason = problems[0].Message() if problems else "RDKit cannot sanitise it"
    return f"chemically impossible: {reason}"


def _fragment_smiles(mol: Mol, atoms: tuple[int, ...]) -> str:
    return str(Chem.MolFragmentToSmiles(mol, list(atoms)))
