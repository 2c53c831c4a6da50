"""Measured order of every deterministic fixed-grid solver, and what the Euler start leaves of it."""

import pytest
import torch

from scoregen.core import Grid
from scoregen.core.solvers import SOLVERS, UniPC, solver_by_name
from scoregen.core.solvers.vab import VAB

from ..gaussian import PROCESSES, example, slope
from .convergence import clock_order, error, order

ONE_STEP = {"ddim": 1, "dpmpp-1s": 1, "dpmpp-2s": 2, "heun": 2}
MULTISTEP = {
    "dpmpp-2m": 2,
    "dpmpp-3m": 3,
    **{f"unipc-{p}": p for p in (2, 3, 4)},
    **{f"deis-{p}": p for p in (1, 2, 3, 4)},
    **{f"vab-{p}": p for p in (1, 2, 3, 4)},
    **{f"eab-{p}": p for p in (1, 2, 3, 4)},
    **{f"xeab-{p}": p for p in (1, 2, 3, 4)},
}
SOLVER_ORDERS = [(solver_by_name(name), p) for name, p in ONE_STEP.items()] + [
    (solver_by_name(name, start="rk"), p) for name, p in MULTISTEP.items()
]
EVERY = pytest.mark.parametrize(("solver", "expected"), SOLVER_ORDERS, ids=str)
IPNDM_ORDERS = pytest.mark.parametrize("expected", [1, 2, 3, 4])
ALL_PROCESSES = pytest.mark.parametrize("name", sorted(PROCESSES))


def test_no_deterministic_solver_is_left_out() -> None:
    families = ("ddim", "heun", "dpmpp", "unipc", "deis", "ipndm", "vab", "eab", "xeab")
    named = {name for name in SOLVERS if name.split("-")[0] in families and name != "heun-churn"}
    assert named == {*ONE_STEP, *MULTISTEP, *(f"ipndm-{p}" for p in (1, 2, 3, 4))}


@ALL_PROCESSES
@EVERY
def test_order_on_karras_grids(name: str, solver: object, expected: int) -> None:
    assert order(example(name), solver, [48, 144], power=1 / 7) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("name", ["vp", "ve"])
@EVERY
def test_order_on_log_snr_grids(name: str, solver: object, expected: int) -> None:
    assert order(example(name), solver, [128, 256], power=0) == pytest.approx(expected, abs=0.15)


@EVERY
def test_order_on_a_square_root_grid(solver: object, expected: int) -> None:
    measured = order(example("rectified_flow"), solver, [128, 384], power=0.5)
    assert measured == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("name", ["vp", "rectified_flow"])
@EVERY
def test_order_on_even_times(name: str, solver: object, expected: int) -> None:
    """A grid of the process's own clock, the one a user of ``uniform_grid`` gets."""
    assert clock_order(example(name), solver, [96, 192], 0.75, 0.4) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("expected", [2, 3, 4])
@ALL_PROCESSES
def test_order_of_the_other_variant_of_unipc(name: str, expected: int) -> None:
    solver = UniPC(expected, "rk", "bh1")
    assert order(example(name), solver, [48, 144], power=1 / 7) == pytest.approx(expected, abs=0.15)


@ALL_PROCESSES
@IPNDM_ORDERS
def test_order_of_ipndm_on_equal_steps(name: str, expected: int) -> None:
    """Its weights are those of equal steps in σ/α: there it has its order, …"""
    solver = solver_by_name(f"ipndm-{expected}", start="rk")
    measured = order(example(name), solver, [64, 192], high=3.0, low=1.0)
    assert measured == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("asked", [2, 3, 4])
def test_order_of_ipndm_on_unequal_steps(asked: int) -> None:
    """… elsewhere, whatever the start, 2 where neighbouring steps grow alike, and 1 where they do not; …"""
    solver = solver_by_name(f"ipndm-{asked}", start="rk")
    assert order(example("edm"), solver, [128, 256, 512], power=0) == pytest.approx(2, abs=0.15)
    assert rough_order(solver) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("family", ["deis", "vab", "eab", "xeab"])
