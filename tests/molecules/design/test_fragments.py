"""What is kept: reading, refusing, and proving that a molecule contains it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.errors import InputError
from scoregen.molecules.design.fragments import make_scaffold, read_link, read_scaffold
from scoregen.molecules.design.kept import Link, Scaffold
from scoregen.molecules.stereo import with_positions
from tests.molecules.samples import CHIRAL, DOUBLE, embedded, pack

S = Chem.BondType


def posed(smiles: str, shift: float = 0.0, keep_dummies: bool = True) -> Mol:
    """A molecule in 3D; dummy atoms stand where carbons were embedded."""
    pattern = Chem.MolFromSmiles(smiles)
    dummies = [a.GetIdx() for a in pattern.GetAtoms() if a.GetAtomicNum() == 0]
    real = Chem.RWMol(pattern)
    for i in dummies:
        real.ReplaceAtom(i, Chem.Atom(6))
    mol, (positions,) = embedded(Chem.MolToSmiles(real, canonical=False), 1)
    mol = Chem.RWMol(with_positions(mol, positions + np.array([shift, 0, 0])))
    for i in dummies:
        for other in [a.GetIdx() for a in mol.GetAtomWithIdx(i).GetNeighbors() if a.GetAtomicNum() == 1]:
            mol.GetAtomWithIdx(other).SetIntProp("drop", 1)
        if keep_dummies:
            mol.ReplaceAtom(i, Chem.Atom(0))
    mol.BeginBatchEdit()
    for atom in mol.GetAtoms():
        if atom.HasProp("drop"):
            mol.RemoveAtom(atom.GetIdx())
    mol.CommitBatchEdit()
    Chem.SanitizeMol(mol)
    return mol.GetMol()


def write(path: Path, *mols: Mol, **items: str) -> Path:
    with path.open("w") as stream:
        for mol in mols:
            data = "".join(f"> <{name.replace('__', '.')}>\n{value}\n\n" for name, value in items.items())
            stream.write(Chem.MolToMolBlock(mol) + data + "$$$$\n")
    return path


def link_file(tmp_path: Path, one: str = "*c1ccccc1", two: str = "*C1CCNCC1", apart: float = 9.0) -> Path:
    return write(tmp_path / "two.sdf", Chem.CombineMols(posed(one), posed(two, apart)))


@pytest.mark.parametrize(
    ("smiles", "kept", "free"),
    [
        ("*c1ccncc1", "c1ccncc1", {0: 1}),
        ("Cc1ccccc1", "Cc1ccccc1", {0: 3, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1}),
        ("*n1cccc1", "c1cc[nH]c1", {0: 1}),
        ("*=C1CCCC1", "C1CCCC1", {0: 2}),
        ("*C(*)C", "CC", {0: 2}),
        ("*=C(*)C", "CC", {0: 3}),
        ("[1*]N1CCC(=O)CC1", "O=C1CCNCC1", {0: 1}),
        ("C[N+](C)(C)*", "C[NH+](C)C", {1: 1}),
        ("*S(=O)(=O)c1ccccc1", "O=[SH](=O)c1ccccc1", {0: 1}),
        ("*C#N", "C#N", {0: 1}),
        ("O=C([O-])c1ccccc1", "O=C([O-])c1ccccc1", {4: 1, 5: 1, 6: 1, 7: 1, 8: 1}),
        ("N[C@@](*)(C)C(=O)O", "C[C@H](N)C(=O)O", {1: 1}),
        ("*c1ccccc1[C@H](F)Cl", "c1ccccc1[C@H](F)Cl", {0: 1}),
    ],
)
def test_scaffolds_from_smiles(smiles: str, kept: str, free: dict[int, int]) -> None:
    scaffold = read_scaffold(smiles)
    assert Chem.CanonSmiles(Chem.MolToSmiles(scaffold.mol)) == Chem.CanonSmiles(kept)
    assert dict(scaffold.open) == free
    assert scaffold.positions is None
    assert all(atom.GetAtomicNum() > 1 and atom.GetNoImplicit() for atom in scaffold.mol.GetAtoms())
    for i, order in free.items():
        assert scaffold.mol.GetAtomWithIdx(i).GetTotalNumHs() >= order


@pytest.mark.parametrize("smiles", ["*c1ccncc1", "*N1CCOCC1", "C[C@@H](*)c1ccccc1", "*/C=C/c1ccco1"])
def test_a_posed_scaffold_keeps_the_heavy_atoms_where_they_are(smiles: str, tmp_path: Path) -> None:
    mol = posed(smiles)
    path = write(tmp_path / "scaffold.sdf", mol)
    scaffold = read_scaffold(path, need_3d=True)
    flat = read_scaffold(smiles) if "/" not in smiles and "@" not in smiles else None
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    np.testing.assert_allclose(scaffold.positions, mol.GetConformer().GetPositions()[heavy], atol=1e-4)
    assert [a.GetAtomicNum() for a in scaffold.mol.GetAtoms()] == [
        mol.GetAtomWithIdx(i).GetAtomicNum() for i in heavy
    ]
    assert len(scaffold.open) == 1
    if flat is not None:
        assert Chem.MolToSmiles(flat.mol) == Chem.MolToSmiles(scaffold.mol)
        assert dict(flat.open) == dict(scaffold.open)


def test_open_atoms_by_number(tmp_path: Path) -> None:
    mol = posed("c1ccccc1C", keep_dummies=False)
    for name in ("anchor", "anchors"):
        scaffold = read_scaffold(write(tmp_path / "a.sdf", mol, **{name: "3, 7\n7"}))
        assert dict(scaffold.open) == {2: 1, 6: 2}
    flags = ["0"] * mol.GetNumAtoms()
    flags[2], flags[6] = "1", "2"
    scaffold = read_scaffold(write(tmp_path / "a.sdf", mol, atom__iprop__anchor=" ".join(flags)))
    assert dict(scaffold.open) == {2: 1, 6: 2}


def test_stereo_of_kept_atoms_is_kept(tmp_path: Path) -> None:
    for smiles in (CHIRAL["menthol"], CHIRAL["camphor"], DOUBLE["(E)-crotonic acid"]):
        assert Chem.MolToSmiles(read_scaffold(smiles).mol) == Chem.CanonSmiles(smiles)
        mol, (positions, *_) = embedded(smiles)
        path = write(tmp_path / "s.sdf", with_positions(mol, positions))
        assert Chem.MolToSmiles(read_scaffold(path).mol) == Chem.CanonSmiles(smiles)


PENTAVALENT = """
  x

  6  5  0  0  0  0            999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 C   0  0
   -1.5000    0.0000    0.0000 C   0  0
    0.0000    1.5000    0.0000 C   0  0
    0.0000   -1.5000    0.0000 C   0  0
    0.0000    0.0000    1.5000 C   0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
  1  6  1  0
