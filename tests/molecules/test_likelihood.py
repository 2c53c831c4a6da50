"""Likelihoods of conformers: closed forms, invariances, and what the shipped model prefers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit.Chem import rdMolTransforms
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from scoregen.core.denoiser import Denoiser, Prediction
from scoregen.core.sde import EDM
from scoregen.core.space import FactorSpace
from scoregen.errors import InputError
from scoregen.hub import from_pretrained
from scoregen.molecules.chem import stereo_from_3d
from scoregen.molecules.features import featurise
from scoregen.molecules.graph import Graphs, MoleculeData, collate, molecule_data
from scoregen.molecules.likelihood import log_likelihoods, soft_modes
from scoregen.molecules.objective import ConformerModelConfig, build_denoiser

from .helpers import SMILES, data_for, small_model
from .samples import pack, positions

EXACT = 3 * 50


class Gaussian(Denoiser):
    """The exact denoiser of ``x ∼ N(0, A M A ⊗ I₃)``: A the harmonic factor, M a covariance over atoms."""

    def __init__(self, spread: Tensor, sde: EDM):
        super().__init__(nn.Identity(), sde, 1.0)
        self.values, self.vectors = torch.linalg.eigh(spread)

    def forward(self, x: Tensor, t: Tensor, space: FactorSpace, cond: Graphs | None = None) -> Prediction:
        sigma = self.sde.marginal(t)[1].reshape(-1, 1, 1, 1)
        white = space.whiten(x).reshape(space.size, -1, 3)
        parts = torch.einsum("nm,bnc->bmc", self.vectors.float(), white)
        gain = (self.values[None, :, None] / (self.values[None, :, None] + sigma[..., 0] ** 2)).float()
        kept = torch.einsum("nm,bmc->bnc", self.vectors.float(), gain * parts)
        wide = space.expand(sigma.flatten().float(), x)
        return Prediction(space.color(kept.reshape(x.shape)), x, torch.ones_like(wide), wide)


def spread_over_atoms(n: int) -> Tensor:
    """A covariance that leaves the mean alone, with variances from 0.05 to 2."""
    torch.manual_seed(3)
    basis = torch.linalg.qr(torch.cat((torch.ones(n, 1), torch.randn(n, n - 1)), 1).double())[0][:, 1:]
    return basis @ torch.diag(torch.linspace(0.05, 2, n - 1, dtype=torch.float64)) @ basis.T


@pytest.mark.parametrize(("modes", "tolerance"), [(EXACT, 0.15), (6, 1.0)])
def test_a_gaussian_has_its_closed_form(modes: int, tolerance: float) -> None:
    data = data_for("CCO")
    n, sigma = int(data.num_nodes), 0.05
    spread = spread_over_atoms(n)
    space = collate([data]).space()
    x = np.random.default_rng(0).normal(size=(2, n, 3))
    x = torch.stack([space.color(torch.from_numpy(one).float()) for one in x]).numpy()
    probes = 0 if modes == EXACT else 8
    # At σ = 100 nothing that matters of the data is left for the prior to get wrong.
    denoiser = Gaussian(spread, EDM(0.005, 100.0))
    found = log_likelihoods(denoiser, data, x, sigma=sigma, steps=12, modes=modes, probes=probes)

    factor = data.factor.reshape(n, n).double()
    covariance = factor @ (spread + sigma**2 * torch.eye(n, dtype=torch.float64)) @ factor
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values[1:], vectors[:, 1:]  # the mean has no variance
    along = torch.einsum("nm,knc->kmc", vectors, torch.from_numpy(x).double())
    square = (along.square() / values[None, :, None]).sum((1, 2))
    expected = -0.5 * (square + 3 * (2 * torch.pi * values).log().sum())
    assert np.abs(found - expected.numpy()).max() < tolerance


def conformers(name: str) -> tuple[MoleculeData, np.ndarray]:
    """The ensemble of one molecule of the QM9 sample."""
    mols = [mol for mol in pack("qm9_xtb_sample.sdf") if mol.GetProp("_Name") == name]
    return molecule_data(featurise(stereo_from_3d(mols[0]))), np.stack([positions(mol) for mol in mols])


def first_ensemble(least: int = 4) -> tuple[MoleculeData, np.ndarray]:
    names = [mol.GetProp("_Name") for mol in pack("qm9_xtb_sample.sdf")]
    return conformers(next(name for name in names if names.count(name) >= least))


def test_placement_and_orientation_do_not_matter() -> None:
    data, x = first_ensemble()
    moved = np.stack([Rotation.random(random_state=k).apply(one) + 5 for k, one in enumerate(x)])
    model = small_model()
    settings = {"steps": 2, "modes": 4, "sigma": 0.1}
    assert np.allclose(
        log_likelihoods(model, data, x, **settings),
        log_likelihoods(model, data, moved, **settings),
        atol=0.02,
    )


def test_a_value_does_not_depend_on_the_batch() -> None:
    data, x = first_ensemble()
    model = small_model()
    settings = {"steps": 2, "modes": 3, "sigma": 0.1}
    together = log_likelihoods(model, data, x, **settings)
    apart = log_likelihoods(model, data, x[::-1], pairs=1, **settings)[::-1]
    assert np.allclose(together, apart, atol=1e-3)
    assert len(log_likelihoods(model, data, x[:0])) == 0


def test_the_seed_moves_the_estimate_and_all_modes_stop_that() -> None:
    data = data_for("CO")
    x, model = data.pos[None].numpy(), small_model()

    def value(seed: int, modes: int) -> float:
        return log_likelihoods(model, data, x, seed=seed, modes=modes, probes=1, steps=1, sigma=0.2)[0]

    sure = [value(seed, EXACT) for seed in range(2)]
    guesses = [value(seed, 0) for seed in range(16)]
    error = np.std(guesses) / np.sqrt(len(guesses))
    assert abs(sure[0] - sure[1]) < 0.02 < error
    assert abs(np.mean(guesses) - sure[0]) < 4 * error


def test_soft_modes_hold_rotations_and_torsions() -> None:
    """Turning the molecule, and turning about a bond, are combinations of the first modes."""
    mol = pack("cascade_dft_sample.sdf")[0]
    data = molecule_data({**featurise(mol), "x": positions(mol).astype(np.float32)})
    graphs, space = collate([data]), collate([data]).space()
    x = space.project(data.pos)
    modes = soft_modes(graphs, x, 3 * (int(data.num_nodes) - 1)).double()
    gram = torch.einsum("ncm,nck->mk", modes, modes)
    assert torch.allclose(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-4)
    turned = torch.linalg.cross(torch.tensor([0.3, -0.5, 0.8]).expand_as(x), x)
    bond = next(
        b
        for b in mol.GetBonds()
        if not b.IsInRing() and min(b.GetBeginAtom().GetDegree(), b.GetEndAtom().GetDegree()) > 1
    )
    b, c = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    a = next(o.GetIdx() for o in mol.GetAtomWithIdx(b).GetNeighbors() if o.GetIdx() != c)
    d = next(o.GetIdx() for o in mol.GetAtomWithIdx(c).GetNeighbors() if o.GetIdx() != b)
    conformer = type(mol)(mol).GetConformer()
    angle = rdMolTransforms.GetDihedralRad(conformer, a, b, c, d)
    rdMolTransforms.SetDihedralRad(conformer, a, b, c, d, angle + 1e-4)
    twisted = torch.from_numpy((conformer.GetPositions() - positions(mol)) / 1e-4).float()
    soft = modes[..., : len(gram) // 3]
    for direction in (turned, twisted):
        white = space.whiten(direction).double()
        white = white / white.norm()
        assert torch.einsum("ncm,nc->m", soft, white).square().sum() > 0.99


def test_the_shipped_model_prefers_the_real_geometry() -> None:
    model = from_pretrained("conformer-small").denoiser
    data, x = first_ensemble()
    bent = x[:1] + 0.1 * np.random.default_rng(0).normal(size=x[:1].shape)
    values = log_likelihoods(model, data, np.concatenate((x[:1], bent)), steps=3, modes=6)
    assert values[0] > values[1] + 20


def test_bad_input_is_refused() -> None:
    data, x = data_for(SMILES[-1]), data_for(SMILES[-1]).pos[None].numpy()
    model = build_denoiser(ConformerModelConfig())
    with pytest.raises(InputError, match=r"shape \(K, 9, 3\)"):
        log_likelihoods(model, data, x[:, :-1])
    with pytest.raises(InputError, match="finite"):
        log_likelihoods(model, data, np.full_like(x, np.nan))
    with pytest.raises(InputError, match="sigma"):
        log_likelihoods(model, data, x, sigma=1e-4)
    with pytest.raises(InputError, match="probes"):
        log_likelihoods(model, data, x, modes=4, probes=0)
    with pytest.raises(InputError, match="theory"):
        log_likelihoods(model, data, x, theory="guess")
