"""Spaces as linear maps: every claim is checked against the dense matrix of the map."""

import pytest
import torch
from torch import Tensor

from scoregen.core import DenseSpace, FactorSpace, RaggedSpace, Space

F64 = torch.float64


def path_laplacian(count: int) -> Tensor:
    """Graph Laplacian of a chain, with unequal spring constants."""
    matrix = torch.zeros(count, count, dtype=F64)
    for i in range(count - 1):
        k = 1.0 + 0.3 * i
        matrix[i, i] += k
        matrix[i + 1, i + 1] += k
        matrix[i, i + 1] -= k
        matrix[i + 1, i] -= k
    return matrix


def factor_space(counts: list[int], dtype: torch.dtype = F64) -> FactorSpace:
    """Harmonic noise on chains: Σ is the pseudo-inverse of each Laplacian."""
    size, most = len(counts), max(counts)
    factor, inverse = torch.zeros(size, most, most, dtype=F64), torch.zeros(size, most, most, dtype=F64)
    log_det = torch.zeros(size, dtype=F64)
    for count in sorted(set(counts)):
        values, vectors = torch.linalg.eigh(path_laplacian(count))
        values, vectors = values[1:], vectors[:, 1:]
        same = torch.tensor(counts) == count
        factor[same, :count, :count] = vectors @ torch.diag(values**-0.5) @ vectors.T
        inverse[same, :count, :count] = vectors @ torch.diag(values**0.5) @ vectors.T
        log_det[same] = -values.log().sum()
    index = torch.repeat_interleave(torch.arange(size), torch.tensor(counts))
    return FactorSpace(index, size, center=True, dtype=dtype, factor=factor, inverse=inverse, log_det=log_det)


def examples() -> dict[str, Space]:
    index = torch.tensor([0, 0, 0, 1, 2, 2])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    scale = torch.linspace(0.2, 2.0, 12, dtype=F64).reshape(3, 4)
    return {
        "dense": DenseSpace((3, 2, 2), dtype=F64),
        "dense-scaled": DenseSpace((3, 4), scale=scale, dtype=F64),
        "dense-masked": DenseSpace((3, 4), scale=scale, mask=mask, dtype=F64),
        "dense-channels": DenseSpace((3, 4, 2), scale=scale[..., None], mask=mask[..., None], dtype=F64),
        "ragged": RaggedSpace(index, 3, dtype=F64),
        "ragged-centred": RaggedSpace(index[index != 1].clamp(max=1), 2, center=True, dtype=F64),
        "factor": factor_space([4, 2, 5]),
    }


SPACES = examples()
ALL = pytest.mark.parametrize("name", sorted(SPACES))


