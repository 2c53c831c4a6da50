"""One look of the conformer model moves force-field minima towards real geometries, whatever the batch."""

from functools import cache

import numpy as np

from scoregen.core.denoiser import Denoiser
from scoregen.molecules.conformers import ConformerGenerator
from scoregen.molecules.design.nudge import nudged
from scoregen.molecules.design.pinned import superposed
from scoregen.molecules.relax import relax
from tests.molecules.helpers import small_model
from tests.molecules.samples import embedded, pack, positions


@cache
def model() -> Denoiser:
    return ConformerGenerator.from_pretrained("conformer-small").denoiser


def apart(a: np.ndarray, b: np.ndarray) -> float:
    moved = superposed(a, range(len(a)), b)
    return float(np.sqrt(((moved - b) ** 2).sum(1).mean()))


def test_minima_of_the_force_field_come_nearer_to_those_of_gfn2():
    mols = pack("qm9_xtb_sample.sdf")[:40:4]
    relaxed = [relax(mol, positions(mol), "mmff")[0] for mol in mols]
    # Those that fell into another minimum say nothing about bond lengths.
    near = [i for i, mol in enumerate(mols) if apart(relaxed[i], positions(mol)) < 0.15]
    assert len(near) >= 5
    moved = nudged(model(), [mols[i] for i in near], [relaxed[i] for i in near], "gfn2")
    before = [apart(relaxed[i], positions(mols[i])) for i in near]
    after = [apart(x, positions(mols[i])) for x, i in zip(moved, near, strict=True)]
    assert np.mean(after) < 0.9 * np.mean(before)


def test_the_batch_changes_nothing_and_the_frame_is_kept():
    cases = [embedded(smiles) for smiles in ("CCO", "CC(=O)Oc1ccccc1C(=O)O", "C#N")]
    mols, starts = [mol for mol, _ in cases], [x[0] for _, x in cases]
    denoiser = small_model()
    together = nudged(denoiser, mols, starts)
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    for mol, start, moved in zip(mols, starts, together, strict=True):
        np.testing.assert_allclose(nudged(denoiser, [mol], [start])[0], moved, atol=1e-4)
        np.testing.assert_allclose(moved.mean(0), start.mean(0), atol=1e-4)
        turned = nudged(denoiser, [mol], [start @ turn + 50.0])[0]
        np.testing.assert_allclose(turned, moved @ turn + 50.0, atol=1e-3)


def test_the_less_noise_is_assumed_the_less_is_moved():
    mol, (start, *_) = embedded("CC(=O)Oc1ccccc1C(=O)O")
    moves = [
        np.abs(nudged(small_model(), [mol], [start], sigma=s)[0] - start).max() for s in (0.3, 0.03, 0.006)
    ]
    assert moves[0] > moves[1] > moves[2] > 0


def test_nothing_gives_nothing():
    assert nudged(small_model(), [], []) == []
