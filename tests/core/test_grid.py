"""Grids: their spacing, their refusals, what they compute once."""

import json
import math

import pytest
import torch

from scoregen.core import (
    EDM,
    VE,
    VP,
    DenseSpace,
    Grid,
    LogNormalTimes,
    RectifiedFlow,
    grid_from_config,
    grid_to_config,
    karras_grid,
    log_snr_grid,
    polynomial_grid,
    quantile_grid,
    uniform_grid,
)
from scoregen.core.fields import ProductSDE, ProductSpace

from .gaussian import PROCESSES


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([3.0, 2.0, 2.0, 1.0], r"strictly decrease: times\[1\] = 2, times\[2\] = 2"),
        ([3.0, 1.0, 2.0], "strictly decrease"),
        ([1.0, 2.0], "strictly decrease"),
        ([3.0, float("nan"), 1.0], "not finite"),
        ([float("inf"), 1.0], "not finite"),
        ([3.0], "at least two"),
        ([81.0, 1.0], "lie in"),
        ([3.0, -1.0], "lie in"),
    ],
)
def test_bad_grids_are_refused(times: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Grid(EDM(), torch.tensor(times))


def test_karras_grid_is_equation_five() -> None:
    steps, rho = 18, 7.0
    grid = karras_grid(EDM(), steps, rho=rho)
    expected = [
        (80.0 ** (1 / rho) + i / (steps - 1) * (0.002 ** (1 / rho) - 80.0 ** (1 / rho))) ** rho
        for i in range(steps)
    ]
    assert grid.steps == steps
    assert grid.times[:-1].tolist() == pytest.approx(expected, rel=1e-12)
    assert float(grid.sigma[-1]) == 0.0


@pytest.mark.parametrize("name", ["vp", "edm", "rectified_flow"])
def test_karras_grid_spaces_the_ratio_of_any_process(name: str) -> None:
    grid = karras_grid(PROCESSES[name], 12, sigma_max=10.0, sigma_min=0.05, rho=3.0, to_zero=False)
    root = (grid.sigma / grid.alpha) ** (1 / 3)
    assert float(grid.sigma[0] / grid.alpha[0]) == pytest.approx(10.0, rel=1e-9)
    assert float(grid.sigma[-1] / grid.alpha[-1]) == pytest.approx(0.05, rel=1e-9)
    torch.testing.assert_close(root.diff(), root.diff()[:1].expand(12), rtol=1e-8, atol=0)


def test_log_snr_grid_has_equal_steps() -> None:
    grid = log_snr_grid(VP(), 10, to_zero=False)
    steps = grid.half_log_snr.diff()
    torch.testing.assert_close(steps, steps[:1].expand(10), rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("to_zero", [True, False])
def test_grids_of_few_steps(steps: int, to_zero: bool) -> None:
    for grid in (
        karras_grid(EDM(), steps, to_zero=to_zero),
        log_snr_grid(VP(), steps, to_zero=to_zero),
        uniform_grid(RectifiedFlow(), steps, to_zero=to_zero),
    ):
        assert grid.steps == steps
        assert (float(grid.sigma[-1]) == 0) is to_zero


def test_grids_that_cannot_exist_say_why() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        karras_grid(EDM(), 0)
    with pytest.raises(ValueError, match="no signal at t_max"):
        karras_grid(RectifiedFlow(), 5)
    with pytest.raises(ValueError, match="no signal at t_max"):
        log_snr_grid(RectifiedFlow(), 5)
    with pytest.raises(ValueError, match="sigma_min < sigma_max"):
        karras_grid(EDM(), 5, sigma_max=1.0, sigma_min=1.0)
    for make in (karras_grid, log_snr_grid, uniform_grid, polynomial_grid):
        with pytest.raises(ValueError, match="VE keeps noise at t = 0"):
            make(VE(), 5, to_zero=True)
        assert float(make(VE(), 5).sigma[-1]) == pytest.approx(VE().sigma_min)
        assert float(make(EDM(), 5, sigma_min=0.1).sigma[-1] if make is karras_grid else 0.0) == 0.0
    with pytest.raises(ValueError, match="rho must be positive"):
        karras_grid(EDM(), 5, rho=0.0)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("to_zero", [True, False])
def test_a_polynomial_grid_is_even_in_its_root(power: float, to_zero: bool) -> None:
    grid = polynomial_grid(VP(), 9, power=power, to_zero=to_zero)
    root = grid.times ** (1 / power)
    torch.testing.assert_close(root.diff(), root.diff()[:1].expand(9))
    assert float(grid.times[-1]) == pytest.approx(0.0 if to_zero else VP().t_min, abs=1e-15)


def test_levels_are_the_schedule_as_numbers() -> None:
    grid = karras_grid(VP(), 6)
    (levels,) = grid.levels
    alpha, sigma = VP().marginal(grid.times)
    assert levels.steps == 6
    assert levels.alpha == tuple(alpha.tolist())
    assert levels.sigma == tuple(sigma.tolist())
    assert levels.lam[:-1] == pytest.approx(grid.half_log_snr[:-1].tolist())
    assert levels.lam[-1] == math.inf
    zero = uniform_grid(RectifiedFlow(), 4).levels[0]
    assert (zero.ratio[0], zero.lam[0], zero.ratio[-1]) == (math.inf, -math.inf, 0.0)


def test_a_plan_is_made_once_and_shared_by_bound_grids() -> None:
    grid, made = karras_grid(EDM(), 4), []
    build = lambda: made.append(1) or len(made)  # noqa: E731
    assert grid.plan("key", build) == 1
    assert grid.on(DenseSpace((2, 3))).plan("key", build) == 1
    assert grid.plan("other", build) == 2


def test_coefficients_of_several_fields_need_a_batch() -> None:
    sde = ProductSDE({"a": EDM(), "b": VP()})
    space = ProductSpace({"a": DenseSpace((2, 1)), "b": DenseSpace((2, 2))})
    grid = karras_grid(sde, 3)
    assert grid.alpha.shape == (4, 2)
    with pytest.raises(ValueError, match=r"grid\.on\(space\)"):
        grid.wide(grid.alpha[0])
    assert grid.on(space).wide(torch.tensor([2.0, 5.0])).tolist() == [2.0, 2.0, 5.0, 5.0, 5.0, 5.0]
    assert grid.wide(torch.tensor(3.0)) == 3.0


def test_grids_that_need_more_are_refused() -> None:
    for make in (log_snr_grid, uniform_grid, polynomial_grid):
        with pytest.raises(ValueError, match="at least 1"):
            make(VP(), 0)
    with pytest.raises(ValueError, match="power must be positive"):
        polynomial_grid(VP(), 3, power=0.0)


@pytest.mark.parametrize("sde", [EDM(), VP(), VE(), RectifiedFlow()])
def test_stored_grids_come_back_exactly(sde: object) -> None:
    grid = uniform_grid(sde, 7, to_zero=not isinstance(sde, VE))  # type: ignore[arg-type]
    again = grid_from_config(json.loads(json.dumps(grid_to_config(grid))))
    assert again.sde == grid.sde
    assert torch.equal(again.times, grid.times)


def test_stored_grid_of_several_fields_needs_its_process() -> None:
    sde = ProductSDE({"position": EDM(), "kind": VP()}, {"position": 7.0, "kind": 7.0})
    config = grid_to_config(Grid(sde, torch.tensor([1.0, 0.5, 0.1])))
    with pytest.raises(ValueError, match="pass sde"):
        grid_from_config(config)
    assert torch.equal(
        grid_from_config(config, sde).times, torch.tensor(config["times"], dtype=torch.float64)
    )
    with pytest.raises(ValueError, match="times"):
        grid_from_config({})


@pytest.mark.parametrize("to_zero", [True, False])
def test_a_quantile_grid_has_as_many_steps_as_the_law_says(to_zero: bool) -> None:
    sde, law = EDM(0.01, 50.0), LogNormalTimes(-0.5, 0.6)
    grid = quantile_grid(sde, 40, law, to_zero=to_zero)
    assert len(grid.times) == 41
    assert grid.times[0] == sde.t_max
    assert (grid.times[-1] == 0) == to_zero
    inner = (grid.times[1:-2].log() + 0.5) / 0.6
    even = torch.special.ndtr(inner).diff()
    torch.testing.assert_close(even, even.mean().expand_as(even), atol=1e-9, rtol=0)
    below = quantile_grid(sde, 7, law, sigma_max=0.02, to_zero=to_zero)
    assert below.times[0] == pytest.approx(0.02)
    with pytest.raises(ValueError, match="not a level"):
        quantile_grid(sde, 7, law, sigma_max=60.0)


def test_a_quantile_grid_leaves_out_what_the_process_has_not() -> None:
    grid = quantile_grid(EDM(0.5, 1.0), 5, LogNormalTimes(-0.5, 2.0))
    assert (grid.times[:-1] >= 0.5).all()
    with pytest.raises(ValueError, match="steps must be at least 1"):
        quantile_grid(EDM(), 0, LogNormalTimes())
