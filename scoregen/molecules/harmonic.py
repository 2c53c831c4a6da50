r"""The harmonic prior: Gaussian noise shaped by the bond graph.

Springs along bonds give the energy ``½ Σ_{bonds} |x_i − x_j|²``, whose Gaussian has covariance ``L⁺``, the
pseudo-inverse of the graph Laplacian (Jing et al., *EigenFold*, 2023; Hassan et al., *ET-Flow*, 2024). Noise
then keeps bonded atoms near each other, and whitened coordinates are about bond lengths: their standard
deviation is near 0.75 Å for organic molecules of any size. The null vector of L is the centre of mass.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.csgraph import laplacian

from scoregen.errors import InputError


def harmonic_factors(bonds: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Symmetric factor of the harmonic covariance.

    Args:
        bonds: ``(E, 2)`` atom indices, each bond once.
        n: number of atoms.

    Returns:
        ``A = L^{−½}`` on the complement of the mean and its pseudo-inverse ``L^{½}``, both float32
        ``(n, n)``; and ``log det⁺ L⁺``.

    Raises:
        InputError: the graph is not connected, so the noise between its parts would be infinite.
    """
    adjacency = np.zeros((n, n))
    adjacency[bonds[:, 0], bonds[:, 1]] = adjacency[bonds[:, 1], bonds[:, 0]] = 1.0
    values, vectors = np.linalg.eigh(laplacian(adjacency))
    if n > 1 and values[1] < 1e-8:
        raise InputError("the molecule has more than one fragment; give one fragment at a time")
    values, vectors = values[1:], vectors[:, 1:]
    root = np.sqrt(values)
    factor = (vectors / root) @ vectors.T
    inverse = (vectors * root) @ vectors.T
    return factor.astype(np.float32), inverse.astype(np.float32), float(-np.log(values).sum())