def random_state(space: Space, seed: int = 0) -> Tensor:
    return torch.randn(space.zeros().shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def matrix(space: Space, apply) -> Tensor:
    """The linear map ``apply`` as a dense matrix over the flattened state."""
    zero = space.zeros()
    columns = []
    for i in range(zero.numel()):
        basis = zero.clone().flatten()
        basis[i] = 1.0
        columns.append(apply(basis.reshape(zero.shape)).flatten())
    return torch.stack(columns, dim=1)


def owners(space: Space) -> Tensor:
    """Sample of every scalar of the flattened state."""
    sample, _ = space.positions()
    return sample.repeat_interleave(space.zeros().numel() // len(sample))


@ALL
def test_it_is_a_space(name: str) -> None:
    assert isinstance(SPACES[name], Space)


@ALL
def test_projection_is_idempotent_and_orthogonal(name: str) -> None:
    projection = matrix(SPACES[name], SPACES[name].project)
    torch.testing.assert_close(projection @ projection, projection, atol=1e-12, rtol=0)
    torch.testing.assert_close(projection.T, projection, atol=1e-12, rtol=0)


@ALL
def test_dof_is_the_rank_of_the_projection(name: str) -> None:
    space = SPACES[name]
    diagonal = matrix(space, space.project).diagonal()
    trace = torch.zeros(space.size, dtype=F64).index_add(0, owners(space), diagonal)
    torch.testing.assert_close(space.dof(), trace, atol=1e-10, rtol=0)


@ALL
def test_whiten_inverts_color_on_the_projected_space(name: str) -> None:
    space, z = SPACES[name], random_state(SPACES[name])
    torch.testing.assert_close(space.whiten(space.color(z)), space.project(z), atol=1e-10, rtol=0)
    torch.testing.assert_close(space.color(space.whiten(z)), space.project(z), atol=1e-10, rtol=0)


@ALL
def test_noise_stays_in_the_projected_space(name: str) -> None:
    space = SPACES[name]
    colored = space.color(random_state(space))
    torch.testing.assert_close(space.project(colored), colored, atol=1e-12, rtol=0)


@ALL
def test_logdet_is_that_of_the_covariance(name: str) -> None:
    space = SPACES[name]
    root = matrix(space, space.color)
    covariance = root @ root.T
    expected = []
    for b in range(space.size):
        own = owners(space) == b
        values = torch.linalg.eigvalsh(covariance[own][:, own])
        kept = values[values > 1e-10]
        assert len(kept) == int(space.dof()[b])
        expected.append(kept.log().sum())
    torch.testing.assert_close(space.logdet(), torch.stack(expected), atol=1e-8, rtol=0)


@ALL
def test_samples_do_not_mix(name: str) -> None:
    space = SPACES[name]
    owner = owners(space)
    for apply in (space.project, space.color, space.whiten):
        other = owner[:, None] != owner[None, :]
        assert float(matrix(space, apply)[other].abs().max()) == 0.0


@ALL
def test_sum_and_expand_agree_with_the_owners(name: str) -> None:
    space, x = SPACES[name], random_state(SPACES[name])
    expected = torch.zeros(space.size, dtype=F64).index_add(0, owners(space), x.flatten())
    torch.testing.assert_close(space.sum(x), expected)
    values = torch.arange(space.size, dtype=F64) + 1
    wide = space.expand(values, x) * torch.ones_like(x)
    assert torch.equal(wide.flatten(), values[owners(space)])
    assert space.expand(torch.tensor(2.0), x).ndim == 0


def test_harmonic_covariance_is_the_pseudo_inverse_laplacian() -> None:
    space = factor_space([5])
    root = matrix(space, space.color)
    expected = torch.kron(torch.linalg.pinv(path_laplacian(5)), torch.eye(3, dtype=F64))
    torch.testing.assert_close(root @ root.T, expected, atol=1e-10, rtol=0)


def test_a_sample_does_not_feel_its_batch() -> None:
    """The padding another, larger sample brings must not change the maps of a small one."""
    alone, together = factor_space([4]), factor_space([4, 9])
    x = random_state(together)
    for apply in ("color", "whiten", "project"):
        one, two = getattr(alone, apply)(x[:4]), getattr(together, apply)(x)[:4]
        torch.testing.assert_close(one, two, atol=1e-13, rtol=0)


def test_padding_stays_zero() -> None:
    space = SPACES["dense-masked"]
    assert float(space.color(random_state(space))[~space.mask].abs().max()) == 0.0


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: DenseSpace(()), "batch first"),
        (lambda: DenseSpace((0, 2)), "batch first"),
        (lambda: DenseSpace((2, 3), scale=torch.tensor([1.0, 0.0, 1.0])), "positive"),
        (lambda: DenseSpace((2, 3), scale=torch.tensor([1.0, float("nan"), 1.0])), "positive"),
        (lambda: RaggedSpace(torch.tensor([0, 1, 0]), 2), "non-decreasing"),
        (lambda: RaggedSpace(torch.tensor([[0, 1]]), 2), "one-dimensional"),
        (lambda: RaggedSpace(torch.tensor([0, 2]), 3), "at least one element"),
        (lambda: RaggedSpace(torch.tensor([0, 1, 2]), 2), "at least one element"),
        (lambda: RaggedSpace(torch.tensor([-1, 0]), 1), "sample index"),
        (lambda: FactorSpace(torch.tensor([0, 0]), 1), "factor must have shape"),
        (
            lambda: FactorSpace(
                torch.tensor([0, 0]), 1, factor=torch.zeros(1, 2, 2), inverse=torch.zeros(1, 2, 2)
            ),
            "log_det must have shape",
        ),
    ],
)
def test_impossible_spaces_are_refused(make, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()