@pytest.mark.parametrize("expected", [1, 2, 3, 4])
def test_exact_weights_need_no_smooth_grid(family: str, expected: int) -> None:
    """… the rules with the weights of the actual steps keep theirs."""
    measured = rough_order(solver_by_name(f"{family}-{expected}", start="rk"))
    assert measured == pytest.approx(expected, abs=0.15)


def rough_order(solver: object) -> float:
    """On grids whose steps in σ/α are short and long by turns."""
    problem, steps = example("edm"), [64, 128, 256]
    jumps = [torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(count // 2) for count in steps]
    grids = [Grid(problem.sde, 3 - 2 * torch.cat([j.new_zeros(1), j.cumsum(0)]) / j.sum()) for j in jumps]
    return slope(steps, [error(problem, solver, grid) for grid in grids])


@pytest.mark.parametrize("name", ["vp", "edm", "rectified_flow"])
@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        ("dpmpp-2m", 2),
        ("dpmpp-3m", 2),
        ("unipc-2", 2),
        ("unipc-3", 3),
        ("unipc-4", 3),
        ("deis-1", 1),
        ("deis-2", 2),
        ("deis-3", 2),
        ("deis-4", 2),
        ("vab-1", 1),
        ("vab-2", 2),
        ("vab-3", 2),
        ("vab-4", 2),
    ],
)
def test_order_with_the_euler_start(name: str, solver: str, expected: int) -> None:
    """The published start: its h² stays, but for UniPC, whose corrector mends the first step to h³."""
    measured = order(example(name), solver_by_name(solver), [128, 256], power=1 / 7)
    assert measured == pytest.approx(expected, abs=0.15)


@ALL_PROCESSES
@pytest.mark.parametrize(("asked", "expected"), [(1, 1), (2, 2), (3, 2), (4, 2)])
def test_order_of_ipndm_with_the_euler_start(name: str, asked: int, expected: int) -> None:
    solver = solver_by_name(f"ipndm-{asked}")
    measured = order(example(name), solver, [64, 192], high=3.0, low=1.0)
    assert measured == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("start", ["euler", "rk"])
@pytest.mark.parametrize(
    ("high", "low"),
    [("dpmpp-3m", "dpmpp-2m"), ("deis-4", "deis-2"), ("vab-4", "vab-2"), ("unipc-4", "unipc-2")],
)
def test_a_long_history_is_worth_having(high: str, low: str, start: str) -> None:
    """With either start the error is far below that of order 2."""
    problem = example("vp")
    grid = Grid(problem.sde, torch.linspace(0.75, 0.3, 65, dtype=torch.float64))
    assert error(problem, solver_by_name(high, start=start), grid) < 0.5 * error(
        problem, solver_by_name(low, start=start), grid
    )


@pytest.mark.parametrize("expected", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["rectified_flow", "cosine"])
def test_velocity_rules_keep_their_order_from_no_signal_to_no_noise(name: str, expected: int) -> None:
    """u = σ/(α + σ) is finite at α = 0 and at σ = 0: the run from t = 1 to t = 0 is as any other."""
    problem, steps = example(name), [128, 256, 512]
    grids = [Grid(problem.sde, problem.sde.time(2 * ((1 - u) / u).log())) for u in _even(steps)]
    solver = VAB(expected, "rk")
    measured = slope(steps, [error(problem, solver, grid) for grid in grids])
    assert measured == pytest.approx(expected, abs=0.15)


def _even(steps: list[int]) -> list[torch.Tensor]:
    return [torch.linspace(1.0, 0.0, count + 1, dtype=torch.float64) for count in steps]


@pytest.mark.parametrize("expected", [1, 2, 3, 4])
def test_deis_keeps_its_order_down_to_no_noise(expected: int) -> None:
    problem, steps = example("edm"), [64, 128, 256]
    levels = [torch.linspace(2.0, 0.0, count + 1, dtype=torch.float64) for count in steps]
    grids = [Grid(problem.sde, 1.5 * level**2 / 2 + level / 4) for level in levels]
    measured = slope(
        steps, [error(problem, solver_by_name(f"deis-{expected}", start="rk"), g) for g in grids]
    )
    assert measured == pytest.approx(expected, abs=0.15)