M  END
$$$$
"""


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C(C)(C)(C)(C)C", "Explicit valence for atom # 0 C, 5, is greater than permitted; mend the SMILES"),
        ("c1cccc1", "Can't kekulize"),
        ("C(", "not a valid SMILES; mend"),
        ("", "scaffold: empty SMILES"),
        ("C(F)(F)(F)F", "no open position, no atom has a hydrogen to give up; leave out"),
        ("*", "no heavy atoms; give"),
        ("[H][H]", "no heavy atoms; give"),
        ("C*C", "dummy atom 2 must hang on one atom"),
        ("C**", "must hang on one atom"),
        ("C.C", "2 separate pieces; give one connected scaffold, or two posed fragments with --link"),
        ("C[Fe]", "unsupported element at atom 2 (Fe); supported: H B C"),
        ("[CH3]", "unpaired electron on atom 1 (C); add the hydrogen"),
        ("[13CH4]", "isotope label on atom 1 (C)"),
        ("C~C", "bond 1-2 is unspecified; write it as"),
        ("*[C@H](F)Cl", "stereo that hangs on an attachment point"),
        ("F/C=C/*", "stereo that hangs on an attachment point"),
        ("C" * 201, "too large: 201 heavy atoms"),
        ("missing.sdf", "missing.sdf: no such file; give"),
    ],
)
def test_scaffolds_that_cannot_be(smiles: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read_scaffold(smiles)
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert message.startswith(smiles or "scaffold")


def test_the_limit_is_the_models() -> None:
    assert read_scaffold("C" * 9, most=9).size == 9
    with pytest.raises(InputError, match="too large: 10 heavy atoms are to be kept, at most 9 can be"):
        read_scaffold("C" * 10, most=9)


def broken_files(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    benzene = posed("c1ccccc1")
    flat = Chem.MolFromSmiles("*c1ccccc1")
    pentavalent = tmp_path / "five.sdf"
    pentavalent.write_text(PENTAVALENT.lstrip("\n").join(["\n", ""]))
    empty = tmp_path / "empty.sdf"
    empty.write_text("")
    garbage = tmp_path / "garbage.sdf"
    garbage.write_text("not\na\nmol\nblock\n")
    gz = tmp_path / "cut.sdf.gz"
    gz.write_bytes(b"\x1f\x8b\x08\x00broken")
    return {
        "valence": (pentavalent, "Explicit valence for atom # 0 C, 5, is greater than permitted; mend"),
        "empty": (empty, "holds no molecules"),
        "garbage": (garbage, "not a readable SDF record; mend the record at line 1"),
        "gz": (gz, "cannot be read"),
        "flat": (write(tmp_path / "flat.sdf", flat), "no 3D coordinates; give the scaffold as an SDF"),
        "two": (write(tmp_path / "two.sdf", benzene, benzene), "2 records; give a file with the one"),
        "number": (write(tmp_path / "n.sdf", benzene, anchor="13"), "anchor '13' is no atom of the record"),
        "zero": (write(tmp_path / "z.sdf", benzene, anchor="0"), "give numbers from 1 to 12"),
        "word": (write(tmp_path / "w.sdf", benzene, anchor="C1"), "anchor 'C1' is no atom"),
        "hydrogen": (write(tmp_path / "h.sdf", benzene, anchor="7"), "anchor 7 is H; give the heavy atom"),
        "full": (write(tmp_path / "f.sdf", benzene, anchor="1 1"), "atom 1 (C) is to be open but has no"),
        "list": (write(tmp_path / "l.sdf", benzene, atom__iprop__anchor="1 0"), "one whole number for each"),
    }


@pytest.mark.parametrize(
    "kind",
    "valence empty garbage gz flat two number zero word hydrogen full list".split(),  # noqa: SIM905
)
def test_files_that_cannot_be(kind: str, tmp_path: Path) -> None:
    path, reason = broken_files(tmp_path)[kind]
    with pytest.raises(InputError) as caught:
        read_scaffold(path, need_3d=True)
    message = str(caught.value)
    assert reason in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_links_from_one_record_or_two(tmp_path: Path) -> None:
    one = read_link(link_file(tmp_path))
    two = read_link(write(tmp_path / "r.sdf", posed("*c1ccccc1"), posed("*C1CCNCC1", 9.0)))
    for link in (one, two):
        assert [Chem.MolFragmentToSmiles(link.mol, list(p)) for p in link.pieces] == ["c1ccccc1", "C1CCNCC1"]
        assert link.anchors == ((0,), (6,))
        assert dict(link.open) == {0: 1, 6: 1}
    np.testing.assert_allclose(one.positions, two.positions, atol=1e-3)


def test_anchors_by_number_count_from_each_record(tmp_path: Path) -> None:
    one, two = posed("c1ccccc1"), posed("C1CCNCC1", 9.0)
    assert read_link(write(tmp_path / "r.sdf", one, two, anchor="2")).anchors == ((1,), (7,))
    both = write(tmp_path / "b.sdf", Chem.CombineMols(one, two), anchor="2 14")
    assert read_link(both).anchors == ((1,), (7,))


def test_links_that_cannot_be(tmp_path: Path) -> None:
    benzene = posed("c1ccccc1")
    far = posed("*C1CCNCC1", 9.0)
    flat = Chem.MolFromSmiles("*CCCC.*CCCC")
    three = Chem.CombineMols(Chem.CombineMols(posed("*C"), posed("*C", 9)), posed("*C", 20))
    files = {
        "one connected molecule": write(tmp_path / "a.sdf", posed("*c1ccccc1")),
        "3 fragments; a link joins two": write(tmp_path / "b.sdf", three),
        "3 records; a link joins two": write(tmp_path / "c.sdf", far, far, far),
        "fragment 1 (c1ccccc1) has no anchor; mark": write(
            tmp_path / "d.sdf", Chem.CombineMols(benzene, far)
        ),
        "no 3D coordinates; linking needs": write(tmp_path / "e.sdf", flat),
        "no such SDF file": tmp_path / "none.sdf",
        "the fragments overlap": link_file(tmp_path, apart=0.3),
        "at most 8 can be": write(tmp_path / "g.sdf", Chem.CombineMols(posed("*c1ccccc1"), far)),
    }
    for reason, path in files.items():
        with pytest.raises(InputError) as caught:
            read_link(path, most=8 if "8" in reason else 200)
        assert reason in str(caught.value)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such SDF file"):
        read_link("CC.CC")


def test_overlap_names_the_atoms_and_the_distance(tmp_path: Path) -> None:
    path = write(tmp_path / "o.sdf", posed("*CC"), posed("*CC"), anchor="")
    with pytest.raises(
        InputError, match=r"overlap: C2 and C\d+ \(atoms counted through the file\) are 0\.00 Å .* 1\.2 Å"
    ):
        read_link(path)
    near = Chem.MolFromSmiles("*C.*N")
    positions = np.array([[-1.5, 0, 0], [0, 0, 0], [2.6, 0, 0], [1.19, 0, 0]])
    with pytest.raises(InputError, match=r"C2 and N4 \(.*\) are 1\.19 Å"):
        read_link(write(tmp_path / "n.sdf", with_positions(near, positions)))
    positions[3, 0] = 1.21
    assert read_link(write(tmp_path / "n.sdf", with_positions(near, positions))).size == 2


# What contained() proves. The molecule is a posed ligand, the scaffold a part of it.


def grown(scaffold: Scaffold | str, smiles: str) -> tuple[int, ...] | None:
    kept = read_scaffold(scaffold) if isinstance(scaffold, str) else scaffold
    return kept.contained(Chem.AddHs(Chem.MolFromSmiles(smiles)))


@pytest.mark.parametrize(
    ("scaffold", "whole"),
    [
        ("*c1ccncc1", "OCc1ccncc1"),
        ("*c1ccncc1", "c1ccncc1"),
        ("c1ccncc1", "c1ccc2ncccc2c1"),
        ("*=C1CCCC1", "CC=C1CCCC1"),
        ("*=C1CCCC1", "CC1(C)CCCC1"),
        ("*n1cccc1", "CCn1cccc1"),
        ("c1cc[nH]c1", "c1ccn2cccc2c1"),
        ("C[N+](C)(C)*", "C[N+](C)(C)CCO"),
        ("*S(=O)(=O)c1ccccc1", "NS(=O)(=O)c1ccccc1"),
        ("N[C@@](*)(C)C(=O)O", "N[C@@](CC)(C)C(=O)O"),
        (CHIRAL["menthol"].replace("O", "O*"), CHIRAL["menthol"].replace("O", "OC(=O)C")),
    ],
)
def test_growth_is_recognised(scaffold: str, whole: str) -> None:
    kept = read_scaffold(scaffold)
    mol = Chem.AddHs(Chem.MolFromSmiles(whole))
    match = kept.contained(mol)
    assert match is not None
    assert len(set(match)) == kept.size
    for atom, j in zip(kept.mol.GetAtoms(), match, strict=True):
        assert atom.GetAtomicNum() == mol.GetAtomWithIdx(j).GetAtomicNum()
    # Hydrogens implicit, atoms in another order: the same answer.
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    assert kept.contained(Chem.RenumberAtoms(mol, order)) is not None
    assert kept.contained(Chem.RemoveHs(mol)) is not None


@pytest.mark.parametrize(
    ("scaffold", "whole", "why"),
    [
        ("*CCO", "CC=CO", "bond order"),
        ("*c1ccncc1", "CC1CCNCC1", "ring reduced"),
        ("*c1ccncc1", "Cc1ccc(C)nc1", "hydrogen lost at a closed atom"),
        ("*c1ccncc1", "Cc1ccccc1", "element"),
        ("*c1ccncc1", "Cc1cc[nH+]cc1", "charge"),
        ("*CSC", "CCS(=O)C", "valence raised at a closed atom"),
        ("*S", "CS(C)(=O)=O", "valence raised at an open atom"),
        ("*CC", "CC(C)C(C)C", "closed atom grown"),
        ("*C(C)C", "CC(C)(C)C(C)(C)C", "closed atoms grown"),
        ("*CCC", "C1CC1", "new bond between kept atoms"),
        ("CCC", "C1CC1", "new bond between kept atoms, all open"),
        ("c1ccccc1-c1ccccc1", "c1ccc2c(c1)[nH]c1ccccc12", "a single bond became aromatic"),
        ("*C1CCCC1", "CC=C1CCCC1", "more orders than the mark allows"),
        ("C[N+](C)(C)*", "CN(C)CC", "charge lost"),
        ("N[C@@](*)(C)C(=O)O", "N[C@](CC)(C)C(=O)O", "mirrored"),
        ("C/C=C/C(=O)O*", "C/C=C\\C(=O)OC", "cis for trans"),
        ("C/C=C/C(=O)O*", "CC=CC(=O)OC", "stereo not shown"),
        ("*CCCCCC", "CCC", "too small"),
    ],
)
def test_near_misses_are_refused(scaffold: str, whole: str, why: str) -> None:
    assert grown(scaffold, whole) is None, why


def test_stereo_that_means_nothing_any_more_is_not_asked_for() -> None:
    """Growing alanine's methyl group into a second carboxylic acid leaves no stereocentre."""
    scaffold = read_scaffold("C[C@H](N)C(=O)O")
    assert grown(scaffold, "OC(=O)C(N)C(=O)O") is not None
    assert grown(scaffold, "NC(C)(C)C(=O)O") is not None
    assert grown(scaffold, "C[C@H](N)C(=O)OC") is not None
    assert grown(scaffold, "CC(N)C(=O)OC") is None


