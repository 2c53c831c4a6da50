"""What every deterministic fixed-grid rule must stand: singular ends, batches, products, call counts."""

import pytest
import torch
from torch import Tensor

from scoregen.core import (
    EDM,
    VE,
    VP,
    DenseSpace,
    Grid,
    Noise,
    Prediction,
    karras_grid,
    log_snr_grid,
    sample,
    uniform_grid,
)
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.sde import SDE
from scoregen.core.solvers import DEIS, EAB, IPNDM, VAB, DPMpp2M, DPMpp3M, Solver, UniPC, solver_by_name
from scoregen.core.solvers.form import Form, combine
from scoregen.core.solvers.linear import GAIN, LinearMultistep

from ..gaussian import Gaussian, example, noise, ratio_grid, space
from .product import Part

SIZE = 8
ONE_STEP = ("ddim", "dpmpp-2s", "heun")
MULTISTEP = (
    "dpmpp-2m",
    "dpmpp-3m",
    *(f"unipc-{p}" for p in (2, 3, 4)),
    *(f"{family}-{p}" for family in ("deis", "ipndm", "vab", "eab", "xeab") for p in (1, 2, 3, 4)),
)
SOLVERS = [
    *(solver_by_name(name) for name in (*ONE_STEP, *MULTISTEP)),
    *(solver_by_name(name, start="rk") for name in MULTISTEP),
]
EVERY = pytest.mark.parametrize("solver", SOLVERS, ids=str)


@EVERY
@pytest.mark.parametrize("name", ["rectified_flow", "cosine"])
def test_finite_from_no_signal_to_no_noise(solver: Solver, name: str) -> None:
    """α = 0 at the first time and σ = 0 at the last: both are singular for a careless rule.

    One step lands on the estimate at t_max, the mean of the data. More steps near the exact flow, which from
    x = n ends at ``μ + s n``; the slowest rule (DDIM) leaves 2.99, 2.21, 0.75 and 0.20 of it.
    """
    problem, batch, keyed = example(name), space(SIZE), noise(SIZE)
    exact = problem.mean + problem.std * keyed.normal(batch, -1)
    for steps, most in ((1, 0.0), (2, 3.05), (3, 2.25), (4, 2.0), (5, 1.5), (10, 0.8), (40, 0.21)):
        grid = uniform_grid(problem.sde, steps)
        assert float(grid.alpha[0]) == 0.0
        assert float(grid.sigma[-1]) == 0.0
        result = sample(problem.denoise, problem.sde, batch, solver=solver, grid=grid, noise=keyed)
        if steps == 1:
            torch.testing.assert_close(result, problem.mean.expand(SIZE, 3), rtol=0, atol=1e-15)
        else:
            assert float((result - exact).abs().max()) < most


@EVERY
def test_a_run_that_ends_at_no_noise_converges(solver: Solver) -> None:
    """The last step lands on the data: the end point of a fine grid is that of the exact flow."""
    problem = example("edm")
    batch, keyed, grid = space(SIZE), noise(SIZE), karras_grid(problem.sde, 60)
    result = sample(problem.denoise, problem.sde, batch, solver=solver, grid=grid, noise=keyed)
    first = grid.sigma[0] * keyed.normal(batch, -1)
    exact = problem.flow(first, grid.times[0], grid.times[-1])
    first_order = str(solver).startswith("DDIM") or "order=1" in str(solver)
    torch.testing.assert_close(result, exact, rtol=0, atol=0.3 if first_order else 0.03)


def test_a_repeated_noise_level_is_refused() -> None:
    """It is 0/0 in a multistep rule (and NaN in libraries that let it through)."""
    with pytest.raises(ValueError, match="strictly decrease"):
        Grid(EDM(), torch.tensor([80.0, 1.0, 0.002, 0.002]))


@EVERY
def test_batches_of_one_seven_and_sixtyfour_shuffled(solver: Solver) -> None:
    problem = example("vp")
    grid = ratio_grid(problem.sde, 8, high=30.0, low=0.05, power=0)

    def draw(ids: Tensor) -> Tensor:
        keyed = Noise(4, ids)
        return sample(problem.denoise, problem.sde, space(len(ids)), solver=solver, grid=grid, noise=keyed)

    ids = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    whole = draw(ids)
    for size in (1, 7):
        parts = torch.cat([draw(part) for part in ids[:21].split(size)])
        torch.testing.assert_close(parts, whole[:21], atol=1e-12, rtol=0)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(draw(ids[order]), whole[order], atol=1e-12, rtol=0)


