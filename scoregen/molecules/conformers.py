"""3D conformers of molecules from a trained denoiser, with the stated stereo in every one.

A geometry is kept only if it shows every stereo element the input states and no broken bond or clash;
otherwise it is drawn again with fresh noise, a limited number of times.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.hub import Model, from_pretrained

from .chem import standardise
from .drawing import draw
from .ensemble import Conformer, Ensemble
from .features import featurise
from .finishing import finish
from .graph import molecule_data
from .relax import check_available
from .settings import THEORY, Settings
from .stereo import with_positions

__all__ = ["Conformer", "ConformerGenerator", "Ensemble", "Settings"]


class ConformerGenerator:
    """Generate conformers with a trained model.

    Example:
        >>> generator = ConformerGenerator.from_pretrained("conformer-small")         # doctest: +SKIP
        >>> mols = generator.generate("CC(=O)Oc1ccccc1C(=O)O", n=5, seed=0)           # doctest: +SKIP
    """

    def __init__(self, denoiser: Denoiser, name: str = "custom", info: Mapping[str, Any] | None = None):
        """Wrap a denoiser.

        Args:
            denoiser: the model.
            name: for records.
            info: provenance of the model, which says what levels of theory it knows.
        """
        self.denoiser, self.name, self.info = denoiser, name, dict(info or {})

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = "conformer-small", device: str = "cpu"
    ) -> ConformerGenerator:
        """Load a shipped model by name, or a model folder by path.

        Raises:
            InputError: not found, damaged, or of another modality.
        """
        model: Model = from_pretrained(name, "molecules", device)
        return cls(model.denoiser, model.name, model.info)

    @property
    def theories(self) -> frozenset[str]:
        """Levels of theory the model was told of in training; empty for a model that is told nothing."""
        trained = self.info.get("training", {}).get("data", {}).get("theory", {})
        return frozenset(trained.values())

    @property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        digest = hashlib.blake2b(digest_size=16)
        for key, value in self.denoiser.state_dict().items():
            digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def theory(self, asked: str = "auto") -> str:
        """What the network is told where ``asked`` is wanted (``auto``: the model's own, else GFN2-xTB).

        Raises:
            InputError: the model knows levels of theory, and this is none of them.
        """
        if asked == "auto":
            own = str(self.info.get("theory", THEORY))
            return own if own in self.theories else "unknown"
        if self.theories and asked not in {*self.theories, "unknown"}:
            known = ", ".join(sorted(self.theories))
            raise InputError(f"{self.name} has not learned '{asked}' geometries; it knows {known}")
        return asked

    def generate(
        self, molecule: str | Mol, n: int | str = 1, *, seed: int = 0, **settings: object
    ) -> list[Mol]:
        """Conformers of one molecule, each an RDKit molecule with hydrogens and one conformer.

        Args:
            molecule: SMILES or RDKit molecule; stated stereo is kept, open stereo is free.
            n: conformers wanted, or ``"auto"``.
            seed: any integer.
            settings: further fields of :class:`Settings`.

        Returns:
            At most ``n`` molecules: pruning, the energy window and the stereo check may leave fewer.

        Raises:
            InputError: the molecule cannot be used, a setting is out of range, or nothing passed the checks.
        """
        ensemble = self.ensembles([standardise(molecule)], Settings(n=n, seed=seed, **settings))[0]  # type: ignore[arg-type]
        if not ensemble.conformers:
            raise InputError(ensemble.problem or "no conformer was generated")
        if ensemble.problem is not None:
            warnings.warn(ensemble.problem, stacklevel=2)
        return [with_positions(ensemble.mol, positions) for positions in ensemble.positions]

    def ensembles(
        self,
        molecules: Sequence[Mol],
        settings: Settings,
        on_done: Callable[[int, int], None] | None = None,
    ) -> list[Ensemble]:
        """Conformers of many molecules, drawn in shared batches.

        Args:
            molecules: from :func:`scoregen.molecules.chem.standardise`.
            settings: what is wanted.
            on_done: called with (geometries accepted or given up, all).

        Raises:
            InputError: a setting that this model or this machine cannot serve.
        """
        check_available(settings.relax)
        if settings.sigma is not None and settings.sigma > self.denoiser.sde.t_max:
            raise InputError(f"--sigma must be at most {self.denoiser.sde.t_max:g} Å, got {settings.sigma:g}")
        ensembles = [Ensemble(mol) for mol in molecules]
        draw(self.denoiser, ensembles, settings, self.theory(settings.theory), on_done)

        def score(mol: Mol, positions: np.ndarray) -> np.ndarray:
            return self.log_likelihood(mol, positions, seed=settings.seed, theory=settings.theory)

        for ensemble in ensembles:
            wanted = settings.count(ensemble.mol)
            ensemble.missing = max(wanted - len(ensemble.conformers), 0)
            if ensemble.missing and ensemble.problem is None:
                ensemble.problem = (
                    f"{ensemble.missing} of {wanted} conformers failed the stereo and geometry checks "
                    "every time they were drawn and were not written; try another --seed or --init"
                )
            finish(ensemble, settings, score)
        return ensembles

    def log_likelihood(
        self, mol: Mol, positions: np.ndarray, *, seed: int = 0, theory: str = "auto"
    ) -> np.ndarray:
        """Log-likelihood of geometries under the model, ``(K,)``, nats; for ranking those of one molecule.

        Args:
            mol: from :func:`scoregen.molecules.chem.standardise`.
            positions: ``(K, N, 3)``, Å.
            seed: any integer; of the probes that estimate the divergence.
            theory: as in :class:`Settings`.
        """
        from .likelihood import log_likelihoods

        graph = molecule_data(featurise(mol), theory=self.theory(theory))
        return log_likelihoods(self.denoiser, graph, positions, seed=seed)
