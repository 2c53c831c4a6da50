"""How well generated conformers cover a reference ensemble: RMSD, coverage and AMR.

For a molecule with references ``R`` and generated conformers ``G`` and ``d(r, g)`` the symmetric heavy-atom
RMSD (Ganea et al. 2021, "GeoMol", eqs. 9 and 10; Jing et al. 2022, "Torsional diffusion", section 4.2)::

    COV-R(δ) = share of r with min_g d(r, g) < δ        AMR-R = mean over r of min_g d(r, g)
    COV-P(δ) = share of g with min_r d(r, g) < δ        AMR-P = mean over g of min_r d(r, g)

Then the mean over molecules. A molecule without generated conformers has no RMSD at all. Papers count it
as 0 in COV and leave it out of AMR, which flatters AMR: :func:`summarise` gives both counts, COV with the
failures as 0 and without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import Mol, rdMolAlign

from scoregen.errors import InputError
from scoregen.molecules.stereo import with_positions

MAX_MATCHES = 10_000
"""Symmetric atom matches tried for an RMSD; beyond (e.g. several trityl groups) it is an upper bound."""

MAX_ALIGNMENTS = 3_000_000
"""Alignments made for the RMSD of all pairs of an ensemble, about five seconds."""


@dataclass(frozen=True)
class EnsembleScores:
    """Scores of one molecule; the coverages are in the order of the thresholds.

    Attributes:
        cov_r: share of references with a generated conformer nearer than each threshold.
        amr_r: Å, mean over references of the distance to the nearest generated conformer.
        cov_p: share of generated conformers with a reference nearer than each threshold.
        amr_p: Å, mean over generated conformers of the distance to the nearest reference.
    """

    cov_r: tuple[float, ...]
    amr_r: float
    cov_p: tuple[float, ...]
    amr_p: float


def heavy_graph(mol: Mol) -> Mol:
    """``mol`` without hydrogens and conformers, with atom property ``_index`` = index in ``mol``."""
    marked = Chem.Mol(mol)
    for atom in marked.GetAtoms():
        atom.SetIntProp("_index", atom.GetIdx())
    marked.RemoveAllConformers()
    return Chem.RemoveAllHs(marked, sanitize=False)


def rmsd_matrix(reference: Mol, references: np.ndarray, mol: Mol, generated: np.ndarray) -> np.ndarray:
    """Symmetric heavy-atom RMSD after optimal alignment, ``(len(references), len(generated))``, Å.

    Minimum over graph symmetries, at most :data:`MAX_MATCHES` of them; the two oxygens of a carboxylate and
    their like count as equal; stereo is not part of the match (RDKit ``GetBestRMS``). The two molecules may
    number their atoms differently.

    Args:
        reference: graph of the references, hydrogens explicit or not.
        references: ``(R, N, 3)``, Å.
        mol: graph of the generated conformers.
        generated: ``(G, M, 3)``, Å.

    Raises:
        InputError: the two molecules have different heavy-atom graphs.
    """
    ref, probe = heavy_graph(reference), heavy_graph(mol)
    if Chem.MolToSmiles(ref, isomericSmiles=False) != Chem.MolToSmiles(probe, isomericSmiles=False):
        raise InputError("the reference is another molecule than the generated one")
    if ref.GetNumAtoms() == 0:
        raise InputError("a molecule without heavy atoms has no heavy-atom RMSD")
    ref_mol, probe_mol = _with_conformers(ref, references), _with_conformers(probe, generated)
    distances = np.empty((len(references), len(generated)))
    for r in range(len(references)):
        for g in range(len(generated)):
            distances[r, g] = rdMolAlign.GetBestRMS(probe_mol, ref_mol, g, r, maxMatches=MAX_MATCHES)
    return distances


def pairwise_rmsd(mol: Mol, positions: np.ndarray) -> np.ndarray:
    """Symmetric heavy-atom RMSD between all pairs of geometries of one molecule, ``(M, M)``, Å.

    The same measure as :func:`rmsd_matrix`, with the symmetries found once: some 200,000 pairs/s for a
    molecule without any. Work is bounded: at most :data:`MAX_ALIGNMENTS` alignments, so that for hundreds of
    geometries of a molecule with hundreds of symmetric matches some matches go untried and the distance is
    an upper bound.

    Args:
        mol: the graph, hydrogens explicit or not.
        positions: ``(M, N, 3)``, Å.
    """
    count = len(positions)
    heavy = heavy_graph(mol)
    distances = np.zeros((count, count))
    if count < 2 or heavy.GetNumAtoms() < 2:
        return distances
    placed = _with_conformers(heavy, positions)
    lower = np.tril_indices(count, -1)
    matches = int(np.clip(MAX_ALIGNMENTS // len(lower[0]), 8, MAX_MATCHES))
    # RDKit lists the lower triangle row by row, as numpy does.
    distances[lower] = rdMolAlign.GetAllConformerBestRMS(placed, numThreads=1, maxMatches=matches)
    return distances + distances.T


def ensemble_scores(distances: np.ndarray, thresholds: Sequence[float] = (0.5,)) -> EnsembleScores:
    """Coverage and AMR of one molecule.

    Args:
        distances: ``(R, G)``, Å, both at least 1.
        thresholds: δ, Å.

    Raises:
        InputError: no reference or no generated conformer.
    """
    if distances.ndim != 2 or 0 in distances.shape:
        raise InputError(f"distances of shape {distances.shape}: need references and generated conformers")
    recall, precision = distances.min(1), distances.min(0)
    return EnsembleScores(
        tuple(float((recall < delta).mean()) for delta in thresholds),
        float(recall.mean()),
        tuple(float((precision < delta).mean()) for delta in thresholds),
        float(precision.mean()),
    )


def summarise(
    scores: Sequence[EnsembleScores | None], thresholds: Sequence[float] = (0.5,)
) -> dict[str, Any]:
    """Means over molecules; ``None`` is a molecule for which nothing was generated.

    Returns:
        ``molecules``, ``failures``, ``amr_r``, ``amr_p`` (Å, over the molecules that have scores), and for
        each threshold δ ``cov_r_δ``, ``cov_p_δ`` (failures count 0) and ``cov_r_δ_scored``,
        ``cov_p_δ_scored`` (failures left out). Means over nothing are ``None``.
    """
    scored = [score for score in scores if score is not None]
    result: dict[str, Any] = {
        "molecules": len(scores),
        "failures": len(scores) - len(scored),
        "amr_r": _mean([score.amr_r for score in scored], len(scored)),
        "amr_p": _mean([score.amr_p for score in scored], len(scored)),
    }
    for k, delta in enumerate(thresholds):
        for side, values in (
            ("cov_r", [score.cov_r[k] for score in scored]),
            ("cov_p", [score.cov_p[k] for score in scored]),
        ):
            result[f"{side}_{delta:g}"] = _mean(values, len(scores))
            result[f"{side}_{delta:g}_scored"] = _mean(values, len(scored))
    return result


def _mean(values: Sequence[float], count: int) -> float | None:
    return float(sum(values)) / count if count else None


def _with_conformers(heavy: Mol, positions: np.ndarray) -> Mol:
    keep = [atom.GetIntProp("_index") for atom in heavy.GetAtoms()]
    mol = Chem.Mol(heavy)
    for k, xyz in enumerate(np.asarray(positions, np.float64)):
        conformer = with_positions(heavy, xyz[keep]).GetConformer()
        conformer.SetId(k)
        mol.AddConformer(conformer)
    return mol
