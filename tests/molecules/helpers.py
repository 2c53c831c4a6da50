"""Molecules and small models shared by the tests of the molecules plugin."""

from __future__ import annotations

import numpy as np
import torch
from rdkit import Chem
from rdkit.Chem import AllChem

from scoregen.core.denoiser import Denoiser
from scoregen.molecules.chem import standardise
from scoregen.molecules.features import featurise
from scoregen.molecules.graph import MoleculeData, molecule_data
from scoregen.molecules.network import NetworkConfig
from scoregen.molecules.objective import ConformerModelConfig, build_denoiser

SMILES = ("CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O", "C/C=C/C(=O)O", "C[S@](=O)c1ccccc1", "CCO")


def with_geometry(smiles: str, seed: int = 1) -> tuple[Chem.Mol, np.ndarray]:
    """A molecule and an ETKDG geometry of it, centred."""
    mol = standardise(smiles)
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    positions = mol.GetConformer().GetPositions()
    mol.RemoveAllConformers()
    return mol, (positions - positions.mean(0)).astype(np.float32)


def data_for(smiles: str) -> MoleculeData:
    """A graph with positions."""
    mol, positions = with_geometry(smiles)
    return molecule_data({**featurise(mol), "x": positions})


def small_model(seed: int = 0) -> Denoiser:
    """A denoiser of the shipped architecture, small, with every weight random (outputs too)."""
    torch.manual_seed(seed)
    config = NetworkConfig(width=32, vectors=8, pair=16, heads=4, layers=2, radial=12)
    denoiser = build_denoiser(ConformerModelConfig(network=config))
    torch.nn.init.normal_(denoiser.network.out.weight, std=0.1)
    return denoiser.eval()
