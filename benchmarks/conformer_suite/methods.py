"""What is compared: RDKit and the model, each as a function from a SMILES and a number to conformers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from rdkit.Chem import Mol, rdDistGeom, rdForceFieldHelpers

from scoregen.errors import InputError
from scoregen.molecules.chem import standardise

from .options import Options

# A method makes n conformers of a SMILES: the graph with hydrogens and positions (n', N, 3), Å, n' <= n.
# It raises InputError where it makes none.
Method = Callable[[str, int], tuple[Mol, np.ndarray]]

PEERS = "ETKDGv3"
"""How the names of the peers' rows begin."""


def etkdg(
    smiles: str, n: int, *, seed: int, relax: bool, draws: float = 1.0, threads: int = 1
) -> tuple[Mol, np.ndarray]:
    """RDKit ETKDGv3, optionally followed by MMFF94s minimisation.

    Args:
        smiles: the molecule.
        n: conformers wanted.
        seed: of the embedding.
        relax: minimise, where MMFF94s has parameters.
        draws: geometries embedded (and minimised) for each one kept; above 1 the selection of the model's
            starts chooses: medoids of those that are not strained, where there are energies.
        threads: for both.
    """
    mol = standardise(smiles)
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed = (0xF00D + seed) % 2**31  # not 0: RDKit then makes n copies of one conformer
    settings.numThreads = threads
    rdDistGeom.EmbedMultipleConfs(mol, int(np.ceil(n * draws - 1e-9)), settings)
    shown = Mol(mol)  # MMFF rewrites the aromaticity of the molecule it works on: give it a copy
    energies: list[float | None] = [None] * shown.GetNumConformers()
    if relax and energies and rdForceFieldHelpers.MMFFHasAllMoleculeParams(shown):
        done = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
            shown, numThreads=threads, maxIters=2000, mmffVariant="MMFF94s"
        )
        energies = [energy for _, energy in done]
    positions = np.reshape(
        [conformer.GetPositions() for conformer in shown.GetConformers()], (-1, mol.GetNumAtoms(), 3)
    )
    mol.RemoveAllConformers()
    return mol, _selected(mol, positions, energies, n) if len(positions) > n else positions


def peers(options: Options) -> dict[str, Method]:
    """ETKDGv3 and ETKDGv3 + MMFF94s, and both with every selection that the model is given."""
    found: dict[str, Method] = {}
    for draws in (1.0, *sorted(set(options.draws) - {1.0})):
        chosen = "" if draws == 1 else f", ×{draws:g}" if draws else ", × as auto"
        for relax in (False, True):
            name = PEERS + (" + MMFF94s" if relax else "") + chosen
            found[name] = _peer(options.seed, relax, draws)
    return found


def variants(label: str, options: Options) -> dict[str, dict[str, Any]]:
    """Settings of every combination of start, relaxation and selection asked for, by the name of its row.

    Draws that are left to the generator are not among the settings, nor told of in the name.
    """
    found: dict[str, dict[str, Any]] = {}
    for init, relax, draws in product(options.init, options.relax, options.draws):
        name = f"{label}, {init}" + (f" + {relax}" if relax != "none" else "")
        name += f", ×{draws:g}" if draws else ""
        found[name] = {"init": init, "relax": relax, **({"draws": draws} if draws else {})}
    return found


def model_method(generator: Any, options: Options, theory: str | None, **settings: Any) -> Method:
    """The generator with ``settings``; those the options leave open are the generator's own.

    Args:
        generator: a :class:`scoregen.molecules.conformers.ConformerGenerator`.
        options: of the section.
        theory: what ``theory=reference`` stands for in the section.
        settings: ``init``, ``relax`` and ``draws``.

    Raises:
        InputError: a setting is out of range: said once, not counted as a failure of every molecule.
    """
    from scoregen.molecules.settings import Settings  # here: it brings torch, which the peers do without

    given = dict(settings)
    optional = {
        "steps": options.steps,
        "sigma": options.sigma if given.get("init") != "noise" else None,
        "solver": options.solver,
        "theory": theory if options.theory == "reference" else options.theory,
    }
    given.update({key: value for key, value in optional.items() if value is not None})

    Settings(**given)

    def run(smiles: str, n: int) -> tuple[Mol, np.ndarray]:
        mols = generator.generate(smiles, n=n, seed=options.seed, **given)
        conformers = [conformer.GetPositions() for mol in mols for conformer in mol.GetConformers()]
        return mols[0], np.stack(conformers)

    return run


def model_methods(generator: Any, label: str, options: Options, theory: str | None) -> dict[str, Method]:
    """The model with each of its :func:`variants`."""
    return {
        name: model_method(generator, options, theory, **settings)
        for name, settings in variants(label, options).items()
    }


def default_draws(n: int) -> float:
    """Geometries that the generator draws for each conformer kept if left to choose, for ``n`` of them."""
    from scoregen.molecules.settings import Settings

    return Settings(n=n).oversampling


def _selected(mol: Mol, positions: np.ndarray, energies: list[float | None], n: int) -> np.ndarray:
    # Imported here: it brings torch, whose memory must not show in the peers' of section speed.
    from scoregen.molecules.starts import Start, representatives

    pool = [
        Start("etkdg" if energy is None else "mmff", xyz, energy)
        for xyz, energy in zip(positions, energies, strict=True)
    ]
    return np.stack([start.positions for start in representatives(mol, pool, n)])


def _peer(seed: int, relax: bool, draws: float) -> Method:
    def run(smiles: str, n: int) -> tuple[Mol, np.ndarray]:
        mol, positions = etkdg(smiles, n, seed=seed, relax=relax, draws=draws or default_draws(n))
        if not len(positions):
            raise InputError(f"{smiles}: ETKDG embeds none")
        return mol, positions

    return run
