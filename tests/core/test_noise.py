"""Keyed noise: the generator's published vectors, the distribution, and independence from the batch."""

import pytest
import torch
from scipy import stats

from scoregen.core import DenseSpace, Noise, RaggedSpace
from scoregen.core.noise import philox4x32

from .test_space import factor_space, matrix


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, expected: str) -> None:
    """The vectors of Random123's ``kat_vectors`` for philox4x32-10."""
    words = tuple(torch.tensor(int(word, 16)) for word in counter.split())
    first, second = (int(word, 16) for word in key.split())
    result = philox4x32(words, (first, second))  # type: ignore[arg-type]
    assert [f"{int(word):08x}" for word in result] == expected.split()


def dense(size: int, *shape: int) -> DenseSpace:
    return DenseSpace((size, *shape), dtype=torch.float64)


def test_normals_are_normal() -> None:
    x = Noise(7, torch.arange(50)).white(dense(50, 2000), 3).flatten()
    assert stats.kstest(x.numpy(), "norm").pvalue > 1e-3
    assert float(x.mean()) == pytest.approx(0.0, abs=4.5 / len(x) ** 0.5)
    assert float(x.var()) == pytest.approx(1.0, abs=4.5 * (2 / len(x)) ** 0.5)
    assert float((x**4).mean()) == pytest.approx(3.0, abs=4.5 * (96 / len(x)) ** 0.5)
    # Both branches of Box–Muller, and neighbours within one block.
    assert abs(float((x[::2] * x[1::2]).mean())) < 4.5 / (len(x) / 2) ** 0.5
    assert abs(float((x[::2] ** 2 * x[1::2] ** 2).mean()) - 1) < 4.5 * (8 / (len(x) / 2)) ** 0.5


def test_uniforms_are_uniform_and_never_zero() -> None:
    u = Noise(7, torch.arange(100_000)).uniform(2)
    assert stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    assert float(u.min()) > 0
    assert float(u.max()) <= 1


def test_gumbels_are_gumbel_and_choose_with_the_given_chances() -> None:
    space, noise = dense(50, 2000), Noise(7, torch.arange(50))
    g = noise.gumbel(space, 3)
    assert stats.kstest(g.flatten().numpy(), "gumbel_r").pvalue > 1e-3
    assert torch.equal(g, noise.gumbel(space, 3))
    p = torch.tensor([0.7, 0.25, 0.05, 0.0], dtype=torch.float64)
    chosen = (p.log() + g.reshape(-1, 4)).argmax(-1)
    shares = torch.bincount(chosen, minlength=4) / len(chosen)
    torch.testing.assert_close(shares, p, atol=4.5 / len(chosen) ** 0.5, rtol=0, check_dtype=False)
    assert float(shares[3]) == 0


@pytest.mark.parametrize(
    "other",
    [
        lambda s: Noise(1, torch.arange(20)).white(s, 0),
        lambda s: Noise(2**32, torch.arange(20)).white(s, 0),
        lambda s: Noise(-1, torch.arange(20)).white(s, 0),
        lambda s: Noise(0, torch.arange(20) + 20).white(s, 0),
        lambda s: Noise(0, torch.arange(20) + 2**40).white(s, 0),
        lambda s: Noise(0, torch.arange(20)).white(s, 1),
        lambda s: Noise(0, torch.arange(20)).white(s, -1),
        lambda s: Noise(0, torch.arange(20)).white(s, 0, stage=1),
        lambda s: Noise(0, torch.arange(20), offset=1000).white(s, 0),
    ],
)
def test_every_part_of_the_key_gives_independent_noise(other) -> None:
    space = dense(20, 1000)
    one, two = Noise(0, torch.arange(20)).white(space, 0).flatten(), other(space).flatten()
    assert abs(float((one * two).mean())) < 4.5 / len(one) ** 0.5
    assert len(torch.unique(torch.cat([one, two]))) > 1.999 * len(one)