@EVERY
@pytest.mark.parametrize("to_zero", [True, False])
def test_independent_fields_are_sampled_as_they_would_be_alone(solver: Solver, to_zero: bool) -> None:
    """One call over two fields equals one call each, on the same clock and from the same noise."""
    # DPM-Solver++ 2S stops at the middle of the first field's step, so there the two share a process.
    second: SDE = EDM() if str(solver).startswith("DPMpp2S") else VP()
    sde = ProductSDE({"position": EDM(), "kind": second}, {"position": 7.0, "kind": 7.0})
    together = ProductSpace({name: DenseSpace((4, 3), dtype=torch.float64) for name in sde.fields})
    keyed, grid = Noise(0, torch.arange(4)), uniform_grid(sde, 7, to_zero=to_zero)
    mean = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    alone = [
        Gaussian(part, mean, width * mean.abs()) for part, width in zip(sde.parts, (1.0, 0.5), strict=True)
    ]

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        halves = zip(together.unpack(x).items(), alone, strict=True)
        x0 = together.pack({name: problem.denoise(half, t).x0 for (name, half), problem in halves})
        alpha, sigma = (together.expand(value.expand(4, 2), x) for value in sde.marginal(t))
        return Prediction(x0, x, alpha, sigma)

    both = together.unpack(sample(denoise, sde, together, solver=solver, grid=grid, noise=keyed))
    for (name, own), problem in zip(together.fields.items(), alone, strict=True):
        single = sample(
            problem.denoise,
            problem.sde,
            own,
            solver=solver,
            grid=Grid(problem.sde, grid.times),
            noise=Part(0, torch.arange(4), whole=together, name=name),
        )
        torch.testing.assert_close(both[name], single, rtol=1e-10, atol=1e-11)


def calls(solver: Solver, grid: Grid) -> list[int]:
    """Network calls in each step."""
    counts = [0] * grid.steps
    problem = example("edm")

    def count(i: int, _: Prediction) -> None:
        counts[i] += 1

    sample(problem.denoise, EDM(), space(2), solver=solver, grid=grid, noise=noise(2), on_step=count)
    return counts


@pytest.mark.parametrize("name", MULTISTEP)
def test_one_call_a_step(name: str) -> None:
    assert calls(solver_by_name(name), karras_grid(EDM(), 9)) == [1] * 9


@pytest.mark.parametrize("name", ["heun", "dpmpp-2s"])
def test_two_calls_a_step_and_one_for_the_last(name: str) -> None:
    assert calls(solver_by_name(name), karras_grid(EDM(), 9)) == [2] * 8 + [1]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("dpmpp-2m", [2]),
        ("dpmpp-3m", [2, 2]),
        ("unipc-2", []),
        ("unipc-3", [2]),
        ("unipc-4", [3, 3]),
        *((f"{family}-1", []) for family in ("deis", "ipndm", "vab")),
        *((f"{family}-3", [2, 2]) for family in ("deis", "ipndm", "vab")),
        *((f"{family}-4", [3, 3, 3]) for family in ("deis", "ipndm", "vab")),
    ],
)
def test_calls_of_the_runge_kutta_start(name: str, start: list[int]) -> None:
    solver = solver_by_name(name, start="rk")
    assert calls(solver, karras_grid(EDM(), 9)) == start + [1] * (9 - len(start))
    assert calls(solver, karras_grid(EDM(), 1)) == [1]


@pytest.mark.parametrize("solver", [DPMpp2M, DPMpp3M, UniPC, DEIS, EAB, IPNDM, VAB])
def test_an_unknown_start_is_refused(solver: type) -> None:
    with pytest.raises(ValueError, match="start must be one of euler, rk, got 'taylor'"):
        solver(start="taylor")


@pytest.mark.parametrize(("solver", "low"), [(UniPC, 2), (DEIS, 1), (EAB, 1), (IPNDM, 1), (VAB, 1)])
@pytest.mark.parametrize("order", [0, 5])
def test_orders_that_do_not_exist_are_refused(solver: type, low: int, order: int) -> None:
    with pytest.raises(ValueError, match=f"{solver.__name__} has orders {low} to 4, got {order}"):
        solver(order)


def test_other_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="variant must be one of bh1, bh2, got 'bh3'"):
        UniPC(3, variant="bh3")
    with pytest.raises(ValueError, match="on must be one of eps, x0, got 'v'"):
        EAB(3, on="v")
    with pytest.raises(ValueError, match="sigma_data must be positive, got 0"):
        VAB(3, sigma_data=0.0)
    with pytest.raises(ValueError, match=r"solver 'ddim': .*'start'"):
        solver_by_name("ddim", start="rk")


def test_options_reach_a_named_solver() -> None:
    assert solver_by_name("vab-3", sigma_data=0.5, start="rk") == VAB(3, "rk", 0.5)


