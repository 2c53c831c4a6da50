"""One look of the conformer model at geometries that are nearly right.

A force-field minimum is taken for a geometry of the model's kind plus noise of a few hundredths of an Å. The
denoiser then tells the mean of what it may have been (Tweedie's formula, Efron 2011):
``E[x_0 | x] = x + σ² ∇ log p(x)`` with the score in the metric of the noise. No noise is added: of a minimum
the mean is wanted, not a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.molecules.features import featurise
from scoregen.molecules.graph import collate, molecule_data
from scoregen.molecules.sampler import buckets

SIGMA = 0.03
"""Å in the harmonic metric: how far MMFF94s minima are taken to be off."""

PAIRS = 40_000
"""Atom pairs of a batch."""


@torch.no_grad()
def nudged(
    denoiser: Denoiser,
    mols: Sequence[Mol],
    positions: Sequence[np.ndarray],
    theory: str = "unknown",
    sigma: float = SIGMA,
) -> list[np.ndarray]:
    """Denoised positions of every molecule, ``(N, 3)`` Å, in the frame they were given in.

    Args:
        denoiser: the conformer model.
        mols: with hydrogen atoms and stated stereo.
        positions: ``(N, 3)`` Å each.
        theory: kind of geometry wanted, as the network was told in training.
        sigma: Å.
    """
    device = next(denoiser.parameters()).device
    data = [molecule_data(featurise(mol), theory=theory) for mol in mols]
    time = denoiser.sde.time(torch.tensor(-2 * math.log(sigma), dtype=torch.float64))
    results: list[np.ndarray] = [np.zeros((0, 3))] * len(mols)
    for chunk in buckets([mol.GetNumAtoms() for mol in mols], PAIRS):
        graphs = collate([data[i] for i in chunk]).to(device)
        space = graphs.space()
        centres = [positions[i].mean(0) for i in chunk]
        state = np.concatenate([positions[i] - centre for i, centre in zip(chunk, centres, strict=True)])
        x = space.project(torch.from_numpy(state).to(device, torch.float32))
        x0 = denoiser(x, time, space, graphs).x0.double().cpu().numpy()
        ends = np.cumsum([mols[i].GetNumAtoms() for i in chunk])
        for i, part, centre in zip(chunk, np.split(x0, ends[:-1]), centres, strict=True):
            results[i] = part + centre
    return results