def test_the_same_key_gives_the_same_bits() -> None:
    space = dense(3, 11)
    noise = Noise(5, torch.tensor([3, 1, 3]))
    first, second = noise.white(space, 4), noise.white(space, 4)
    assert torch.equal(first, second)
    assert torch.equal(first[0], first[2])


def test_batch_of_one_seven_sixtyfour_shuffled() -> None:
    ids = torch.randperm(64, generator=torch.Generator().manual_seed(0)) + 10**12
    whole = Noise(9, ids).white(dense(64, 33), 5)
    for chunk in (1, 7):
        parts = [Noise(9, part).white(dense(len(part), 33), 5) for part in ids.split(chunk)]
        assert torch.equal(torch.cat(parts), whole)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Noise(9, ids[order]).white(dense(64, 33), 5), whole[order])


def test_ragged_samples_do_not_feel_their_neighbours() -> None:
    counts = torch.tensor([3, 8, 1, 5])
    index = torch.repeat_interleave(torch.arange(4), counts)
    whole = Noise(2, torch.arange(4)).white(RaggedSpace(index, 4, dtype=torch.float64), 0)
    for b, part in enumerate(whole.split(counts.tolist())):
        alone = RaggedSpace(torch.zeros(len(part), dtype=torch.int64), 1, dtype=torch.float64)
        assert torch.equal(Noise(2, torch.tensor([b])).white(alone, 0), part)


@pytest.mark.parametrize("features", [(), (3,)])
def test_chunks_with_an_offset_equal_the_whole(features: tuple[int, ...]) -> None:
    """Odd and even starts: a Box–Muller pair may be cut in two by a chunk."""
    ids = torch.arange(4)
    whole = Noise(3, ids).white(dense(4, 50, *features), 1)
    for cuts in ([7, 20, 23], [1, 1, 48], [50], [16, 34]):
        start, parts = 0, []
        for length in cuts:
            parts.append(Noise(3, ids, offset=start).white(dense(4, length, *features), 1))
            start += length
        assert torch.equal(torch.cat(parts, dim=1), whole)


def test_the_dtype_of_the_space_does_not_change_the_draw() -> None:
    ids = torch.arange(5)
    wide = Noise(0, ids).white(dense(5, 9), 0)
    narrow = Noise(0, ids).white(DenseSpace((5, 9)), 0)
    assert torch.equal(wide.to(torch.float32), narrow)


def test_shaped_noise_has_the_covariance_of_its_space() -> None:
    draws = 20_000
    space = factor_space([5])
    root = matrix(space, space.color)
    big = factor_space([5] * draws)
    x = Noise(1, torch.arange(draws)).normal(big, 0).reshape(draws, -1)
    covariance = x.T @ x / draws
    expected = root @ root.T
    # Standard error of a covariance entry: √((Σ_ii Σ_jj + Σ_ij²)/n).
    error = ((expected.diagonal().outer(expected.diagonal()) + expected**2) / draws).sqrt()
    assert float(((covariance - expected).abs() / error).max()) < 5.0


def test_the_number_of_ids_must_fit() -> None:
    with pytest.raises(ValueError, match="3 sample ids for 2 samples"):
        Noise(0, torch.arange(3)).white(dense(2, 4), 0)


@pytest.mark.parametrize(("step", "stage"), [(2**23, 0), (-(2**23), 0), (0, 256), (0, -1)])
def test_keys_out_of_range_are_refused_instead_of_wrapping(step: int, stage: int) -> None:
    with pytest.raises(ValueError, match="noise keys are"):
        Noise(0, torch.arange(2)).white(DenseSpace((2, 3)), step, stage)


@pytest.mark.parametrize(
    "ids", [torch.tensor([0.0, 1.0]), torch.zeros(2, 1, dtype=torch.int64), torch.tensor(3)]
)
def test_ids_are_a_row_of_integers(ids: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"sample ids are integers \(B,\)"):
        Noise(0, ids)
