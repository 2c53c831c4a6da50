"""Predictor–corrector: its step, its sizes, and what it repairs."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, VP, DenseSpace, Grid, Prediction, karras_grid, sample
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.solvers import DDIM, Ancestral, DPMpp2M, Heun, PredictorCorrector, Resampled, Solver
from scoregen.core.solvers.base import State

from ..affine import moments
from ..gaussian import Gaussian, example, noise, ratio_grid, space


class Stay:
    """A predictor that does nothing, so that the corrector is seen alone."""

    def init(self, x: Tensor) -> State:
        return State(x)

    def step(self, carry: State, i: int, grid: Grid, denoise: object, draw: object) -> State:
        return carry


def corrected(solver: PredictorCorrector, problem: Gaussian, x: Tensor, n: Tensor, grid: Grid) -> Tensor:
    batch = DenseSpace(tuple(x.shape), dtype=torch.float64)
    result: Tensor = solver.step(solver.init(x), 0, grid.on(batch), problem.denoise, lambda i, stage=0: n).x
    return result


def test_follows_the_langevin_step_of_song() -> None:
    """``x + τ s + √(2τ) n`` with ``τ = 2 (snr ‖n‖/‖s‖)²``: algorithms 4 and 5, norms of each sample."""
    problem, grid = example("vp"), ratio_grid(VP(), 1, high=2.0, low=1.0)
    x, n = noise(6).normal(space(6), -1), noise(6).normal(space(6), 0)
    prediction = problem.denoise(x, grid.times[1])
    score, sigma, snr = prediction.score, grid.sigma[1], 0.11
    for rule, size in (
        ("expected", 2 * (snr * sigma) ** 2),
        ("norm", (2 * snr**2 * 3 / score.square().sum(1, keepdim=True)).clamp(max=sigma**2 / 2)),
    ):
        solver = PredictorCorrector(Stay(), snr, rule=rule, variance="published")
        expected = x + size * score + (2 * size).sqrt() * n
        torch.testing.assert_close(corrected(solver, problem, x, n, grid), expected)
        solver = PredictorCorrector(Stay(), snr, rule=rule)
        square = score.square().mean(1, keepdim=True)
        expected = x + size * score + (2 * size - size**2 * square).sqrt() * n
        torch.testing.assert_close(corrected(solver, problem, x, n, grid), expected)


def test_step_sizes_in_the_metric_of_the_noise() -> None:
    """Noise of another scale, data of the same shape: the whitened run is the plain run."""
    size, scale = 5, torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    plain, shaped = space(size), DenseSpace((size, 3), scale=scale, dtype=torch.float64)
    full = torch.ones(3, dtype=torch.float64)
    solver, grid = PredictorCorrector(rule="norm"), karras_grid(EDM(), 10)
    results = []
    for batch in (plain, shaped):
        problem = Gaussian(EDM(), 0 * full, 0.7 * full)  # the gain of data N(0, 0.7² Σ) under noise Σ
        result = sample(problem.denoise, EDM(), batch, solver=solver, grid=grid, noise=noise(size))
        results.append(batch.whiten(result))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("level", [0.1, 1.0, 10.0])
def test_the_corrector_keeps_the_marginal(level: float) -> None:
    """400 steps at one level from the exact law: the analytic noise keeps it, the published widens it."""
    full = torch.ones(1, dtype=torch.float64)
    problem, start = Gaussian(EDM(), full, full), 1 + level**2
    grid = ratio_grid(EDM(), 1, high=1.001 * level, low=level)

    def after(solver: PredictorCorrector) -> float:
        """Variance after repeated steps ``x ↦ a x + b + c n``."""
        basis = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
        draws = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
        b, one, c = corrected(solver, problem, basis, draws, grid)[:, 0]
        variance = start
        for _ in range(400):
            variance = float((one - b) ** 2 * variance + (c - b) ** 2)
        return variance / start

    assert after(PredictorCorrector(Stay(), sigma_data=1.0)) == pytest.approx(1, abs=1e-12)
    tau = 2 * (0.16 * level) ** 2
    decayed = 1 - (1 - tau / start) ** 800
    wide = 1 + (1 / (1 - tau / (2 * start)) - 1) * decayed
    assert after(PredictorCorrector(Stay(), variance="published")) == pytest.approx(wide, rel=1e-9)


def test_the_corrector_pulls_a_wrong_predictor_to_the_data() -> None:
    """DDIM loses 9 % of the variance in 64 steps; every correction gives some of it back."""
    full = torch.ones(1, dtype=torch.float64)
    problem, grid = Gaussian(EDM(), full, 0.5 * full), karras_grid(EDM(), 64)
    solvers: list[Solver[Any]] = [DDIM()]
    solvers += [PredictorCorrector(DDIM(), 0.3, count, sigma_data=0.5) for count in (1, 2, 4)]
    lost = [abs(float(moments(problem, solver, grid, most=6)[1]) / 0.25 - 1) for solver in solvers]
    assert lost[0] > 0.08
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] < 0.5 * lost[0]


def test_predictors() -> None:
    """Rules of one step suit; a multistep rule takes the corrector's noise for a slope."""
    full = torch.ones(1, dtype=torch.float64)
    problem, grid = Gaussian(EDM(), full, 0.5 * full), karras_grid(EDM(), 64)
    predictors: tuple[Solver[Any], ...] = (Ancestral(sigma_data=0.5), Heun(), DPMpp2M())
    errors = {
        type(p).__name__: abs(
            float(moments(problem, PredictorCorrector(p, sigma_data=0.5), grid)[1]) / 0.25 - 1
        )
        for p in predictors
    }
    assert errors["Ancestral"] < 1e-3
    assert errors["Heun"] < 0.02
    assert 0.02 < errors["DPMpp2M"] < 0.05


