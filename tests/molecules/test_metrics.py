import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from scipy.spatial.transform import Rotation

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise
from scoregen.molecules.metrics import EnsembleScores, ensemble_scores, rmsd_matrix, summarise
from scoregen.molecules.stereo import with_positions

from .samples import embedded, pack, positions


def kabsch(a: np.ndarray, b: np.ndarray) -> float:
    """RMSD after optimal rotation, atom by atom: an oracle without symmetry."""
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    s[-1] *= np.sign(np.linalg.det(u @ vt))
    return float(np.sqrt(max((a**2).sum() + (b**2).sum() - 2 * s.sum(), 0) / len(a)))


def test_rmsd_is_kabsch_where_there_is_no_symmetry() -> None:
    # Every heavy atom of methyl 2-chloro-4-hydroxybutanoate is distinct.
    mol, geometries = embedded("COC(=O)[C@@H](Cl)CCO", 4)
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    x = np.stack(geometries)
    expected = [[kabsch(a[heavy], b[heavy]) for b in x] for a in x]
    found = rmsd_matrix(mol, x, mol, x)
    assert np.allclose(found, expected, atol=1e-4)
    assert found.max() > 0.3 and np.allclose(np.diag(found), 0, atol=1e-4)


def test_hydrogens_do_not_count() -> None:
    mol, geometries = embedded("CCO")
    x = geometries[0].copy()
    x[3:] += 0.5
    assert rmsd_matrix(mol, geometries[0][None], mol, x[None])[0, 0] < 1e-4


@pytest.mark.parametrize(
    ("smiles", "swap"),
    [
        ("OCCc1ccccc1", {4: 8, 5: 7}),  # a phenyl flip
        ("CC(=O)Oc1ccccc1C(=O)[O-]", {11: 12}),  # two oxygens that differ only in the resonance form drawn
        ("CC(=O)c1ccccc1[N+](=O)[O-]", {10: 11}),
        ("CC(C)(C)CO", {0: 2}),
    ],
)
def test_symmetric_atoms_may_change_places(smiles: str, swap: dict[int, int]) -> None:
    mol, geometries = embedded(smiles, 1)
    order = np.arange(mol.GetNumAtoms())
    for i, j in swap.items():
        order[[i, j]] = j, i
    heavy = mol.GetNumHeavyAtoms()
    x, swapped = geometries[0], geometries[0][order]
    assert kabsch(x[:heavy], swapped[:heavy]) > 0.3
    # Tetrahedral branches that swap turn the rest over: nearly, not exactly, the same.
    assert rmsd_matrix(mol, x[None], mol, swapped[None])[0, 0] < 0.1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_invariant_to_pose_and_numbering(seed: int) -> None:
    mol, geometries = embedded("CC(=O)Oc1ccccc1C(=O)O")
    rng = np.random.default_rng(seed)
    order = rng.permutation(mol.GetNumAtoms())
    rotation = Rotation.random(random_state=rng).as_matrix()
    x = np.stack(geometries)
    moved = (x @ rotation.T + rng.normal(size=3))[:, order]
    renumbered = Chem.RenumberAtoms(mol, order.tolist())
    assert np.allclose(rmsd_matrix(mol, x, renumbered, moved), rmsd_matrix(mol, x, mol, x), atol=1e-3)


def test_mirror_images_differ() -> None:
    mol = pack("qm9_xtb_sample.sdf")[0]
    x = positions(mol)[None]
    assert rmsd_matrix(mol, x, mol, x * [1, 1, -1])[0, 0] > 0.1


def test_another_molecule_is_refused() -> None:
    mol, geometries = embedded("CCO")
    other, others = embedded("CCN")
    with pytest.raises(InputError, match="another molecule"):
        rmsd_matrix(mol, np.stack(geometries), other, np.stack(others))
    hydrogen = standardise("[H][H]")
    with pytest.raises(InputError, match="heavy"):
        rmsd_matrix(hydrogen, np.zeros((1, 2, 3)), hydrogen, np.zeros((1, 2, 3)))


def test_inputs_are_left_alone() -> None:
    mol, geometries = embedded("CC(=O)Oc1ccccc1C(=O)O")
    x = np.stack(geometries)
    before, smiles = x.copy(), Chem.MolToSmiles(mol)
    rmsd_matrix(with_positions(mol, x[0]), x, mol, x)
    assert (x == before).all() and Chem.MolToSmiles(mol) == smiles and mol.GetNumConformers() == 0


def test_scores_by_hand() -> None:
    distances = np.array([[0.1, 0.9, 0.7, 0.6], [0.8, 0.4, 1.5, 2.0]])
    scores = ensemble_scores(distances, (0.5, 0.1, 0.3))
    assert scores.amr_r == pytest.approx(0.25) and scores.amr_p == pytest.approx((0.1 + 0.4 + 0.7 + 0.6) / 4)
    # Nearer than the threshold, not equal to it.
    assert scores.cov_r == (1.0, 0.0, 0.5) and scores.cov_p == (0.5, 0.0, 0.25)
    for empty in (np.zeros((0, 3)), np.zeros((3, 0))):
        with pytest.raises(InputError):
            ensemble_scores(empty)


def test_failures_are_counted_both_ways() -> None:
    good = EnsembleScores((1.0,), 0.2, (0.5,), 0.3)
    poor = EnsembleScores((0.5,), 0.4, (0.5,), 0.5)
    result = summarise([good, None, poor, None], (0.5,))
    assert result["molecules"] == 4 and result["failures"] == 2
    assert result["amr_r"] == pytest.approx(0.3) and result["amr_p"] == pytest.approx(0.4)
    assert result["cov_r_0.5"] == pytest.approx(0.375) and result["cov_r_0.5_scored"] == pytest.approx(0.75)
    assert result["cov_p_0.5"] == pytest.approx(0.25) and result["cov_p_0.5_scored"] == pytest.approx(0.5)
    nothing = summarise([None])
    assert nothing["amr_r"] is None and nothing["cov_r_0.5"] == 0.0 and nothing["cov_r_0.5_scored"] is None


def test_duplicating_conformers_never_lowers_recall() -> None:
    records = [mol for mol in pack("qm9_xtb_sample.sdf") if mol.GetProp("_Name") == "dsgdb9nsd_009989"]
    x = np.stack([positions(mol) for mol in records])
    few, many = (ensemble_scores(rmsd_matrix(records[0], x, records[0], x[:k])) for k in (2, len(x)))
    assert many.amr_r < 1e-3 < few.amr_r and many.cov_r[0] == 1.0 >= few.cov_r[0]
