"""Per-sample adaptive integration and the probability flow: exact ends, round trips, no coupled samples."""

import math

import pytest
import torch
from torch import Tensor

from scoregen.core import (
    EDM,
    VP,
    DenseSpace,
    Grid,
    Noise,
    Prediction,
    RaggedSpace,
    RectifiedFlow,
    Space,
    karras_grid,
    sample,
    uniform_grid,
)
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.flow import decode, encode, flow_between, sample_ode, transport
from scoregen.core.ode import DOPRI5, RK4, IntegrationError, Tableau, integrate, integrate_fixed
from scoregen.core.solvers.rk45 import RK45

from .gaussian import PROCESSES, example, noise, slope, space
from .shaped import graph_space, on_graph, plain

NAMES = pytest.mark.parametrize("name", sorted(PROCESSES))


def swing(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """A rotation whose speed grows with time; the scalar's rate is cos t, so its integral is sin t."""
    return torch.stack([-x[:, 1], x[:, 0]], 1) * t[:, None], t.cos()[:, None]


def turned(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    angle = ((end**2 - start**2) / 2)[:, None]
    return x * angle.cos() + torch.stack([-x[:, 1], x[:, 0]], 1) * angle.sin()


def times(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


START, END = times(0.0, 1.0, 2.0, 1.5), times(3.0, -1.0, 2.5, 1.5)
ROWS = torch.tensor([[1.0, 0.0], [0.3, -2.0], [0.0, 1.0], [5.0, 5.0]], dtype=torch.float64)


def test_each_sample_has_its_own_interval_and_direction() -> None:
    begin = START.sin()[:, None]
    done = integrate(swing, ROWS, START, END, space(4, 2), rtol=1e-10, atol=1e-10, scalars=begin)
    torch.testing.assert_close(done.x, turned(ROWS, START, END), atol=1e-8, rtol=0)
    torch.testing.assert_close(done.scalars[:, 0], END.sin(), atol=1e-8, rtol=0)
    assert torch.equal(done.x[3], ROWS[3])
    assert int(done.calls[3]) == 0
    # Six calls an attempt, and two to begin with.
    assert bool(((done.calls[:3] - 2) % 6 == 0).all())
    assert int(done.calls[0]) > int(done.calls[2])


def test_nothing_to_do_calls_nothing() -> None:
    def never(x: Tensor, t: Tensor) -> tuple[Tensor, None]:
        raise AssertionError

    assert torch.equal(integrate(never, ROWS, START, START, space(4, 2)).x, ROWS)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_error_follows_the_tolerance(tolerance: float) -> None:
    done = integrate(
        lambda x, t: (swing(x, t)[0], None), ROWS, START, END, space(4, 2), rtol=tolerance, atol=tolerance
    )
    error = float((done.x - turned(ROWS, START, END)).abs().max())
    assert 1e-4 * tolerance < error < 100 * tolerance


@pytest.mark.parametrize(("tableau", "order"), [(RK4, 4), (DOPRI5, 5)], ids=["rk4", "dopri5"])
def test_fixed_steps_have_their_order(tableau: Tableau, order: int) -> None:
    counts, errors = [16, 32, 64], []
    for count in counts:
        at = [START + (END - START) * i / count for i in range(count + 1)]
        begin = START.sin()[:, None]
        done = integrate_fixed(swing, ROWS, at, space(4, 2), tableau=tableau, scalars=begin)
        errors.append(float((done.x - turned(ROWS, START, END)).abs().max()))
        assert done.calls.tolist() == [count * len(tableau.b)] * 4
        torch.testing.assert_close(done.scalars[:, 0], END.sin(), atol=1e-5, rtol=0)
    assert slope(counts, errors) == pytest.approx(order, abs=0.15)


def test_the_embedded_rule_is_one_order_lower() -> None:
    """Consistency of the tableaux: rows sum to c, weights integrate polynomials to the order named."""
    for tableau, order in ((DOPRI5, 5), (RK4, 4)):
        for c, row in zip(tableau.c[1:], tableau.a, strict=True):
            assert sum(row) == pytest.approx(c, abs=1e-14)
        for k in range(order):
            moment = sum(b * c**k for b, c in zip(tableau.b, tableau.c, strict=True))
            assert moment == pytest.approx(1 / (k + 1), abs=1e-14)
    lower = [b - e for b, e in zip(DOPRI5.b, DOPRI5.error, strict=True)]
    for k in range(4):
        moment = sum(b * c**k for b, c in zip(lower, DOPRI5.c, strict=True))
        assert moment == pytest.approx(1 / (k + 1), abs=1e-14)


def test_a_scalar_can_set_the_steps_or_leave_them() -> None:
    """A scalar much rougher than the state costs calls only where it is asked to count."""

    def rough(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(x), 100 * (50 * t).cos()[:, None]

    end, begin = times(1.0, 1.0), torch.zeros(2, 1, dtype=torch.float64)
    x = torch.ones(2, 2, dtype=torch.float64)
    careful = integrate(rough, x, 0 * end, end, space(2, 2), scalars=begin)
    careless = integrate(rough, x, 0 * end, end, space(2, 2), scalars=begin, control_scalars=False)
    torch.testing.assert_close(careful.scalars[0, 0], times(2 * math.sin(50.0))[0], atol=1e-3, rtol=0)
    assert int(careful.calls[0]) > 5 * int(careless.calls[0])


def test_steps_are_rejected_where_the_velocity_changes_suddenly() -> None:
    def kink(x: Tensor, t: Tensor) -> tuple[Tensor, None]:
        return torch.where(t > 1, 50.0, 0.1)[:, None] * torch.ones_like(x), None

    done = integrate(kink, torch.zeros(1, 1, dtype=torch.float64), times(0.0), times(2.0), space(1, 1))
    assert int(done.rejected[0]) > 0
    assert float(done.x[0, 0]) == pytest.approx(50.1, abs=1e-3)


def test_a_failing_sample_is_named_and_the_others_arrive() -> None:
    def broken(x: Tensor, t: Tensor) -> tuple[Tensor, None]:
        bad = torch.tensor([False, True, False, False])
        velocity = swing(x, t)[0]
        return torch.where((bad & (t < 0.5))[:, None], torch.nan, velocity), None

    with pytest.raises(IntegrationError, match=r"samples \[1\]: the step shrank to nothing") as caught:
        integrate(broken, ROWS, START, END, space(4, 2), rtol=1e-9, atol=1e-9)
    assert caught.value.failed.tolist() == [False, True, False, False]
    good = torch.tensor([0, 2, 3])
    torch.testing.assert_close(
        caught.value.solution.x[good], turned(ROWS, START, END)[good], atol=1e-7, rtol=0
    )
    with pytest.raises(IntegrationError, match=r"samples \[0, 1, 2\]: more than 20 steps; loosen"):
        integrate(swing, ROWS, START, END, space(4, 2), rtol=1e-10, atol=1e-10, max_steps=20)


def test_integrate_refuses_what_cannot_work() -> None:
    batch = space(4, 2)
    for keywords, message in (
        ({"rtol": 0.0}, "must be positive"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"rtol": 1e-17, "atol": 1e-17}, "cannot hold"),
    ):
        with pytest.raises(ValueError, match=message):
            integrate(swing, ROWS, START, END, batch, **keywords)
    with pytest.raises(ValueError, match="cannot hold"):
        integrate(swing, ROWS.float(), START, END, batch, rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match="one time a sample"):
        integrate(swing, ROWS, START[:2], END, batch)
    with pytest.raises(ValueError, match="not finite"):
        integrate(swing, ROWS, START, END * math.inf, batch)
    with pytest.raises(ValueError, match="at least two times"):
        integrate_fixed(swing, ROWS, [START], batch)


def test_a_sample_without_freedom_is_no_obstacle() -> None:
    """A single centred atom has no degree of freedom: it stays at the origin."""
    batch = RaggedSpace(torch.tensor([0, 1, 1, 1]), 2, 3, center=True, dtype=torch.float64)
    x = batch.project(torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    done = integrate(lambda x, t: (-x, None), x, times(0.0, 0.0), times(1.0, 1.0), batch)
    torch.testing.assert_close(done.x, x * math.exp(-1), atol=1e-4, rtol=0)


# The probability flow.


@NAMES
def test_sample_ode_reaches_the_exact_end(name: str) -> None:
    problem, batch = example(name), space(16)
    high, low = times(problem.sde.t_max)[0], times(problem.sde.t_min)[0]
    latent = problem.sde.marginal(high)[1] * noise(16).normal(batch, -1)
    exact = problem.flow(latent, high, low)
    for tolerance, limit in ((1e-4, 60), (1e-9, 260)):
        done = sample_ode(
            problem.denoise, problem.sde, batch, noise=noise(16), rtol=tolerance, atol=tolerance
        )
        assert float((done.x - exact).abs().max()) < 100 * tolerance
        assert int(done.calls.max()) < limit


@NAMES
def test_round_trip(name: str) -> None:
    """Encode, decode: data come back, and so do latents; in between lies the exact latent."""
    problem, batch = example(name), space(8)
    x = problem.mean + problem.std * noise(8).normal(batch, 0)
    tight = {"rtol": 1e-9, "atol": 1e-9}
    up = encode(problem.denoise, problem.sde, x, batch, **tight)
    exact = problem.flow(x, times(problem.sde.t_min)[0], times(problem.sde.t_max)[0])
    torch.testing.assert_close(up.x, exact, rtol=1e-7, atol=1e-8 * problem.sde.t_max + 1e-7)
    down = decode(problem.denoise, problem.sde, up.x, batch, **tight)
    assert float((down.x - x).abs().max()) < 1e-6
    again = encode(problem.denoise, problem.sde, down.x, batch, **tight)
    assert float((again.x - up.x).abs().max()) < 1e-6 * float(up.x.abs().max())


def test_times_may_differ_between_samples() -> None:
    problem, batch = example("vp"), space(3)
    x, start, end = noise(3).normal(batch, 0), times(0.2, 0.5, 0.9), times(0.8, 0.1, 0.9)
    done = transport(problem.denoise, problem.sde, x, batch, start, end, rtol=1e-9, atol=1e-9)
    for i in range(3):
        exact = problem.flow(x[i], start[i], end[i])
        torch.testing.assert_close(done.x[i], exact, rtol=0, atol=1e-7)
    assert int(done.calls[2]) == 0


@pytest.mark.parametrize("kind", ["dense", "graph"])
def test_batches_of_one_seven_and_sixtyfour_shuffled(kind: str) -> None:
    sde = EDM(0.01, 80.0)
    problem = plain(sde, 3) if kind == "dense" else on_graph(sde)

    def draw(ids: Tensor) -> tuple[Tensor, Tensor]:
        batch: Space = space(len(ids), 3) if kind == "dense" else graph_space(len(ids))
        done = sample_ode(problem.denoise, sde, batch, noise=Noise(4, ids), rtol=1e-3, atol=1e-3)
        return done.x.reshape(len(ids), -1), done.calls

    ids = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    whole, calls = draw(ids)
    # In the mixture samples near a watershed take more steps; on the Gaussian all take the same.
    assert (len(calls.unique()) > 1) == (kind == "dense")
    for size, total in ((1, 12), (7, 64)):
        parts, counts = zip(*(draw(part) for part in ids[:total].split(size)), strict=True)
        torch.testing.assert_close(torch.cat(parts), whole[:total], atol=1e-12, rtol=0)
        assert torch.equal(torch.cat(counts), calls[:total])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(draw(ids[order])[0], whole[order], atol=1e-12, rtol=0)


def product() -> tuple[ProductSDE, ProductSpace, object, object]:
    """A ragged centred field on EDM and a dense one on rectified flow, each Gaussian about zero."""
    sde = ProductSDE({"position": EDM(0.01, 20.0), "type": RectifiedFlow()}, {"position": 3.0})
    batch = ProductSpace(
        {
            "position": RaggedSpace(torch.tensor([0, 0, 0, 1, 1]), 2, 3, center=True, dtype=torch.float64),
            "type": DenseSpace((2, 4), dtype=torch.float64),
        }
    )
    std = torch.tensor([0.5, 1.5], dtype=torch.float64)

    def variance(t: Tensor) -> Tensor:
        alpha, sigma = sde.marginal(t)
        return alpha**2 * std**2 + sigma**2

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        t = t.expand(2)
        alpha, sigma = sde.marginal(t)
        gain = batch.expand(alpha * std**2 / variance(t), x)
        return Prediction(gain * x, x, batch.expand(alpha, x), batch.expand(sigma, x))

    return sde, batch, denoise, variance


def test_product_states() -> None:
    sde, batch, denoise, variance = product()
    low, high = (torch.full((2,), t, dtype=torch.float64) for t in (sde.t_min, sde.t_max))
    latent = batch.expand(sde.marginal(high)[1], batch.zeros()) * noise(2).normal(batch, -1)
    exact = latent * batch.expand((variance(low) / variance(high)).sqrt(), latent)
    done = sample_ode(denoise, sde, batch, noise=noise(2), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(done.x, exact, atol=1e-7, rtol=0)
    back = encode(denoise, sde, done.x, batch, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(back.x, latent, atol=2e-6, rtol=0)


def test_the_flow_stays_in_the_projected_space() -> None:
    sde, batch = VP(), graph_space(2)
    problem = on_graph(sde, 2)
    x = noise(2).normal(batch, 0)
    shifted = encode(problem.denoise, sde, x + 3.0, batch)
    torch.testing.assert_close(shifted.x, encode(problem.denoise, sde, x, batch).x, atol=1e-9, rtol=0)
    torch.testing.assert_close(batch.project(shifted.x), shifted.x, atol=1e-12, rtol=0)


def test_float32_states_keep_their_type() -> None:
    sde = EDM()
    batch = DenseSpace((4, 3))
    done = sample_ode(
        lambda x, t: Prediction(x / (1 + t.float()[:, None] ** 2), x, x, x), sde, batch, noise=noise(4)
    )
    assert done.x.dtype == torch.float32
    exact = noise(4).normal(batch, -1) * 80 * math.sqrt((1 + sde.t_min**2) / (1 + 80**2))
    torch.testing.assert_close(done.x, exact, atol=1e-3, rtol=0)


def test_noiseless_ends_are_refused() -> None:
    problem, batch = example("edm"), space(2)
    x = batch.zeros()
    with pytest.raises(ValueError, match=r"singular where sigma = 0; stop at sde.t_min = 0\.002"):
        decode(problem.denoise, problem.sde, x, batch, to=0.0)
    for bad in (81.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="must lie in"):
            flow_between(problem.denoise, problem.sde, batch, 1.0, bad)


@NAMES
def test_sample_ode_from_data(name: str) -> None:
    """Partial noising: the exact end point of data noised to a time between."""
    problem, batch = example(name), space(8)
    sde = problem.sde
    t = 0.3 * sde.t_max + 0.7 * sde.t_min
    data = problem.mean + problem.std * noise(8).normal(batch, 0)
    alpha, sigma = sde.marginal(times(t)[0])
    exact = problem.flow(alpha * data + sigma * noise(8).normal(batch, -1), times(t)[0], times(sde.t_min)[0])
    tight = {"rtol": 1e-8, "atol": 1e-8}
    done = sample_ode(problem.denoise, sde, batch, noise=noise(8), start=data, t=t, **tight)
    torch.testing.assert_close(done.x, exact, atol=1e-5, rtol=0)


def test_guides_apply() -> None:
    problem, batch = example("vp"), space(4)

    def halved(denoise: object) -> object:
        return lambda x, t: Prediction(0.0 * x, x, x, x)

    done = sample_ode(problem.denoise, problem.sde, batch, noise=noise(4), guides=[halved])
    high, low = (problem.sde.marginal(times(t))[1] for t in (1.0, problem.sde.t_min))
    torch.testing.assert_close(done.x, noise(4).normal(batch, -1) * high * low / high, atol=1e-3, rtol=0)


# The same as a solver.


@NAMES
def test_rk45_in_sample(name: str) -> None:
    problem, batch, sde = example(name), space(8), PROCESSES[name]
    grid = Grid(sde, times(sde.t_max, sde.t_min))
    solver = RK45(rtol=1e-9, atol=1e-9)
    drawn = sample(problem.denoise, sde, batch, solver=solver, grid=grid, noise=noise(8))
    exact = problem.flow(grid.sigma[0] * noise(8).normal(batch, -1), grid.times[0], grid.times[1])
    torch.testing.assert_close(drawn, exact, atol=1e-6, rtol=0)


def test_rk45_lands_on_the_estimate() -> None:
    problem, batch, sde = example("rectified_flow"), space(8), RectifiedFlow()
    keywords = {"solver": RK45(1e-8, 1e-8), "noise": noise(8)}
    landed = sample(problem.denoise, sde, batch, grid=uniform_grid(sde, 1), **keywords)
    before = sample(problem.denoise, sde, batch, grid=uniform_grid(sde, 1, to_zero=False), **keywords)
    expected = problem.denoise(before, times(sde.t_min)[0]).x0
    torch.testing.assert_close(landed, expected, atol=1e-10, rtol=0)
    split = sample(problem.denoise, EDM(), batch, grid=karras_grid(EDM(), 5), **keywords)
    assert bool(torch.isfinite(split).all())
    with pytest.raises(ValueError, match="need the batch"):
        grid = uniform_grid(sde, 2)
        RK45().step(RK45().init(batch.zeros()), 0, grid, problem.denoise, None)


def test_rk45_on_product_states() -> None:
    sde, batch, denoise, variance = product()
    drawn = sample(denoise, sde, batch, solver=RK45(1e-9, 1e-9), grid=uniform_grid(sde, 1), noise=noise(2))
    high = torch.full((2,), sde.t_max, dtype=torch.float64)
    latent = batch.expand(sde.marginal(high)[1], batch.zeros()) * noise(2).normal(batch, -1)
    final = variance(torch.zeros(2, dtype=torch.float64)) / variance(high)
    # The landing replaces the last of the noise by its mean: an error of the order of its variance.
    torch.testing.assert_close(drawn, latent * batch.expand(final.sqrt(), latent), atol=1e-2, rtol=0)
