from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from scoregen.molecules.design.validity import (
    _AROMATIC,
    _VALENCES,
    allowed_valences,
    as_generated,
    kind,
    problem,
    stable_atoms,
)
from scoregen.molecules.sdf import parse_block, read_blocks
from tests.molecules.samples import CHIRAL, DATA, DOUBLE, all_records

UNUSUAL = (
    "C[n+]1ccccc1",
    "[O-][n+]1ccccc1",
    "CC[N+](=O)[O-]",
    "[N-]=[N+]=NCC",
    "[C-]#[N+]C1CC1",
    "CS(=O)(=O)Nc1ccccc1",
    "C[S+](C)C",
    "CP(=O)(O)OC",
    "C[P+](C)(C)C",
    "OB(O)c1ccccc1",
    "F[B-](F)(F)c1ccccc1",
    "c1ccc2[nH]ccc2c1",
    "c1ccn2cccc2c1",
    "O=c1cc[nH]cc1",
    "c1cc[se]c1",
    "C[Si](C)(C)C#C",
    "c1ccc2[n+](c1)cccc2",
    "CC(=O)[O-]",
    "c1nnn[n-]1",
    "FS(F)(F)(F)(F)c1ccccc1",
)
ORDERS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)


@cache
def known() -> tuple[Chem.Mol, ...]:
    """Real molecules in the form that generators make, with hydrogens as atoms or as counts."""
    read = [Chem.MolFromSmiles(smiles) for smiles in (*UNUSUAL, *CHIRAL.values(), *DOUBLE.values())]
    pair = [parse_block(block) for block in read_blocks(DATA / "conformer_benchmark_sample.sdf.gz")]
    records = {Chem.MolToSmiles(mol): mol for mol in (*all_records(), *pair)}
    return tuple(as_generated(mol) for mol in (*read, *map(Chem.AddHs, read), *records.values()))


def test_every_real_molecule_is_valid_and_stable():
    for mol in known():
        assert problem(mol) is None, Chem.MolToSmiles(mol)
        stable, total = stable_atoms(mol)
        assert stable == total == mol.GetNumAtoms() + sum(a.GetNumExplicitHs() for a in mol.GetAtoms())
    assert len(known()) > 150


@settings(deadline=None)  # the first call reads the files
@given(st.data())
def test_one_broken_valence_is_seen_and_nothing_is_repaired(data):
    mol = Chem.RWMol(data.draw(st.sampled_from(known())))
    atoms = [atom.GetIdx() for atom in mol.GetAtoms()]
    damage = data.draw(st.sampled_from(("bond", "hydrogen", "charge")))
    if damage == "bond":
        bond = mol.GetBondWithIdx(data.draw(st.integers(0, mol.GetNumBonds() - 1)))
        order = ORDERS.index(bond.GetBondType())
        bond.SetBondType(ORDERS[1 if order != 1 else data.draw(st.sampled_from((0, 2)))])
    else:
        atom = mol.GetAtomWithIdx(data.draw(st.sampled_from(atoms)))
        step = data.draw(st.sampled_from((-1, 1)))
        if damage == "charge":
            atom.SetFormalCharge(atom.GetFormalCharge() + step)
        else:
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() + (step if atom.GetNumExplicitHs() else 1))
    before = mol.ToBinary()
    reason = problem(mol)
    assert reason is not None
    assert kind(reason) == "valence"
    assert mol.ToBinary() == before
    stable, total = stable_atoms(mol)
    assert stable < total


def test_the_tables_are_of_one_parity_and_agree():
    for (element, charge), valences in _VALENCES.items():
        assert len({v % 2 for v in valences}) == 1
        assert allowed_valences(element, charge) == valences
    assert allowed_valences("C", 1) == allowed_valences("Na", 0) == frozenset()
    assert 3 not in allowed_valences("C", 0)
    for entry, pairs in _AROMATIC.items():
        # n aromatic bonds hide n or n + 1 kekulised ones.
        assert all({n + rest, n + 1 + rest} & _VALENCES[entry] for n, rest in pairs), entry


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C[CH2]", "valence: C0 with 3"),
        ("C[CH]C", "valence: C0 with 3"),
        ("C[C](C)(C)(C)C", "valence: C0 with 5"),
        ("C[N](C)(C)C", "valence: N0 with 4"),
        ("C[N](=O)=O", "valence: N0 with 5"),
        ("C[NH3]", "valence: N0 with 4"),
        ("C[C+](C)C", "valence: C+1 with 3"),
        ("C[O]", "valence: O0 with 1"),
        ("F[Cl](F)F", "valence: Cl0 with 3"),
        ("CS(C)C", "valence: S0 with 3"),
        ("CCO.CCN", "2 fragments"),
        ("[Na+].[Cl-].O", "valence: Na+1 with 0"),
        ("c1ccccc1", "bond: aromatic, not single, double or triple"),
        ("[NH3]->[BH3]", "bond: dative, not single, double or triple"),
        ("", "no atoms"),
    ],
)
def test_what_is_wrong_is_named(smiles, reason):
    assert problem(_counted(smiles)) == reason


def _counted(smiles: str) -> Chem.Mol:
    """Hydrogens that SMILES implies as counts; atoms in brackets as they stand, without RDKit's opinion."""
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    for atom in mol.GetAtoms():
        if not atom.GetNoImplicit():
            full = {"C": 4, "N": 3, "O": 2}.get(atom.GetSymbol(), 0)
            bonds = sum(int(bond.GetBondTypeAsDouble()) for bond in atom.GetBonds())
            atom.SetNumExplicitHs(max(full - bonds, 0))
        atom.SetNoImplicit(True)
    return mol


def test_radicals_that_a_file_states_are_seen():
    mol = Chem.RWMol(as_generated(Chem.MolFromSmiles("CCO")))
    mol.GetAtomWithIdx(0).SetNumRadicalElectrons(2)
    assert problem(mol) == "radical: C"


def test_aromatic_atoms_must_be_in_the_strict_table():
    """Valences of the first table, but aromatic in RDKit's eyes: S-methylthiophenium, borabenzene."""
    for smiles, reason in (
        ("C[s+]1cccc1", "aromatic: S+1 with 2 aromatic bonds and 1 besides"),
        ("b1ccccc1", "aromatic: B0 with 2 aromatic bonds and 0 besides"),
    ):
        mol = as_generated(Chem.MolFromSmiles(smiles))
        assert problem(mol) == reason
        assert kind(reason) == "aromatic"
        stable, total = stable_atoms(mol)
        assert stable == total  # the measure of others does not see it


def test_kinds_leave_the_numbers_out():
    assert [kind(r) for r in ("12 fragments", "no atoms", "radical: C")] == [
        "fragments",
        "no atoms",
        "radical",
    ]