def test_stereo_is_read_from_the_geometry() -> None:
    scaffold = read_scaffold("N[C@@H](C)C(=O)O")
    for smiles, there in (("N[C@@H](C)C(=O)OC", True), ("N[C@H](C)C(=O)OC", False)):
        mol, (positions, *_) = embedded(smiles)
        plain = with_positions(mol, positions)
        for atom in plain.GetAtoms():
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
        assert (scaffold.contained(plain) is not None) == there


def changed(mol: Mol, change: Callable[[Chem.RWMol], None]) -> Mol:
    work = Chem.RWMol(mol)
    change(work)
    return work.GetMol()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_posed_near_misses_are_refused(seed: int) -> None:
    """On real ligands: any kept atom moved, renamed, charged or unsaturated, any closed hydrogen replaced."""
    rng = np.random.default_rng(seed)
    ligands = [m for m in pack("pdb_ligands_sample.sdf") if len(Chem.GetMolFrags(m)) == 1]
    mol = ligands[int(rng.integers(len(ligands)))]
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1 and a.GetTotalNumHs(True)]
    opened = int(rng.choice(heavy))
    scaffold = make_scaffold(mol, "ligand", opened={opened: 1})
    match = scaffold.contained(mol)
    assert match is not None
    assert [mol.GetAtomWithIdx(j).GetAtomicNum() for j in match] == [
        a.GetAtomicNum() for a in scaffold.mol.GetAtoms()
    ]
    i = int(rng.choice(match))
    place = mol.GetConformer().GetPositions()

    step = rng.normal(size=3)
    for far, there in ((0.01, False), (9e-5, True)):
        moved = place.copy()
        moved[i] += far * step / np.linalg.norm(step)
        assert (scaffold.contained(with_positions(mol, moved)) is not None) == there

    shifted = with_positions(mol, place + np.array([0.01, 0, 0]))
    assert scaffold.contained(shifted) is None
    assert replace(scaffold, positions=None).contained(shifted) is not None
    assert scaffold.contained(Chem.RemoveHs(mol)) is not None
    flat = Chem.Mol(mol)
    flat.RemoveAllConformers()
    assert scaffold.contained(flat) is None

    renamed = changed(mol, lambda m: m.GetAtomWithIdx(i).SetAtomicNum(14))
    assert scaffold.contained(renamed) is None

    hydrogens = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 1]
    for h in rng.permutation(hydrogens)[:3].tolist():
        fluorinated = changed(mol, lambda m, h=h: m.GetAtomWithIdx(h).SetAtomicNum(9))
        parent = mol.GetAtomWithIdx(h).GetNeighbors()[0].GetIdx()
        assert (scaffold.contained(fluorinated) is not None) == (parent == opened)

    singles = [b for b in mol.GetBonds() if b.GetBondType() == S.SINGLE and not b.IsInRing()]
    for bond in singles:
        ends = bond.GetBeginAtom(), bond.GetEndAtom()
        if all(a.GetAtomicNum() == 6 and a.GetTotalNumHs(True) for a in ends):
            work = Chem.RWMol(mol)
            work.GetBondWithIdx(bond.GetIdx()).SetBondType(S.DOUBLE)
            drop = [next(n.GetIdx() for n in a.GetNeighbors() if n.GetAtomicNum() == 1) for a in ends]
            for h in sorted(drop, reverse=True):
                work.RemoveAtom(h)
            Chem.SanitizeMol(work)
            assert scaffold.contained(work.GetMol()) is None
            break


