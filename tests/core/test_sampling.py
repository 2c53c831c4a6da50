"""``sample``: independence from the batch, partial noising, guides, callbacks and refusals."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from scoregen.core import (
    EDM,
    VP,
    Denoiser,
    DenseSpace,
    Grid,
    Noise,
    NonFiniteSample,
    Prediction,
    karras_grid,
    log_snr_grid,
    sample,
)
from scoregen.core.solvers import DDIM, SOLVERS, Heun, Solver, solver_by_name

from .gaussian import example, noise, ratio_grid, space
from .test_losses import Silent
from .test_space import factor_space

ALL = pytest.mark.parametrize("solver", sorted(SOLVERS))


def draw(
    name: str, ids: torch.Tensor, solver: Solver | None = None, grid: Grid | None = None
) -> torch.Tensor:
    """Samples of a Gaussian, by a solver and on a grid made here or given."""
    problem = example("vp")
    return sample(
        problem.denoise,
        problem.sde,
        space(len(ids)),
        solver=solver or solver_by_name(name),
        grid=grid or ratio_grid(problem.sde, 20, high=30.0, low=0.05, power=0),
        noise=Noise(4, ids),
    )


@ALL
def test_batches_of_one_seven_and_sixtyfour_shuffled(solver: str) -> None:
    ids = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    whole = draw(solver, ids)
    for size in (1, 7):
        parts = torch.cat([draw(solver, part) for part in ids.split(size)])
        torch.testing.assert_close(parts, whole, atol=1e-12, rtol=0)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(draw(solver, ids[order]), whole[order], atol=1e-12, rtol=0)


@ALL
def test_ragged_harmonic_batches_do_not_couple(solver: str) -> None:
    """Graphs of different sizes, one at a time and all together."""
    counts = [4, 9, 2, 6]
    denoiser = Denoiser(Silent(), EDM(), 0.8)

    def run(which: list[int]) -> list[torch.Tensor]:
        batch = factor_space([counts[b] for b in which])
        result = sample(
            lambda x, t: denoiser(x, t, batch),
            EDM(),
            batch,
            solver=solver_by_name(solver),
            grid=ratio_grid(EDM(), 40, high=20.0, low=0.05, power=0),
            noise=Noise(0, torch.tensor(which)),
        )
        return list(result.split([counts[b] for b in which]))

    together, backwards = run([0, 1, 2, 3]), run([3, 2, 1, 0])[::-1]
    for b in range(4):
        torch.testing.assert_close(run([b])[0], together[b], atol=1e-12, rtol=0)
        torch.testing.assert_close(backwards[b], together[b], atol=1e-12, rtol=0)
        torch.testing.assert_close(
            together[b].mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0
        )


@ALL
def test_threads_share_a_solver(solver: str) -> None:
    """One solver and one grid, whose plans the threads race to make: every run gives the same bits."""
    shared = solver_by_name(solver)
    grid = ratio_grid(example("vp").sde, 20, high=30.0, low=0.05, power=0)

    def run(i: int) -> torch.Tensor:
        return draw(solver, torch.arange(i, i + 5), shared, grid)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(8)))
    for i, result in enumerate(results):
        assert torch.equal(result, draw(solver, torch.arange(i, i + 5)))


def test_seeds_and_ids_matter() -> None:
    one = draw("heun", torch.tensor([1, 2]))
    assert not torch.allclose(one[0], one[1])
    assert torch.equal(one, draw("heun", torch.tensor([1, 2])))


def test_partial_noising_starts_at_the_noised_data() -> None:
    problem, keyed, batch = example("vp"), noise(4), space(4)
    start, seen = torch.full((4, 3), 2.0, dtype=torch.float64), []
    grid = ratio_grid(problem.sde, 4, high=0.5, low=0.1)
    sample(
        problem.denoise,
        problem.sde,
        batch,
        solver=DDIM(),
        grid=grid,
        noise=keyed,
        start=start,
        on_step=lambda i, prediction: seen.append(prediction.x),
    )
    torch.testing.assert_close(seen[0], grid.alpha[0] * start + grid.sigma[0] * keyed.normal(batch, -1))


def test_guides_wrap_from_left_to_right() -> None:
    problem, calls = example("edm"), []

    def guide(name: str):
        def wrap(denoise):
            def guided(x, t):
                calls.append(name)
                return denoise(x, t)

            return guided

        return wrap

    options = {"solver": DDIM(), "grid": karras_grid(EDM(), 1), "noise": noise(2)}
    sample(problem.denoise, EDM(), space(2), guides=[guide("first"), guide("second")], **options)
    assert calls == ["second", "first"]


def test_a_guide_changes_the_result() -> None:
    problem = example("edm")

    def towards(target: float):
        def wrap(denoise):
            def guided(x, t):
                p = denoise(x, t)
                return Prediction(torch.full_like(p.x0, target), p.x, p.alpha, p.sigma)

            return guided

        return wrap

    result = sample(
        problem.denoise,
        EDM(),
        space(3),
        solver=Heun(),
        grid=karras_grid(EDM(), 8),
        noise=noise(3),
        guides=[towards(7.0)],
    )
    torch.testing.assert_close(result, torch.full((3, 3), 7.0, dtype=torch.float64), atol=1e-3, rtol=0)


@ALL
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_values_are_refused_and_their_samples_named(solver: str, bad: float) -> None:
    problem = example("vp")

    def broken(x, t):
        p = problem.denoise(x, t)
        x0 = p.x0.clone()
        x0[2] = bad
        return Prediction(x0, p.x, p.alpha, p.sigma)

    with pytest.raises(NonFiniteSample, match=r"samples \[2\]"):
        sample(
            broken,
            problem.sde,
            space(5),
            solver=solver_by_name(solver),
            grid=ratio_grid(problem.sde, 6),
            noise=noise(5),
        )


def test_another_process_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="another process"):
        sample(
            example("vp").denoise,
            VP(),
            space(2),
            solver=DDIM(),
            grid=log_snr_grid(VP(beta_max=10.0), 3),
            noise=noise(2),
        )


def test_no_gradient_graph_is_kept() -> None:
    denoiser = Denoiser(torch.nn.Identity(), EDM())
    denoiser.network.forward = lambda x, level, space, cond: scale * x  # type: ignore[assignment]
    scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    result = sample(
        lambda x, t: denoiser(x, t, space(2)),
        EDM(),
        space(2),
        solver=DDIM(),
        grid=karras_grid(EDM(), 3),
        noise=noise(2),
    )
    assert not result.requires_grad


@ALL
def test_estimates_that_leak_into_padding_do_not_reach_the_sample(solver: str) -> None:
    """Masked elements stay exactly zero whatever the denoiser says there."""
    mask = torch.tensor([[True, True, False], [True, False, False]])
    batch = DenseSpace((2, 3), mask=mask, dtype=torch.float64)
    problem = example("vp")

    def leaky(x: torch.Tensor, t: torch.Tensor) -> Prediction:
        p = problem.denoise(x, t)
        return Prediction(p.x0 + 1.0, p.x, p.alpha, p.sigma)

    grid = ratio_grid(problem.sde, 6, high=30.0, low=0.05, power=0)
    out = sample(leaky, problem.sde, batch, solver=solver_by_name(solver), grid=grid, noise=noise(2))
    assert bool((out[~mask] == 0).all())
    assert bool((out[mask] != 0).all())


@pytest.mark.parametrize("shape", [(1, 3), (4, 4), (3,)])
def test_a_start_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    problem = example("vp")
    with pytest.raises(ValueError, match=r"start must be a state of shape \(4, 3\)"):
        sample(
            problem.denoise,
            problem.sde,
            space(4),
            solver=DDIM(),
            grid=ratio_grid(problem.sde, 3),
            noise=noise(4),
            start=torch.zeros(shape, dtype=torch.float64),
        )
