"""Is a generated molecule chemically possible, as generated? Nothing is ever repaired.

Two strict tables decide. The first is of kekulised valences by element and formal charge, hydrogens included.
The second, after RDKit perceived aromaticity, is of pairs (aromatic bonds, sum of the other bond orders), as
Nikitin et al. (2025) ask for: tables that round an aromatic bond to order 1, such as that of MiDi
(Vignac et al. 2023), let neutral carbon with three bonds pass.
"""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem import Atom, Mol

_ORDERS = {Chem.BondType.SINGLE: 1, Chem.BondType.DOUBLE: 2, Chem.BondType.TRIPLE: 3}

# Within an entry all valences are even or all are odd: one bond order or hydrogen more or less never passes.
_VALENCES: dict[tuple[str, int], frozenset[int]] = {
    ("H", 0): frozenset({1}),
    ("B", 0): frozenset({3}),  # boronic acids, boranes
    ("B", -1): frozenset({4}),  # borates, trifluoroborates
    ("C", 0): frozenset({4}),
    ("C", -1): frozenset({3}),  # isocyanides, carbon of diazo compounds and ylides
    ("N", 0): frozenset({3}),
    ("N", 1): frozenset({4}),  # ammonium, nitro, N-oxides, the middle of azides
    ("N", -1): frozenset({2}),  # the end of azides, sulfonamide anions, tetrazolates
    ("O", 0): frozenset({2}),
    ("O", -1): frozenset({1}),  # carboxylates, nitro, N-oxides
    ("O", 1): frozenset({3}),  # oxonium, pyrylium
    ("F", 0): frozenset({1}),
    ("Si", 0): frozenset({4}),
    ("P", 0): frozenset({3, 5}),  # phosphines; phosphates, phosphine oxides
    ("P", 1): frozenset({4}),  # phosphonium
    ("S", 0): frozenset({2, 4, 6}),  # thioethers; sulfoxides; sulfones, sulfonamides
    ("S", 1): frozenset({3, 5}),  # sulfonium; sulfoxonium
    ("S", -1): frozenset({1}),  # thiolates
    ("Cl", 0): frozenset({1}),
    ("Se", 0): frozenset({2, 4, 6}),  # as sulfur
    ("Se", 1): frozenset({3}),
    ("Se", -1): frozenset({1}),
    ("Br", 0): frozenset({1}),
    ("I", 0): frozenset({1}),  # iodanes with three or five bonds are reagents
}

# (aromatic bonds, sum of the orders of the other bonds, hydrogens included)
_AROMATIC: dict[tuple[str, int], frozenset[tuple[int, int]]] = {
    ("B", 0): frozenset({(2, 1), (3, 0)}),  # azaborines: three single bonds and an empty p orbital
    ("C", 0): frozenset({(2, 1), (3, 0), (2, 2)}),  # benzene; ring fusion; C=O of a pyridone
    ("C", -1): frozenset({(2, 1)}),  # cyclopentadienide
    ("N", 0): frozenset({(2, 0), (2, 1), (3, 0)}),  # pyridine; pyrrole; indolizine
    ("N", 1): frozenset({(2, 1), (3, 0)}),  # pyridinium and its N-oxide; quinolizinium
    ("N", -1): frozenset({(2, 0)}),  # tetrazolate
    ("O", 0): frozenset({(2, 0)}),  # furan
    ("O", 1): frozenset({(2, 0)}),  # pyrylium
    ("P", 0): frozenset({(2, 0), (2, 1)}),  # phosphinine; phosphole
    ("S", 0): frozenset({(2, 0)}),  # thiophene
    ("S", 1): frozenset({(2, 0)}),  # thiopyrylium
    ("Se", 0): frozenset({(2, 0)}),  # selenophene
}


def allowed_valences(element: str, charge: int) -> frozenset[int]:
    """Sums of kekulised bond orders, hydrogens included, that an atom may have; empty: it may not be there.

    Args:
        element: symbol.
        charge: formal charge.

    Example:
        >>> sorted(allowed_valences("S", 0)), sorted(allowed_valences("C", 1))
        ([2, 4, 6], [])
    """
    return _VALENCES.get((element, charge), frozenset())