@pytest.mark.parametrize("predictor", [Ancestral(), DPMpp2M(), Heun()], ids=str)
def test_corrections_around_time_travel_are_kept(predictor: Solver[Any]) -> None:
    """One pass of time travel is its solver, corrected or not; more passes start from the correction."""
    problem, grid, size = example("edm"), karras_grid(EDM(), 12), 5

    def end(solver: Solver[Any]) -> Tensor:
        return sample(problem.denoise, EDM(), space(size), solver=solver, grid=grid, noise=noise(size))

    corrected_once = end(PredictorCorrector(Resampled(predictor, times=1)))
    assert torch.equal(corrected_once, end(PredictorCorrector(predictor)))
    travelled = Resampled(predictor, times=2)
    assert not torch.allclose(end(PredictorCorrector(travelled)), end(travelled))
    assert torch.equal(end(Resampled(travelled, times=1)), end(travelled))


def test_the_norm_rule_errs_in_few_dimensions() -> None:
    """A step that depends on the state shifts the law: a third in 1 dimension, little in 60."""
    excess = {}
    for width in (1, 60):
        full = torch.ones(width, dtype=torch.float64)
        problem, size = Gaussian(EDM(), full, 0.5 * full), 6000 // width
        grid, batch = karras_grid(EDM(), 64), space(size, width)
        solver = PredictorCorrector(rule="norm")
        result = sample(problem.denoise, EDM(), batch, solver=solver, grid=grid, noise=noise(size))
        excess[width] = float((result - 1).square().mean()) / 0.25 - 1
    assert excess[1] > 0.2
    assert abs(excess[60]) < 0.08


def test_a_field_without_noise_is_left_alone() -> None:
    """A product whose fields end at different times: only the noisy one is corrected."""

    class Early(EDM):
        def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
            alpha, sigma = super().marginal(t)
            return alpha, (sigma - 40.0).clamp(min=0.0)

    size = 3
    process = ProductSDE({"long": EDM(), "short": Early()})
    whole = ProductSpace({"long": space(size), "short": space(size)})
    grid = Grid(process, torch.tensor([0.9, 0.4])).on(whole)
    x, n = noise(size).normal(whole, -1), noise(size).normal(whole, 0)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return Prediction(0.5 * x, x, t, t)

    for solver in (
        PredictorCorrector(Stay()),
        PredictorCorrector(Stay(), rule="norm"),
        PredictorCorrector(Stay(), sigma_data=1.0),
        PredictorCorrector(Stay(), rule="norm", sigma_data=1.0),
    ):
        result = solver.step(solver.init(x), 0, grid, denoise, lambda i, stage=0: n).x
        parts, before = whole.unpack(result), whole.unpack(x)
        torch.testing.assert_close(parts["short"], before["short"], rtol=0, atol=0)
        assert float((parts["long"] - before["long"]).abs().min()) > 0


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"snr must lie in \(0, 0.707\], got 0"):
        PredictorCorrector(snr=0)
    with pytest.raises(ValueError, match=r"corrections must lie in 0..128, got 200"):
        PredictorCorrector(corrections=200)
    with pytest.raises(ValueError, match="rule must be one of expected, norm, got 'x'"):
        PredictorCorrector(rule="x")
    with pytest.raises(ValueError, match="variance must be 'analytic' or 'published', got 'x'"):
        PredictorCorrector(variance="x")
    assert math.isclose(PredictorCorrector().snr, 0.16)
