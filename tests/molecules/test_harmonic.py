import numpy as np
import pytest

from scoregen.errors import InputError
from scoregen.molecules.harmonic import harmonic_factors


def laplacian(bonds: np.ndarray, n: int) -> np.ndarray:
    matrix = np.zeros((n, n))
    for i, j in bonds:
        matrix[i, i] += 1
        matrix[j, j] += 1
        matrix[i, j] -= 1
        matrix[j, i] -= 1
    return matrix


RING = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4], [4, 5]])


def test_factor_squares_to_the_pseudo_inverse_of_the_laplacian():
    factor, inverse, log_det = harmonic_factors(RING, 6)
    expected = np.linalg.pinv(laplacian(RING, 6))
    np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-5)
    np.testing.assert_allclose(factor @ inverse, np.eye(6) - 1 / 6, atol=1e-5)
    eigenvalues = np.linalg.eigvalsh(expected)
    assert log_det == pytest.approx(np.log(eigenvalues[eigenvalues > 1e-9]).sum(), abs=1e-6)


def test_bond_noise_has_unit_order_and_mean_is_removed():
    factor, _, _ = harmonic_factors(RING, 6)
    np.testing.assert_allclose(factor.sum(0), 0, atol=1e-5)
    noise = factor @ np.random.default_rng(0).normal(size=(6, 200_000))
    # In a tree edge the difference has variance 1; in a ring of five, 4/5 (resistance distance).
    assert np.var(noise[4] - noise[5]) == pytest.approx(1.0, abs=0.02)
    assert np.var(noise[0] - noise[1]) == pytest.approx(0.8, abs=0.02)


def test_two_fragments_are_refused():
    with pytest.raises(InputError, match="one fragment"):
        harmonic_factors(np.array([[0, 1], [2, 3]]), 4)


def test_single_atom():
    factor, inverse, log_det = harmonic_factors(np.zeros((0, 2), int), 1)
    assert factor.shape == (1, 1) and factor[0, 0] == 0 and inverse[0, 0] == 0 and log_det == 0
