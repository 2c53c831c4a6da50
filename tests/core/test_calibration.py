"""Calibrated grids: better on other noise, cheap, monotone, storable."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scoregen.core import (
    EDM,
    Grid,
    Noise,
    Prediction,
    RaggedSpace,
    RectifiedFlow,
    karras_grid,
    uniform_grid,
)
from scoregen.core.calibration import (
    Problem,
    calibrate,
    end_point_error,
    log_ratio,
    refined,
)
from scoregen.core.solvers import DDIM, DPMpp2M, EulerMaruyama

from .gaussian import Gaussian, example, noise, space

STEPS, BUDGET = 6, 400


def problem(data: Gaussian, grid: Grid, seed: int = 5) -> tuple[Problem, Tensor]:
    """Eight samples of other keys than the calibration uses, and their exact end points."""
    found = Problem(data.denoise, data.sde, space(8), noise(8, seed))
    start = grid.sigma[0] * noise(8, seed).normal(space(8), -1)
    return found, data.flow(start, grid.times[0], grid.times[-1])


@pytest.mark.parametrize("name", ["edm", "vp"])
@pytest.mark.parametrize("to_zero", [False, True])
def test_grid_is_better_on_other_noise_keys(name: str, to_zero: bool) -> None:
    data = example(name)
    grid = karras_grid(data.sde, STEPS, to_zero=to_zero)
    found = calibrate(
        data.denoise, data.sde, space(8), solver=DPMpp2M(), grid=grid, noise=noise(8), budget=BUDGET
    )
    held, exact = problem(data, grid)
    before = end_point_error(held, DPMpp2M(), grid, exact).square().mean().sqrt()
    after = end_point_error(held, DPMpp2M(), found.grid, exact).square().mean().sqrt()
    assert after < 0.5 * before
    assert found.after < 0.5 * found.before
    assert found.grid.steps == STEPS
    assert found.grid.times[0] == grid.times[0]
    assert found.grid.times[-1] == grid.times[-1]


def test_budget_is_kept_and_counted() -> None:
    data, calls = example("edm"), 0

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        nonlocal calls
        calls += 1
        return data.denoise(x, t)

    grid = karras_grid(data.sde, STEPS)
    found = calibrate(
        denoise, data.sde, space(4), solver=DDIM(), grid=grid, noise=noise(4), budget=150, reference_steps=24
    )
    assert found.calls <= 150
    assert found.calls + found.reference_calls == calls
    # Heun: two calls a step but for the last, which lands on the estimate.
    assert found.reference_calls == 2 * refined(grid, 24).steps - 1


def test_nothing_to_gain_returns_the_given_grid() -> None:
    data = example("edm")
    grid = karras_grid(data.sde, STEPS)
    for budget in (0, STEPS):
        found = calibrate(
            data.denoise, data.sde, space(4), solver=DDIM(), grid=grid, noise=noise(4), budget=budget
        )
        assert found.grid is grid
        assert found.after == found.before
    single = karras_grid(data.sde, 1, to_zero=False)
    found = calibrate(data.denoise, data.sde, space(4), solver=DDIM(), grid=single, noise=noise(4))
    assert found.grid is single
    assert found.calls == 1


def test_joint_search_picks_the_better_solver() -> None:
    data = example("edm")
    grid = karras_grid(data.sde, STEPS)
    solvers = {"ddim": DDIM(), "dpmpp-2m": DPMpp2M()}
    options = {"grid": grid, "noise": noise(8), "budget": BUDGET}
    found = calibrate(data.denoise, data.sde, space(8), solver=solvers, **options)
    alone = calibrate(data.denoise, data.sde, space(8), solver=DDIM(), **options)
    assert found.solver == "dpmpp-2m"
    assert found.after < alone.after
    assert found.calls <= BUDGET


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_start_without_signal_stays_and_its_neighbour_moves(steps: int) -> None:
    data = example("rectified_flow")
    grid = uniform_grid(data.sde, steps)
    found = calibrate(
        data.denoise, data.sde, space(8), solver=DDIM(), grid=grid, noise=noise(8), budget=30 * steps
    )
    assert found.grid.times[0] == 1.0
    assert found.grid.times[-1] == 0.0
    assert found.grid.steps == steps
    assert (found.after < found.before) == (steps > 1)


def test_given_reference_and_fresh_denoisers() -> None:
    data, made = example("edm"), 0

    def fresh():
        nonlocal made
        made += 1
        return data.denoise

    def forbidden(x: Tensor, t: Tensor) -> Prediction:
        raise AssertionError("the shared denoiser must not be used")

    grid = karras_grid(data.sde, 4, to_zero=False)
    start = grid.sigma[0] * noise(4).normal(space(4), -1)
    exact = data.flow(start, grid.times[0], grid.times[-1])
    options = {"solver": DDIM(), "grid": grid, "noise": noise(4), "budget": 80, "reference": exact}
    found = calibrate(forbidden, data.sde, space(4), fresh=fresh, **options)
    assert found.reference_calls == 0
    assert made == found.calls / 4
    # The search is deterministic.
    again = calibrate(data.denoise, data.sde, space(4), **options)
    assert torch.equal(again.grid.times, found.grid.times)


def test_starting_data_are_noised_to_the_grid() -> None:
    data = example("edm")
    grid = karras_grid(data.sde, 4, sigma_max=1.0)
    start = data.mean.expand(4, 3).clone()
    found = calibrate(
        data.denoise, data.sde, space(4), solver=DDIM(), grid=grid, noise=noise(4), start=start, budget=200
    )
    x = start + noise(4).normal(space(4), -1)
    exact = data.flow(x, grid.times[0], torch.tensor(0.0, dtype=torch.float64))
    held = Problem(data.denoise, data.sde, space(4), noise(4), start)
    error = end_point_error(held, DDIM(), found.grid, exact).square().mean().sqrt()
    assert float(error) == pytest.approx(found.after, rel=0.05)


def test_a_solver_that_explodes_is_refused_or_left() -> None:
    data = example("edm")

    def broken(x: Tensor, t: Tensor) -> Prediction:
        return Prediction(x / 0, x, *data.sde.marginal(t))

    options = {"grid": karras_grid(data.sde, 4), "noise": noise(4), "reference": torch.zeros(4, 3)}
    with pytest.raises(
        ValueError, match=r"no solver gives finite .* grid: DDIM over 4 steps gave non-finite"
    ):
        calibrate(broken, data.sde, space(4), solver=DDIM(), **options)
    # Euler–Maruyama refuses a start without signal: the other one is taken.
    flow = example("rectified_flow")
    found = calibrate(
        flow.denoise,
        flow.sde,
        space(4),
        solver={"em": EulerMaruyama(), "ddim": DDIM()},
        grid=uniform_grid(flow.sde, 4),
        noise=noise(4),
        budget=60,
    )
    assert found.solver == "ddim"


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_sample_without_freedom_has_no_error(power: float) -> None:
    """A lone centred atom in the batch: the others are calibrated as if it were not there."""
    data = example("edm")

    def search(index: list[int]):
        batch = RaggedSpace(torch.tensor(index), max(index) + 1, 3, center=True, dtype=torch.float64)

        def denoise(x: Tensor, t: Tensor) -> Prediction:
            p = data.denoise(x, t)
            return Prediction(batch.project(p.x0), x, p.alpha, p.sigma)

        keys = Noise(0, torch.arange(batch.size))
        grid = karras_grid(data.sde, 4)
        return calibrate(
            denoise, data.sde, batch, solver=DDIM(), grid=grid, noise=keys, budget=120, power=power
        )

    found, alone = search([0, 0, 0, 1]), search([0, 0, 0])
    assert 0 < found.after < found.before
    assert found.before == pytest.approx(alone.before / 2**0.5, rel=1e-6)


def test_what_the_denoiser_refuses_is_its_own_error() -> None:
    data = example("edm")

    def refusing(x: Tensor, t: Tensor) -> Prediction:
        raise ValueError("17 atoms are too many")

    options = {"grid": karras_grid(data.sde, 4), "noise": noise(4), "reference": torch.zeros(4, 3)}
    with pytest.raises(ValueError, match="17 atoms are too many"):
        calibrate(refusing, data.sde, space(4), solver=DDIM(), **options)


def test_wrong_arguments() -> None:
    data = example("edm")
    options = {"grid": karras_grid(data.sde, 4), "noise": noise(4)}
    with pytest.raises(ValueError, match="at least one solver"):
        calibrate(data.denoise, data.sde, space(4), solver={}, **options)
    with pytest.raises(ValueError, match="knots"):
        calibrate(data.denoise, data.sde, space(4), solver=DDIM(), knots=(0,), **options)
    with pytest.raises(ValueError, match="steps must be"):
        refined(options["grid"], 0)


def test_refined_contains_the_grid() -> None:
    for sde, grid in ((EDM(), karras_grid(EDM(), 5)), (RectifiedFlow(), uniform_grid(RectifiedFlow(), 5))):
        fine = refined(grid, 40)
        assert all(bool((fine.times == t).any()) for t in grid.times)
        assert fine.steps >= 33
        inner = log_ratio(sde, fine.times[9:17])
        assert torch.allclose(inner.diff(), inner.diff().mean().expand(7))
