"""Reading what is to be kept: a scaffold from SMILES or SDF, two posed fragments from SDF.

Where new atoms may grow is marked by dummy atoms (``*``): the neighbour of one is open, for as many bond
orders as that bond has. In an SDF it can also be said in numbers: the data item ``anchor`` lists atoms,
counted from 1 as they stand in the record, each time for one bond order; or the atom property list
``atom.iprop.anchor`` (RDKit's convention) gives every atom its number of bond orders.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.chem import has_3d, parse_smiles, stereo_from_3d
from scoregen.molecules.sdf import SUFFIXES, Block, parse_block, properties, read_blocks
from scoregen.molecules.vocabulary import ELEMENTS, MAX_HEAVY_ATOMS

from .kept import Link, Scaffold, stated_stereo

OVERLAP = 1.2
"""Heavy atoms of two fragments nearer than this, Å, overlap: hardly any two bond at that distance."""

_ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}
_BONDS = {*_ORDERS, Chem.BondType.AROMATIC}
_NUMBER = "scoregen_number"
_LISTS = ("anchor", "anchors")
_PER_ATOM = ("atom.iprop.anchor", "atom.prop.anchor", "atom.bprop.anchor")


def read_scaffold(
    text: str | os.PathLike[str], *, most: int = MAX_HEAVY_ATOMS, need_3d: bool = False
) -> Scaffold:
    """A scaffold from a SMILES, or from the one record of an SDF (``.sdf``, ``.mol``, also ``.gz``).

    Stereo that a pose shows at an open centre between a hydrogen and an attachment point is left free.

    Args:
        text: SMILES or path.
        most: heavy atoms that may be kept: what the model has room for.
        need_3d: refuse what has no coordinates.

    Raises:
        InputError: what is wrong with it, in one line.

    Example:
        >>> scaffold = read_scaffold("*c1ccncc1")
        >>> scaffold.size, dict(scaffold.open)
        (6, {0: 1})
    """
    source = os.fspath(text)
    if _is_file(source):
        blocks = _records(source)
        if len(blocks) > 1:
            raise InputError(f"{source}: {len(blocks)} records; give a file with the one scaffold")
        mol, opened = _posed(blocks[0], source)
    else:
        try:
            mol, opened = parse_smiles(source.strip()), {}
        except InputError as error:
            raise InputError(
                f"{source or 'scaffold'}: {error}; mend the SMILES, or give an SDF file"
            ) from None
    scaffold = make_scaffold(mol, source, opened=opened, most=most)
    # A pose shows stereo whether it is meant or not; a SMILES states it on purpose.
    if not mol.GetNumConformers() and stated_stereo(scaffold.mol) < stated_stereo(mol):
        raise InputError(
            f"{source}: states stereo that hangs on an attachment point, which cannot be kept; leave that "
            "mark out to have it drawn freely"
        )
    if need_3d and scaffold.positions is None:
        raise InputError(f"{source}: no 3D coordinates; give the scaffold as an SDF with its pose")
    return scaffold


def read_link(path: str | os.PathLike[str], *, most: int = MAX_HEAVY_ATOMS) -> Link:
    """Two posed fragments from one record of an SDF, or from two, with their anchors.

    Args:
        path: SDF.
        most: heavy atoms that may be kept: what the model has room for.

    Raises:
        InputError: what is wrong with it, in one line.
    """
    source = os.fspath(path)
    if not Path(source).is_file():
        raise InputError(f"{source}: no such SDF file; --link takes two posed fragments in an .sdf")
    blocks = _records(source)
    if len(blocks) > 2:
        raise InputError(f"{source}: {len(blocks)} records; a link joins two fragments, leave out the others")
    mol, opened = _posed(blocks[0], source)
    if len(blocks) == 2:
        second, more = _posed(blocks[1], source)
        if has_3d(mol) != has_3d(second):
            mol.RemoveAllConformers()
            second.RemoveAllConformers()
        opened |= {atom + mol.GetNumAtoms(): order for atom, order in more.items()}
        mol = Chem.CombineMols(mol, second)
        Chem.SanitizeMol(mol)
    return make_link(mol, source, opened=opened, most=most)


def make_scaffold(
    mol: Mol, source: str, *, opened: Mapping[int, int] | None = None, most: int = MAX_HEAVY_ATOMS
) -> Scaffold:
    """A scaffold of one connected piece.

    Args:
        mol: sanitised; dummy atoms mark where to grow; hydrogens explicit or not. A 3D conformer becomes
            the positions.
        source: names the input in messages.
        opened: atom of ``mol`` → orders of new bonds, beside those that dummy atoms mark. Without either,
            every atom with hydrogens is open.
        most: heavy atoms allowed.

    Raises:
        InputError: several pieces, unsupported atoms, or no open position.
    """
    kept, free, positions = _bare(mol, source, opened or {}, most)
    pieces = Chem.GetMolFrags(kept)
    if len(pieces) > 1:
        raise InputError(
            f"{source}: {len(pieces)} separate pieces; give one connected scaffold, or two posed "
            "fragments with --link"
        )
    if not free and not opened and not _dummies(mol):
        free = {atom.GetIdx(): h for atom in kept.GetAtoms() if (h := atom.GetTotalNumHs())}
    if not free:
        raise InputError(
            f"{source}: no open position, no atom has a hydrogen to give up; leave out the atoms where new "
            "ones are to grow, or mark the places with *"
        )
    return Scaffold(kept, free, positions, source)


def make_link(
    mol: Mol,
    source: str,
    *,
    opened: Mapping[int, int] | None = None,
    most: int = MAX_HEAVY_ATOMS,
    need_3d: bool = True,
) -> Link:
    """A link task from one molecule of two pieces; arguments as for :func:`make_scaffold`.

    Args:
        need_3d: False lets fragments without coordinates pass.

    Raises:
        InputError: not two pieces, overlapping, without coordinates, or a piece without an anchor.
    """
    kept, free, positions = _bare(mol, source, opened or {}, most)
    pieces = Chem.GetMolFrags(kept)
    if len(pieces) == 1:
        raise InputError(
            f"{source}: one connected molecule; give two fragments with no bond between them, in one record "
            "or in two"
        )
    if len(pieces) > 2:
        raise InputError(f"{source}: {len(pieces)} fragments; a link joins two, leave out the others")
    if need_3d and positions is None:
        raise InputError(
            f"{source}: no 3D coordinates; linking needs both fragments posed, e.g. from one binding site"
        )
    if positions is not None:
        _check_apart(kept, pieces, positions, source)
    for number, piece in enumerate(pieces, 1):
        if not any(i in free for i in piece):
            name = Chem.MolFragmentToSmiles(kept, list(piece))
            raise InputError(
                f"{source}: fragment {number} ({name}) has no anchor; mark it by a dummy atom (*) or by the "
                "data item 'anchor' with the number of the atom"
            )
    return Link(kept, free, positions, source)


def _bare(
    mol: Mol, source: str, opened: Mapping[int, int], most: int
) -> tuple[Mol, dict[int, int], np.ndarray | None]:
    """Heavy atoms without dummies, open orders by new index, positions."""
    _check_atoms(mol, source, most)
    posed = has_3d(mol)
    work = Chem.RWMol(mol)
    free = dict(opened)
    for i in _dummies(mol):
        dummy = work.GetAtomWithIdx(i)
        bonds = list(dummy.GetBonds())
        if len(bonds) != 1 or bonds[0].GetBondType() not in _ORDERS:
            raise InputError(
                f"{source}: dummy atom {i + 1} must hang on one atom by a single, double or triple bond"
            )
        order, neighbour = _ORDERS[bonds[0].GetBondType()], bonds[0].GetOtherAtom(dummy)
        if neighbour.GetAtomicNum() == 0:
            raise InputError(f"{source}: dummy atom {i + 1} hangs on another; mark real atoms")
        free[neighbour.GetIdx()] = free.get(neighbour.GetIdx(), 0) + order
        # Hydrogen in the dummy's place: its stereo and its share of the valence stay as they were.
        work.ReplaceAtom(i, Chem.Atom(1), updateLabel=False, preserveProps=False)
        bonds[0].SetBondType(Chem.BondType.SINGLE)
        neighbour.SetNumExplicitHs(neighbour.GetNumExplicitHs() + order - 1)
    for atom in work.GetAtoms():
        atom.SetIntProp(_NUMBER, atom.GetIdx() + 1)
        atom.SetAtomMapNum(0)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(work)
            kept = Chem.RemoveAllHs(work.GetMol())
            for atom in kept.GetAtoms():
                atom.SetNumExplicitHs(atom.GetTotalNumHs())
                atom.SetNoImplicit(True)
            Chem.SanitizeMol(kept)
            for atom in kept.GetAtoms():
                atom.SetNoImplicit(True)  # sanitising takes it back from aromatic nitrogen
        except (Chem.MolSanitizeException, ValueError) as error:
            raise InputError(f"{source}: chemically impossible: {' '.join(str(error).split())}") from None
    Chem.AssignStereochemistry(kept, cleanIt=True, force=True)
    place = {atom.GetIntProp(_NUMBER) - 1: atom.GetIdx() for atom in kept.GetAtoms()}
    for was, order in free.items():
        atom = kept.GetAtomWithIdx(place[was])
        if atom.GetTotalNumHs() < order:
            raise InputError(
                f"{source}: atom {was + 1} ({atom.GetSymbol()}) is to be open but has no hydrogen to give "
                "up; choose another, or give it one"
            )
    positions = kept.GetConformer().GetPositions() if posed else None
    kept.RemoveAllConformers()
    return kept, {place[was]: order for was, order in sorted(free.items())}, positions


def _check_atoms(mol: Mol, source: str, most: int) -> None:
    """Refuse what no molecule made here could contain."""
    heavy = sum(atom.GetAtomicNum() > 1 for atom in mol.GetAtoms())
    if not heavy:
        raise InputError(f"{source}: holds no heavy atoms; give at least one atom to keep")
    if heavy > most:
        raise InputError(f"{source}: too large: {heavy} heavy atoms are to be kept, at most {most} can be")
    for atom in mol.GetAtoms():
        name = f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()})"
        if atom.GetAtomicNum() and atom.GetSymbol() not in ELEMENTS:
            raise InputError(f"{source}: unsupported element at {name}; supported: {' '.join(ELEMENTS)}")
        if atom.GetAtomicNum() and atom.HasQuery():
            raise InputError(f"{source}: {name} is a query; give the element itself")
        if atom.GetNumRadicalElectrons():
            raise InputError(
                f"{source}: radical: unpaired electron on {name}; add the hydrogen, or mark the place with *"
            )
        if atom.GetAtomicNum() and atom.GetIsotope():
            raise InputError(f"{source}: isotope label on {name}, which is not kept; leave it out")
    for bond in mol.GetBonds():
        if bond.GetBondType() not in _BONDS:
            ends = f"{bond.GetBeginAtomIdx() + 1}-{bond.GetEndAtomIdx() + 1}"
            raise InputError(
                f"{source}: bond {ends} is {bond.GetBondType().name.lower()}; write it as a single, double "
                "or triple bond"
            )


def _check_apart(mol: Mol, pieces: Sequence[Sequence[int]], positions: np.ndarray, source: str) -> None:
    first, second = (np.array(piece, int) for piece in pieces)
    distance = np.linalg.norm(positions[first][:, None] - positions[second][None], axis=-1)
    if (least := float(distance.min())) < OVERLAP:
        a, b = np.unravel_index(int(distance.argmin()), distance.shape)
        atoms = [mol.GetAtomWithIdx(int(i)) for i in (first[a], second[b])]
        names = [f"{atom.GetSymbol()}{atom.GetIntProp(_NUMBER)}" for atom in atoms]
        raise InputError(
            f"{source}: the fragments overlap: {names[0]} and {names[1]} (atoms counted through the file) "
            f"are {least:.2f} Å apart; move them to at least {OVERLAP} Å"
        )


def _dummies(mol: Mol) -> list[int]:
    return [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]


def _is_file(text: str) -> bool:
    stem = text.lower().removesuffix(".gz")
    return stem.endswith(SUFFIXES) or os.path.isfile(text)


def _records(path: str) -> list[Block]:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give a SMILES or an existing SDF")
    try:
        blocks = list(read_blocks(path))
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give an SDF") from None
    if not blocks:
        raise InputError(f"{path}: holds no molecules; give an SDF with at least one record")
    return blocks


def _posed(block: Block, source: str) -> tuple[Mol, dict[int, int]]:
    """The molecule of a record, stereo from its 3D if it has any, and what it says is open."""
    try:
        mol = parse_block(block)
    except InputError as error:
        raise InputError(f"{source}: {error}; mend the record at line {block.line}") from None
    if has_3d(mol):
        stereo_from_3d(mol)
    return mol, _said_open(mol, properties(block), source)


def _said_open(mol: Mol, items: Mapping[str, str], source: str) -> dict[int, int]:
    """Atom → bond orders, from the data items of a record."""
    count = mol.GetNumAtoms()
    said: Counter[int] = Counter()
    for name in _LISTS:
        for word in items.get(name, "").replace(",", " ").split():
            if not word.isdecimal() or not 1 <= int(word) <= count:
                raise InputError(
                    f"{source}: {name} '{word}' is no atom of the record; give numbers from 1 to {count}"
                )
            said[int(word) - 1] += 1
    for name in _PER_ATOM:
        words = items.get(name, "").split()
        if words and (len(words) != count or not all(word.isdecimal() or word == "n/a" for word in words)):
            raise InputError(f"{source}: {name} needs one whole number for each of {count} atoms")
        said.update({i: int(word) for i, word in enumerate(words) if word not in ("0", "n/a")})
    for i in said:
        if mol.GetAtomWithIdx(i).GetAtomicNum() <= 1:
            symbol = mol.GetAtomWithIdx(i).GetSymbol()
            raise InputError(f"{source}: anchor {i + 1} is {symbol}; give the heavy atom it hangs on")
    return dict(said)
