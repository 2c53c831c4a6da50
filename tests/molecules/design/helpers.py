"""Small candidate models and caches shared by the tests of design."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from scoregen.core.denoiser import Denoiser
from scoregen.molecules.chem import standardise
from scoregen.molecules.design.encode import encode
from scoregen.molecules.design.generator import CandidateGenerator
from scoregen.molecules.design.network import CandidateNetworkConfig
from scoregen.molecules.design.objective import CandidateModelConfig, build_denoiser
from scoregen.molecules.design.prepare import prepare_candidates
from tests.molecules.samples import DATA

SMILES = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "C#N",
    "C[N+](C)(C)CC(=O)[O-]",
    "c1ccc2[nH]ccc2c1",
    "FC(F)(F)S(=O)(=O)N",
    "C=C",
)


def small_config(coordinates: bool = False, numbered: bool = True) -> CandidateModelConfig:
    network = CandidateNetworkConfig(
        width=32,
        pair=16,
        heads=4,
        layers=2,
        triangles=4,
        walks=4,
        numbered=numbered,
        coordinates=coordinates,
        vectors=4,
        radial=8,
    )
    return CandidateModelConfig(network=network)


def small_model(coordinates: bool = False, seed: int = 0, numbered: bool = True) -> Denoiser:
    """A denoiser of the shipped architecture, small, with every weight random (outputs too)."""
    torch.manual_seed(seed)
    denoiser = build_denoiser(small_config(coordinates, numbered))
    for parameter in denoiser.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return denoiser.eval()


def small_generator(coordinates: bool = False) -> CandidateGenerator:
    sizes = dict.fromkeys(range(3, 9), 1.0)
    return CandidateGenerator(small_model(coordinates), small_config(coordinates), "small", {"sizes": sizes})


def arrays(smiles: str, placed: bool = False) -> dict[str, np.ndarray]:
    """Arrays of a molecule, with made-up positions if wanted."""
    found = encode(standardise(smiles))
    if placed:
        rng = np.random.default_rng(len(smiles))
        x = rng.normal(size=(len(found["token"]), 3)).astype(np.float32) * 1.5
        found["x"] = x - x.mean(0)
    return found


@cache
def small_cache(folder: Path) -> Path:
    """A cache of the QM9 sample."""
    path = folder / "candidates"
    prepare_candidates([DATA / "qm9_xtb_sample.sdf", DATA / "cascade_dft_sample.sdf"], path, dev_fraction=0.2)
    return path