def test_a_charge_of_the_other_sign_is_refused() -> None:
    """Carbanions and carbocations have the same valence and hydrogens."""
    anion = with_positions(Chem.MolFromSmiles("C[CH-]C"), np.array([[0, 0, 0], [1.5, 0, 0], [2, 1.4, 0.0]]))
    scaffold = make_scaffold(anion, "anion", opened={0: 1})
    assert scaffold.contained(anion) == (0, 1, 2)
    cation = changed(anion, lambda m: m.GetAtomWithIdx(1).SetFormalCharge(1))
    assert scaffold.contained(cation) is None


def test_an_impossible_molecule_contains_nothing() -> None:
    bad = Chem.MolFromSmiles("CC(C)(C)(C)C", sanitize=False)
    assert read_scaffold("*CC").contained(bad) is None


def test_a_linked_molecule_contains_both_fragments(tmp_path: Path) -> None:
    whole = posed("c1ccccc1CCC1CCNCC1")
    place = whole.GetConformer().GetPositions()
    pieces = Chem.RWMol(whole)
    pieces.ReplaceAtom(6, Chem.Atom(0))
    pieces.ReplaceAtom(7, Chem.Atom(0))
    pieces.RemoveBond(6, 7)
    pieces.BeginBatchEdit()
    for i in (6, 7):
        for other in whole.GetAtomWithIdx(i).GetNeighbors():
            if other.GetAtomicNum() == 1:
                pieces.RemoveAtom(other.GetIdx())
    pieces.CommitBatchEdit()
    Chem.SanitizeMol(pieces)
    link = read_link(write(tmp_path / "p.sdf", pieces.GetMol()))
    assert isinstance(link, Link)
    assert link.contained(whole) == (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13)
    swapped = place.copy()
    swapped[[0, 8]] = swapped[[8, 0]]
    assert link.contained(with_positions(whole, swapped)) is None
