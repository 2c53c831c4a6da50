"""3D conformers of molecules from a trained denoiser, with the stated stereo in every one.

A geometry is kept only if it shows every stereo element the input states and no broken bond or clash;
otherwise it is drawn again with fresh noise, a limited number of times.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from rdkit.Chem import Mol

from scoregen.core.denoiser import Denoiser
from scoregen.errors import InputError
from scoregen.hub import Model, from_pretrained

from .chem import standardise
from .drawing import draw
from .ensemble import Conformer, Ensemble
from .finishing import finish
from .settings import Settings
from .stereo import with_positions

__all__ = ["Conformer", "ConformerGenerator", "Ensemble", "Settings"]


class ConformerGenerator:
    """Generate conformers with a trained model.

    Example:
        >>> generator = ConformerGenerator.from_pretrained("conformer-small")         # doctest: +SKIP
        >>> mols = generator.generate("CC(=O)Oc1ccccc1C(=O)O", n=5, seed=0)           # doctest: +SKIP
    """

    def __init__(self, denoiser: Denoiser, name: str = "custom"):
        self.denoiser, self.name = denoiser, name

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = "conformer-small", device: str = "cpu"
    ) -> ConformerGenerator:
        """Load a shipped model by name, or a model folder by path.

        Raises:
            InputError: not found, damaged, or of another modality.
        """
        model: Model = from_pretrained(name, "molecules", device)
        return cls(model.denoiser, model.name)

    def generate(self, molecule: str | Mol, n: int = 1, *, seed: int = 0, **settings: object) -> list[Mol]:
        """Conformers of one molecule, each an RDKit molecule with hydrogens and one conformer.

        Args:
            molecule: SMILES or RDKit molecule; stated stereo is kept, open stereo is free.
            n: conformers wanted.
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
        """
        ensembles = [Ensemble(mol) for mol in molecules]
        counts = [settings.n for _ in molecules]
        draw(self.denoiser, ensembles, [settings.drawn(n) for n in counts], settings, on_done)
        for ensemble, n in zip(ensembles, counts, strict=True):
            ensemble.missing = max(n - len(ensemble.conformers), 0)
            if ensemble.missing and ensemble.problem is None:
                ensemble.problem = (
                    f"{ensemble.missing} of {n} conformers failed the stereo and geometry checks "
                    f"{settings.tries} times and were not written; try another --seed or --init"
                )
            finish(ensemble, n, settings)
        return ensembles
