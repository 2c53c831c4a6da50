"""Figures of a conformer model on molecules kept out of its fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.training.cache import Cache

from .chem import canonical_smiles, has_3d, standardise, stereo_from_3d
from .conformers import ConformerGenerator, Settings
from .metrics import EnsembleScores, ensemble_scores, rmsd_matrix, summarise
from .objective import ConformerTask
from .sdf import parse_block, read_blocks

PathLike = str | os.PathLike[str]
THRESHOLDS = (0.5, 0.75)
_DRAWS = 2  # noise draws of each development batch

Ensembles = list[tuple[Mol, np.ndarray]]


def development(sources: Sequence[PathLike], cache: Cache, most: int) -> Ensembles:
    """Molecules of the development part with their reference positions ``(R, N, 3)``, at most ``most``."""
    wanted = list(dict.fromkeys(f["smiles"] for f in cache.facts if f["split"] == "dev"))[:most]
    found: dict[str, tuple[Mol, list[np.ndarray]]] = {}
    for source in sources if wanted else []:
        for block in read_blocks(source):
            try:
                mol = parse_block(block)
            except InputError:
                continue
            if not has_3d(mol):
                continue
            smiles = canonical_smiles(stereo_from_3d(mol))
            if smiles not in wanted or mol.GetNumHeavyAtoms() < 2:
                continue
            first, positions = found.setdefault(smiles, (mol, []))
            order = mol.GetSubstructMatch(first)
            if len(order) == mol.GetNumAtoms() == first.GetNumAtoms():
                positions.append(mol.GetConformer().GetPositions()[list(order)])
    return [(mol, np.stack(positions)) for mol, positions in found.values() if positions]


def measure(
    denoiser: Denoiser, task: ConformerTask, ensembles: Ensembles, theory: str, seed: int
) -> dict[str, float]:
    """Denoising error on the development batches, and coverage of the development ensembles.

    Args:
        denoiser: the model.
        task: of the fine-tuning run, with its development batches.
        ensembles: from :func:`development`.
        theory: what the model is told when it generates: what it is told in training.
        seed: any integer.
    """
    device = next(denoiser.parameters()).device
    own = [k for k, pool in enumerate(task.dev_pools) if pool is not None]
    figures: dict[str, float] = {}
    if own:
        with torch.no_grad():
            # Keys that training never uses, so that the choice of the best weights has not seen this noise.
            losses = [
                float(task.loss(denoiser, batch.to(device), -1000 - _DRAWS * k - draw)["loss"])
                for k, batch in enumerate(task.dev_batches())
                for draw in range(_DRAWS)
            ]
        figures["denoising_error"] = float(np.mean(losses))
    if not ensembles:
        return figures
    generator = ConformerGenerator(denoiser)
    scores: list[EnsembleScores | None] = []
    for mol, references in ensembles:
        # Two generated for each reference is the field's convention; large ensembles need no more than 20.
        settings = Settings(n=min(2 * len(references), 20), seed=seed, theory=theory)
        made = generator.ensembles([standardise(mol)], settings)[0]
        if not made.positions:
            scores.append(None)
            continue
        distances = rmsd_matrix(mol, references, made.mol, np.stack(made.positions))
        scores.append(ensemble_scores(distances, THRESHOLDS))
    summary = summarise(scores, THRESHOLDS)
    names = ("molecules", "failures", "amr_r", "amr_p", *(f"cov_r_{t:g}" for t in THRESHOLDS))
    return figures | {name: summary[name] for name in names}
