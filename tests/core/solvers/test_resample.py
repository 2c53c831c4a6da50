"""Time travel: the noise it adds, the distribution it keeps, the calls it costs."""

import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, VP, Noise, ProductSDE, ProductSpace, karras_grid, sample
from scoregen.core.solvers import DDIM, DPMpp2M, Heun, Resampled
from scoregen.core.solvers.resample import travel
from scoregen.core.space import DenseSpace

from ..gaussian import example, noise, ratio_grid, space


@pytest.mark.parametrize("name", ["vp", "edm", "rectified_flow"])
def test_travelling_back_restores_the_marginal(name: str) -> None:
    """``(α_t/α_s) x_s + √(σ_t² − (α_t/α_s)²σ_s²) n`` of a marginal at s is the marginal at t."""
    problem, size = example(name), 20000
    grid, batch = ratio_grid(problem.sde, 6), space(size)
    data = problem.mean + problem.std * noise(size, 1).normal(batch, 0)
    x = grid.alpha[4] * data + grid.sigma[4] * noise(size, 2).normal(batch, 0)
    drawn = noise(size, 3)
    back = travel(x, 1, 4, grid, lambda i, stage=0: drawn.normal(batch, i, stage), 1)
    variance = problem.variance(grid.alpha[1], grid.sigma[1])
    error = (back.mean(0) - grid.alpha[1] * problem.mean) / variance.sqrt()
    assert float(error.abs().max()) < 4.5 / size**0.5
    torch.testing.assert_close(back.var(0), variance, rtol=0.05, atol=0)


def test_travelling_with_one_schedule_a_field() -> None:
    sde = ProductSDE({"a": EDM(), "b": VP()})
    fields = {name: DenseSpace((20000, 1), dtype=torch.float64) for name in ("a", "b")}
    batch = ProductSpace(fields)
    grid = ratio_grid_of(sde).on(batch)
    drawn = noise(20000, 3)
    back = travel(batch.zeros(), 0, 2, grid, lambda i, stage=0: drawn.normal(batch, i, stage), 1)
    for f, part in enumerate(batch.unpack(back).values()):
        ratio = grid.alpha[0, f] / grid.alpha[2, f]
        expected = (grid.sigma[0, f] ** 2 - (ratio * grid.sigma[2, f]) ** 2).sqrt()
        torch.testing.assert_close(part.std(), expected, rtol=0.03, atol=0)


def ratio_grid_of(sde):
    from scoregen.core import Grid

    return Grid(sde, torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64))


def result(solver, steps: int = 40, size: int = 6000) -> Tensor:
    problem = example("vp")
    return sample(
        problem.denoise,
        problem.sde,
        space(size),
        solver=solver,
        grid=karras_grid(problem.sde, steps),
        noise=noise(size),
    )


@pytest.mark.parametrize("solver", [Heun(), DPMpp2M()], ids=["heun", "dpmpp-2m"])
def test_without_a_guide_the_distribution_stays(solver) -> None:
    problem, drawn = example("vp"), result(Resampled(solver, times=3, jump=10))
    assert float(((drawn.mean(0) - problem.mean) / problem.std).abs().max()) < 0.06
    torch.testing.assert_close(drawn.std(0), problem.std, rtol=0.05, atol=0)


def test_one_pass_is_the_solver_itself() -> None:
    assert torch.equal(result(Resampled(DDIM(1.0), times=1, jump=3), size=4), result(DDIM(1.0), size=4))


@pytest.mark.parametrize(("times", "jump"), [(1, 1), (3, 1), (2, 4), (4, 20)])
def test_every_block_is_repeated_a_shorter_last_one_too(times: int, jump: int) -> None:
    problem, seen = example("edm"), []
    grid = karras_grid(EDM(), 10)

    def denoise(x: Tensor, t: Tensor):
        seen.append(int((grid.times == t).nonzero()[0]))
        return problem.denoise(x, t)

    sample(
        denoise,
        EDM(),
        space(2),
        solver=Resampled(DDIM(), times=times, jump=jump),
        grid=grid,
        noise=noise(2),
    )
    blocks = [list(range(10))[i : i + jump] for i in range(0, 10, jump)]
    assert seen == [i for block in blocks for i in block * times]


def test_no_two_draws_share_a_key() -> None:
    problem, keys = example("edm"), []
    keyed, batch = noise(2), space(2)

    def draw(step: int, stage: int = 0) -> Tensor:
        keys.append((step, stage))
        return keyed.normal(batch, step, stage)

    grid, solver = karras_grid(EDM(), 9), Resampled(DDIM(1.0), times=4, jump=2)
    carry = solver.init(80 * draw(-1))
    for i in range(9):
        carry = solver.step(carry, i, grid, problem.denoise, draw)
    assert len(keys) == len(set(keys))


def test_batches_of_one_and_seven_shuffled() -> None:
    problem, ids = example("vp"), torch.tensor([3, 0, 6, 1, 5, 2, 4])

    def run(which: Tensor) -> Tensor:
        return sample(
            problem.denoise,
            problem.sde,
            space(len(which)),
            solver=Resampled(DDIM(1.0), times=3, jump=2),
            grid=karras_grid(problem.sde, 10),
            noise=Noise(0, which),
        )

    whole = run(ids)
    torch.testing.assert_close(torch.cat([run(one) for one in ids.split(1)]), whole, atol=1e-12, rtol=0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="times and jump must be at least 1, got 0 and 1"):
        Resampled(DDIM(), times=0)
    with pytest.raises(ValueError, match="got 2 and 0"):
        Resampled(DDIM(), times=2, jump=0)
