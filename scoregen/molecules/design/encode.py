"""Between RDKit molecules and the arrays that candidates are generated as."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Mol, RWMol

from scoregen.errors import InputError

from .ordering import reordered
from .tokens import INDEX, TOKENS, Token

_ORDER = "_smilesAtomOutputOrder"
_ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}
_BONDS = {order: kind for kind, order in _ORDERS.items()}


def encode(mol: Mol, *, positions: bool = True) -> dict[str, np.ndarray]:
    """A molecule as arrays.

    Args:
        mol: sanitised; explicit hydrogens become part of their atoms' tokens. Stereo is not kept but in the
            positions.
        positions: keep those of the heavy atoms, where the first conformer is marked 3D.

    Returns:
        ``token`` ``(N,)`` uint8, indices into :data:`~scoregen.molecules.design.tokens.TOKENS`; ``bond``
        ``(E, 2)`` int16, ``i < j``; ``order`` ``(E,)`` uint8, 1 to 3; ``x`` ``(N, 3)`` float32 in Å, centred,
        or ``(0, 3)`` without positions.

    Raises:
        InputError: an atom has no token or a bond no kekulised order; the message names it.
    """
    with rdBase.BlockLogs():
        flat = Chem.RemoveAllHs(mol)
        Chem.Kekulize(flat, clearAromaticFlags=True)
    try:
        token = [INDEX[_token(atom)] for atom in flat.GetAtoms()]
    except KeyError as error:
        raise InputError(f"no token for {error.args[0]}") from None
    try:
        order = [_ORDERS[bond.GetBondType()] for bond in flat.GetBonds()]
    except KeyError as error:
        raise InputError(f"no order for a bond of type {error.args[0]}") from None
    ends = [sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in flat.GetBonds()]
    x = np.zeros((0, 3), np.float32)
    if positions and flat.GetNumConformers() and flat.GetConformer().Is3D():
        places = np.asarray(flat.GetConformer().GetPositions())
        x = (places - places.mean(0)).astype(np.float32)
    return {
        "token": np.array(token, np.uint8),
        "bond": np.array(ends, np.int16).reshape(-1, 2),
        "order": np.array(order, np.uint8),
        "x": x,
    }


def in_smiles_order(mol: Mol, *, positions: bool = True) -> dict[str, np.ndarray]:
    """:func:`encode` with the atoms in the order in which the canonical SMILES names them."""
    with rdBase.BlockLogs():
        flat = Chem.RemoveAllHs(mol)
    Chem.MolToSmiles(flat)
    return reordered(encode(flat, positions=positions), np.array(flat.GetPropsAsDict(True, True)[_ORDER]))


def decode(arrays: Mapping[str, np.ndarray]) -> Mol:
    """The molecule of arrays, as they say and not sanitised: it may be impossible.

    Args:
        arrays: as of :func:`encode`; ``x`` may be absent or empty.

    Returns:
        Heavy atoms with hydrogens as counts, kekulised bonds, and a conformer where there are positions.
    """
    mol = RWMol()
    for index in arrays["token"].tolist():
        element, charge, hydrogens = TOKENS[index]
        atom = Chem.Atom(element)
        atom.SetFormalCharge(charge)
        atom.SetNumExplicitHs(hydrogens)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for (i, j), order in zip(arrays["bond"].tolist(), arrays["order"].tolist(), strict=True):
        mol.AddBond(i, j, _BONDS[order])
    x = arrays.get("x")
    if x is not None and len(x):
        conformer = Chem.Conformer(len(x))
        conformer.SetPositions(np.asarray(x, np.float64))
        conformer.Set3D(True)
        mol.AddConformer(conformer, assignId=True)
    return mol.GetMol()


def _token(atom: Chem.Atom) -> Token:
    return Token(atom.GetSymbol(), atom.GetFormalCharge(), atom.GetTotalNumHs())