def problem(mol: Mol) -> str | None:
    """Why a generated molecule is not valid, in a few words; None when it is.

    The checks, in order: there are atoms; bonds are kekulised; no atom is marked a radical; every valence is
    in the table; one fragment; RDKit sanitises a copy without changing hydrogens or charges and without
    making radicals; every atom is in the table of aromatic bonds.

    Args:
        mol: as generated: not sanitised, bonds kekulised, hydrogens as atoms or as ``NumExplicitHs``. Left
            unchanged. Of a sanitised molecule, pass :func:`as_generated`.

    Returns:
        What is wrong, such as ``valence: N+1 with 5`` or ``2 fragments``; :func:`kind` gives its category.

    Example:
        >>> raw = Chem.MolFromSmiles("C[NH3]", sanitize=False)
        >>> problem(as_generated(Chem.MolFromSmiles("CN"))), problem(raw)
        (None, 'valence: C0 with 1')
    """
    if not mol.GetNumAtoms():
        return "no atoms"
    for bond in mol.GetBonds():
        if bond.GetBondType() not in _ORDERS:
            return f"bond: {str(bond.GetBondType()).lower()}, not single, double or triple"
    for atom in mol.GetAtoms():
        if atom.GetNumRadicalElectrons():
            return f"radical: {atom.GetSymbol()}"
    for atom in mol.GetAtoms():
        valence = _valence(atom)
        if valence not in _VALENCES.get((atom.GetSymbol(), atom.GetFormalCharge()), ()):
            return f"valence: {_label(atom)} with {valence}"
    if (fragments := len(Chem.GetMolFrags(mol))) > 1:
        return f"{fragments} fragments"
    return _sanitisation_problem(mol)


def kind(reason: str) -> str:
    """Category of a reason, to count by: ``valence``, ``fragments``, ``radical``, …

    Example:
        >>> kind("valence: N+1 with 5"), kind("3 fragments")
        ('valence', 'fragments')
    """
    return reason.partition(":")[0].lstrip("0123456789 ")


def stable_atoms(mol: Mol) -> tuple[int, int]:
    """Atoms whose valence is in the table, and all atoms; a molecule is stable when the two are equal.

    The measure of EDM (Hoogeboom et al. 2022) with formal charges, as MiDi has it. Hydrogens count, also
    those given as ``NumExplicitHs``; an atom with a bond that is not kekulised is not stable.

    Args:
        mol: as for :func:`problem`.
    """
    stable = total = 0
    for atom in mol.GetAtoms():
        hydrogens = atom.GetNumExplicitHs()
        known = all(bond.GetBondType() in _ORDERS for bond in atom.GetBonds())
        good = known and _valence(atom) in allowed_valences(atom.GetSymbol(), atom.GetFormalCharge())
        stable += good + hydrogens
        total += 1 + hydrogens
    return stable, total


def as_generated(mol: Mol) -> Mol:
    """A sanitised molecule in the form that generators make: bonds kekulised, every hydrogen stated.

    Args:
        mol: sanitised, with or without hydrogens as atoms; left unchanged.

    Raises:
        rdkit.Chem.KekulizeException: aromatic bonds without a Kekulé form.
    """
    copy = Chem.Mol(mol)
    Chem.Kekulize(copy, clearAromaticFlags=True)
    for atom in copy.GetAtoms():
        hydrogens = atom.GetTotalNumHs()
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(hydrogens)
    return copy


def _valence(atom: Atom) -> int:
    return sum(_ORDERS.get(bond.GetBondType(), 0) for bond in atom.GetBonds()) + int(atom.GetNumExplicitHs())


def _label(atom: Atom) -> str:
    charge = atom.GetFormalCharge()
    return f"{atom.GetSymbol()}{charge:+d}" if charge else f"{atom.GetSymbol()}0"


def _sanitisation_problem(mol: Mol) -> str | None:
    copy = Chem.Mol(mol)
    with rdBase.BlockLogs():
        failed = Chem.SanitizeMol(copy, catchErrors=True)
    if failed != Chem.SanitizeFlags.SANITIZE_NONE:
        return f"sanitisation: {str(failed).removeprefix('SANITIZE_').lower()}"
    for before, after in zip(mol.GetAtoms(), copy.GetAtoms(), strict=True):
        if after.GetTotalNumHs() != before.GetNumExplicitHs():
            return f"hydrogens changed: {after.GetSymbol()}"
        if after.GetFormalCharge() != before.GetFormalCharge():
            return f"charge changed: {after.GetSymbol()}"
        if after.GetNumRadicalElectrons():
            return f"radical: {after.GetSymbol()}"
        pair = _aromatic_pair(after)
        if pair[0] and pair not in _AROMATIC.get((after.GetSymbol(), after.GetFormalCharge()), ()):
            return f"aromatic: {_label(after)} with {pair[0]} aromatic bonds and {pair[1]} besides"
    return None


def _aromatic_pair(atom: Atom) -> tuple[int, int]:
    """Aromatic bonds, and the sum of the orders of the others, hydrogens included."""
    aromatic = others = 0
    for bond in atom.GetBonds():
        aromatic += bond.GetIsAromatic()
        others += _ORDERS.get(bond.GetBondType(), 0)
    return aromatic, others + atom.GetTotalNumHs()
