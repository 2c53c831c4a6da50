"""Scores of a trained arm: held-out denoising error by noise level, and conformers drawn from noise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rdkit import Chem
from rdkit.Chem import Mol

from scoregen.core.losses import Noised, denoising_error
from scoregen.core.noise import Noise
from scoregen.core.sampling import NonFiniteSample, sample
from scoregen.core.solvers import solver_by_name
from scoregen.core.weighting import EDMWeight
from scoregen.molecules.align import kabsch
from scoregen.molecules.chem import standardise
from scoregen.molecules.features import featurise
from scoregen.molecules.graph import MoleculeData, collate, molecule_data
from scoregen.molecules.metrics import EnsembleScores, ensemble_scores, rmsd_matrix, summarise
from scoregen.molecules.sampler import SelfConditioned, buckets, sample_key
from scoregen.molecules.stereo import stereo_matches
from scoregen.training.cache import Cache

from .process import SIGMA_DATA
from .recipe import THEORY, Model, Task

BANDS = ((0.03, 0.1), (0.1, 0.3), (0.3, 1.0), (1.0, 10.0))
"""Noise levels σ/α in Å of the harmonic metric; in another metric they scale with σ_data."""
THRESHOLD, CALLS, SOLVER, PAIRS = 0.5, 15, "dpmpp-2m", 20_000
_HELD_OUT, _SAMPLES = 2**41, 2**42


@torch.no_grad()
def held_out_errors(model: Model, task: Task) -> list[float]:
    """Mean EDM-weighted whitened error of held-out molecules in each band, per degree of freedom.

    Levels and noise depend on the molecule alone, so every arm sees the same. The reference is Kabsch-aligned
    for all, and a self-conditioning network sees its own first answer, as it does when sampling.
    """
    sde, weight = model.process.sde, EDMWeight(model.sigma_data)
    scale = model.sigma_data / SIGMA_DATA
    found: list[list[float]] = [[] for _ in BANDS]
    for batch in task.dev_batches():
        graphs = model.recipe.see(batch.graphs)
        space = graphs.space()
        noise = Noise(_HELD_OUT, batch.ids)
        data = space.project(graphs.pos)
        for band, (low, high) in enumerate(BANDS):
            ratio = scale * low * (high / low) ** noise.uniform(band, stage=1)
            t = sde.time(-2 * ratio.log())
            alpha, sigma = sde.marginal(t)
            wide = [space.expand(value.to(data), data) for value in (alpha, sigma)]
            x = wide[0] * data + wide[1] * noise.normal(space, band)
            seen = graphs
            if model.recipe.network.self_condition:
                seen = graphs.with_estimate(model.denoiser(x, t, space, graphs).x0)
            prediction = model.denoiser(x, t, space, seen)
            # The weight is that of EDM's state x/α, whatever the process.
            state = Noised(x, t, torch.ones_like(alpha), ratio)
            error = denoising_error(prediction, kabsch(data, x, space), space, state, weight)
            found[band] += error.tolist()
    return [float(np.mean(values)) for values in found]


@dataclass(frozen=True)
class Reference:
    """A held-out molecule: graph with hydrogens, features, and its ensemble ``(R, N, 3)`` in Å."""

    name: str
    mol: Mol
    data: MoleculeData
    positions: np.ndarray


def read_references(cache: Cache, source: str, limit: int) -> list[Reference]:
    """Held-out ensembles of a source, at most ``limit`` molecules, evenly from those there are.

    The graph is made from the SMILES, as for a user; references are put into its atom order.
    """
    records = sorted(cache.select(source=source, split="dev").tolist(), key=lambda i: cache.facts[i]["name"])
    groups = [list(group) for _, group in itertools.groupby(records, key=lambda i: cache.facts[i]["name"])]
    chosen = np.unique(np.linspace(0, len(groups) - 1, min(limit, len(groups))).round().astype(int))
    found = []
    for group in (groups[k] for k in chosen):
        facts = cache.facts[group[0]]
        mol = standardise(facts["smiles"])
        plain = _plain(
            [a.GetAtomicNum() for a in mol.GetAtoms()],
            [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()],
        )
        positions = []
        for arrays in (cache[i] for i in group):
            order = _plain(arrays["z"].tolist(), arrays["bond"].tolist()).GetSubstructMatch(plain)
            positions.append(arrays["x"][list(order)])
        data = molecule_data(featurise(mol), theory=THEORY.get(source, "unknown"))
        found.append(Reference(facts["name"], mol, data, np.stack(positions)))
    return found


def sampled_scores(model: Model, references: Sequence[Reference]) -> dict[str, Any]:
    """Two conformers a reference from noise: recall, precision, and the share of wrong stereo, unchecked."""
    owners = [k for k, reference in enumerate(references) for _ in range(2 * len(reference.positions))]
    try:
        drawn = draw(model, references, owners)
    except NonFiniteSample as error:
        return {"error": str(error)}
    scores: list[EnsembleScores | None] = []
    stated = wrong = 0
    for k, reference in enumerate(references):
        made = np.stack([positions for owner, positions in zip(owners, drawn, strict=True) if owner == k])
        distances = rmsd_matrix(reference.mol, reference.positions, reference.mol, made)
        scores.append(ensemble_scores(distances, (THRESHOLD,)))
        arrays = featurise(reference.mol)
        if len(arrays["chiral"]) or len(arrays["cistrans"]):
            stated += len(made)
            wrong += sum(not stereo_matches(reference.mol, xyz) for xyz in made)
    summary = summarise(scores, (THRESHOLD,))
    kept = {key: summary[key] for key in ("molecules", "amr_r", "amr_p", "cov_r_0.5", "cov_p_0.5")}
    return {**kept, "conformers": len(drawn), "wrong_stereo": wrong / stated if stated else None}


def draw(model: Model, references: Sequence[Reference], owners: Sequence[int]) -> list[np.ndarray]:
    """One conformer of molecule ``owners[i]`` for each ``i``, ``(N, 3)`` Å."""
    results: list[np.ndarray] = [np.zeros((0, 3), np.float32)] * len(owners)
    molecules = [references[k].data for k in owners]
    for chunk in buckets([int(data.num_nodes) for data in molecules], PAIRS):
        graphs = model.recipe.see(collate([molecules[i] for i in chunk]))
        keys = torch.tensor([sample_key(references[owners[i]].name, i) for i in chunk])
        positions = sample(
            SelfConditioned(model.denoiser, graphs),
            model.process.sde,
            graphs.space(),
            solver=solver_by_name(SOLVER),
            grid=model.process.grid(CALLS),
            noise=Noise(_SAMPLES, keys),
        )
        for i, own in zip(chunk, torch.split(positions, torch.bincount(graphs.index).tolist()), strict=True):
            results[i] = own.numpy()
    return results


def mean_error(errors: Sequence[float]) -> float:
    """Geometric mean over the bands."""
    return math.exp(sum(map(math.log, errors)) / len(errors))


def _plain(numbers: Sequence[int], bonds: Sequence[Sequence[int]]) -> Mol:
    """Elements and connections alone, which do not depend on how a file writes charges and bond orders."""
    mol = Chem.RWMol()
    for number in numbers:
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for i, j in bonds:
        mol.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    return mol.GetMol()