@EVERY
def test_one_field_may_end_at_no_noise_before_another(solver: Solver) -> None:
    """EDM ends at σ = 0 where VE keeps σ_min: the first lands on its estimate, the second steps on."""
    sde = ProductSDE({"position": EDM(), "kind": VE(0.05, 20.0)})
    together = ProductSpace({name: DenseSpace((4, 3), dtype=torch.float64) for name in sde.fields})
    mean = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    alone = [Gaussian(part, mean, mean.abs()) for part in sde.parts]
    estimates: list[Tensor] = []

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        halves = zip(together.unpack(x).items(), alone, strict=True)
        safe = t.clamp(1e-9)  # EDM's estimate at σ = 0 is the state; its weight there is zero
        x0 = together.pack({name: problem.denoise(half, safe).x0 for (name, half), problem in halves})
        alpha, sigma = (together.expand(value.expand(4, 2), x) for value in sde.marginal(t))
        estimates.append(together.unpack(x0)["position"])
        return Prediction(x0, x, alpha, sigma)

    for steps in (1, 6):
        estimates.clear()
        grid, keyed = Grid(sde, torch.linspace(sde.t_max, 0, steps + 1, dtype=torch.float64)), noise(4)
        assert grid.sigma[-1].tolist() == [0.0, 0.05]
        both = together.unpack(sample(denoise, sde, together, solver=solver, grid=grid, noise=keyed))
        assert bool(torch.isfinite(both["kind"]).all())
        if not isinstance(solver, DEIS | IPNDM | VAB):  # those extrapolate their slope to σ = 0
            assert any(torch.equal(both["position"], x0) for x0 in estimates)


def test_a_rule_is_its_form() -> None:
    class Nothing(LinearMultistep):
        """Does not say how it steps."""

    problem = example("edm")
    grid, x = ratio_grid(problem.sde, 2), noise(SIZE).normal(space(SIZE), 0)
    with pytest.raises(NotImplementedError):
        Nothing().step(Nothing().init(x), 0, grid, problem.denoise, None)


def test_the_empty_form_is_zero() -> None:
    x = noise(SIZE).normal(space(SIZE), 0)
    assert torch.equal(combine([Form()], [(x, x)], ratio_grid(EDM(), 2)), torch.zeros_like(x))


HIGH_ORDER = [name for name in MULTISTEP if name[-1] in "234m"]


@pytest.mark.parametrize("name", HIGH_ORDER)
def test_a_thousand_steps_in_float32(name: str) -> None:
    """The jump from σ_min to 0 hangs on no difference of nearly equal estimates: float32 is enough."""
    problem, solver, grid = example("edm"), solver_by_name(name), karras_grid(EDM(), 1000)
    start = 80 * noise(SIZE).normal(space(SIZE), -1)
    results = []
    for dtype in (torch.float64, torch.float32):

        def denoise(x: Tensor, t: Tensor, dtype: torch.dtype = dtype) -> Prediction:
            exact = problem.denoise(x.double(), t)
            return Prediction(exact.x0.to(dtype), x, exact.alpha, exact.sigma)

        carry = solver.init(start.to(dtype))
        for i in range(grid.steps):
            carry = solver.step(carry, i, grid, denoise, None)
        assert carry.x.dtype == dtype
        results.append(carry.x.double())
    assert float((results[0] - results[1]).abs().max()) < 1e-4


FIXED_WEIGHTS = ("dpmpp-2m", "ipndm-2", "ipndm-3", "ipndm-4")  # as published
LAST_STEPS = {
    "karras": lambda steps: karras_grid(EDM(), steps),
    "log-snr": lambda steps: log_snr_grid(VP(), steps),
    "even to t_min": lambda steps: uniform_grid(VP(), steps, to_zero=False),
}


@pytest.mark.parametrize("place", sorted(LAST_STEPS))
@pytest.mark.parametrize("name", HIGH_ORDER)
def test_the_last_step_magnifies_no_errors(name: str, place: str) -> None:
    """Weights of the estimates, Σ|b|, in the step whose result is the sample."""
    solver = solver_by_name(name)
    for steps in (8, 20, 64, 100, 250, 1000):
        at = LAST_STEPS[place](steps).levels[0]
        form = solver.form(at, steps - 1, solver.memory - 1)
        assert sum(map(abs, form.x0)) <= (9.2 if name in FIXED_WEIGHTS else GAIN)


@pytest.mark.parametrize("to_zero", [True, False])
@pytest.mark.parametrize("family", [DEIS, VAB])
def test_few_karras_steps_keep_their_order_to_the_end(family: type[DEIS | VAB], to_zero: bool) -> None:
    for steps in (5, 10, 20, 50):
        at = karras_grid(EDM(), steps, to_zero=to_zero).levels[0]
        for order in (2, 3, 4):
            form = family(order).form(at, steps - 1, order - 1)
            assert len(form.x0) == order
            assert form.x0[-1] != 0
