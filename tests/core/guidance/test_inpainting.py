"""Inpainting: the fixed part is exact, the rest follows the analytic conditional."""

import pytest
import torch
from torch import Tensor

from scoregen.core import (
    EDM,
    VP,
    Denoiser,
    DenseSpace,
    Noise,
    Prediction,
    ProductSpace,
    RaggedSpace,
    RectifiedFlow,
    karras_grid,
    sample,
    uniform_grid,
)
from scoregen.core.guidance import ClassifierFree, EnergyGuidance, Inpainting, Within
from scoregen.core.likelihood import log_prob
from scoregen.core.solvers import DDIM, DPMpp2M, EulerMaruyama, Heun, solver_by_name
from scoregen.core.solvers import SOLVERS as REGISTERED
from scoregen.core.solvers.resample import Resampled
from scoregen.reference import reference_flow

from ..test_space import random_state
from .problems import ALL, F64, Correlated, correlated, time

SPACES = pytest.mark.parametrize("name", sorted(ALL))
SOLVERS = {
    "ddim": DDIM(),
    "ddpm": DDIM(1.0),
    "heun": Heun(),
    "dpmpp-2m": DPMpp2M(),
    "euler-maruyama": EulerMaruyama(),
    "repaint": Resampled(DDIM(1.0), times=3, jump=2),
    "repaint-multistep": Resampled(DPMpp2M(), times=2, jump=4),
}


def known_part(problem: Correlated, seed: int = 7) -> tuple[Tensor, Tensor]:
    """A mask of about a third of every space, and values that the data could have there."""
    space = problem.space
    mask = torch.rand(space.zeros().shape, generator=torch.Generator().manual_seed(seed)) < 0.35
    draw = random_state(space, seed).flatten()
    values, vectors = torch.linalg.eigh(problem.cov)
    data = problem.mean + vectors @ (values.clamp(min=0).sqrt() * draw)
    return mask, data.reshape(mask.shape)


@SPACES
def test_moment_matching_is_the_exact_conditional_estimate(name: str) -> None:
    sde, space = ALL[name]
    problem, x, t = correlated(sde, space), space.project(random_state(space, 1)), time(sde)
    mask, values = known_part(problem)
    operator = torch.eye(mask.numel(), dtype=F64)[mask.flatten()]
    exact = problem.given(operator, values[mask])
    with torch.no_grad():
        got = Inpainting(mask, values, space, 16)(problem.denoise)(x, t).x0
    assert torch.equal(got[mask], values[mask])
    torch.testing.assert_close(got, exact.denoise(x, t).x0, atol=1e-7, rtol=1e-6)


@SPACES
@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("iterations", [0, 3])
def test_the_fixed_part_is_kept_bit_for_bit(name: str, solver: str, iterations: int) -> None:
    """NaN where the values are unknown: nothing of them may leak."""
    sde, space = ALL[name]
    problem = correlated(sde, space)
    mask, values = known_part(problem)
    result = sample(
        problem.denoise,
        sde,
        space,
        solver=SOLVERS[solver],
        grid=karras_grid(sde, 8) if name != "product" else uniform_grid(sde, 8),
        noise=Noise(0, torch.arange(space.size)),
        guides=[Inpainting(mask, torch.where(mask, values, torch.nan), space, iterations)],
    )
    assert torch.equal(result[mask], values[mask])
    torch.testing.assert_close(space.project(result), result, atol=1e-9, rtol=0)


CORRELATED = torch.tensor(
    [[1.0, 0.6, -0.3, 0.5], [0.6, 0.8, 0.1, 0.2], [-0.3, 0.1, 0.6, -0.2], [0.5, 0.2, -0.2, 1.5]], dtype=F64
)
KNOWN = torch.tensor([True, True, False, False])
GIVEN = torch.tensor([1.4, -0.7, 0.0, 0.0], dtype=F64)


def statistics(sde, solver, steps: int, iterations: int, size: int = 12000) -> tuple[float, float]:
    """Relative errors of mean and covariance of the unknown half of four correlated dimensions."""
    one, space = DenseSpace((1, 4), dtype=F64), DenseSpace((size, 4), dtype=F64)
    problem = Correlated(
        sde, one, torch.tensor([0.5, 0.0, -1.0, 2.0], dtype=F64), CORRELATED, torch.eye(4, dtype=F64)
    )

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        gain, a, s = problem.gain(t)
        return Prediction(problem.mean + (x - a * problem.mean) @ gain.T, x, a, s)

    exact = problem.given(torch.eye(4, dtype=F64)[KNOWN], GIVEN[KNOWN])
    result = sample(
        denoise,
        sde,
        space,
        solver=solver,
        grid=karras_grid(sde, steps),
        noise=Noise(3, torch.arange(size)),
        guides=[Inpainting(KNOWN, GIVEN.expand(size, 4), space, iterations)],
    )
    assert torch.equal(result[:, KNOWN], GIVEN[KNOWN].expand(size, 2))
    mean, cov = exact.mean[~KNOWN], exact.cov[~KNOWN][:, ~KNOWN]
    free = result[:, ~KNOWN]
    return (
        float((free.mean(0) - mean).norm() / cov.diagonal().sum().sqrt()),
        float((free.T.cov() - cov).norm() / cov.norm()),
    )


@pytest.mark.parametrize("sde", [EDM(), VP()], ids=["edm", "vp"])
@pytest.mark.parametrize("solver", ["heun", "dpmpp-2m"])
def test_mean_and_covariance_within_five_percent(sde, solver: str) -> None:
    mean, cov = statistics(sde, SOLVERS[solver], 40, iterations=2)
    assert mean < 0.05
    assert cov < 0.05


@pytest.mark.parametrize("iterations", [0, 2])
def test_the_likelihood_of_the_inpainted_model(iterations: int) -> None:
    """The conditional Gaussian's for moment matching; the known part is as wide as the noise left."""
    sde, space = VP(), DenseSpace((2, 3), dtype=F64)
    problem = correlated(sde, space)
    mask, values = torch.tensor([[False, True, True]]).expand(2, 3), random_state(space, 3)
    exact = problem.given(torch.eye(6, dtype=F64)[mask.flatten()], values[mask])
    t = torch.full((2,), sde.t_min, dtype=F64)
    x, truth = exact.draw(t, 6)

    def top(latent: Tensor) -> Tensor:
        return exact.log_prob(latent, torch.full_like(t, sde.t_max))

    guided = Inpainting(mask, values, space, iterations)(problem.denoise)
    found = log_prob(guided, sde, x, space, exact=True, prior=top)
    if iterations:
        torch.testing.assert_close(found, truth, atol=5e-3, rtol=0)
    else:
        # Replacement is another model; its density is still that of its own flow.
        loose = {"method": "RK45", "rtol": 1e-5, "atol": 1e-5}
        flow = reference_flow(guided, sde, x, space, sde.t_min, sde.t_max, divergence=True, **loose)
        torch.testing.assert_close(found, flow.divergence + top(flow.x), atol=5e-3, rtol=0)
        assert float((found - truth).abs().max()) > 0.1


@pytest.mark.parametrize("solver", sorted(REGISTERED))
def test_every_solver_walks_the_path_of_the_conditional_model(solver: str) -> None:
    """Moment matching hands any solver, stochastic ones too, what the conditional model itself would say."""
    sde, space = VP(), DenseSpace((5, 4), dtype=F64)
    problem = correlated(sde, space)
    mask, values = known_part(problem)
    exact = problem.given(torch.eye(mask.numel(), dtype=F64)[mask.flatten()], values[mask])

    def draw(denoise, guides) -> Tensor:
        return sample(
            denoise,
            sde,
            space,
            solver=solver_by_name(solver),
            grid=karras_grid(sde, 12, sigma_max=20.0),
            noise=Noise(0, torch.arange(5)),
            guides=guides,
        )

    got = draw(problem.denoise, [Inpainting(mask, values, space, iterations=5)])
    torch.testing.assert_close(got, draw(exact.denoise, []), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(got[mask], values[mask], atol=1e-12, rtol=0)


def test_replacement_is_biased_and_resampling_helps() -> None:
    """What RePaint is for, and why it is not the default."""
    plain = statistics(VP(), DDIM(1.0), 40, 0, size=3000)[0]
    repaint = statistics(VP(), Resampled(DDIM(1.0), times=8), 40, 0, size=3000)[0]
    assert plain > 0.2
    assert repaint < 0.6 * plain


def run(problem: Correlated, guides, ids: Tensor) -> Tensor:
    return sample(
        problem.denoise,
        problem.sde,
        problem.space,
        solver=Resampled(DDIM(0.5), times=2, jump=3),
        grid=karras_grid(problem.sde, 10, sigma_max=20.0),
        noise=Noise(0, ids),
        guides=guides,
    )


@pytest.mark.parametrize("iterations", [0, 4])
def test_a_ragged_batch_equals_its_samples_alone(iterations: int) -> None:
    sde, space = ALL["ragged"]
    problem = correlated(sde, space)
    mask, values = known_part(problem)
    whole = run(problem, [Inpainting(mask, values, space, iterations)], torch.arange(3))
    for b in range(3):
        own = space.index == b
        single = RaggedSpace(torch.zeros(int(own.sum()), dtype=torch.int64), 1, dtype=F64)
        wide = own.repeat_interleave(3)
        part = Correlated(
            sde, single, problem.mean[wide], problem.cov[wide][:, wide], problem.noise_cov[wide][:, wide]
        )
        alone = run(part, [Inpainting(mask[own], values[own], single, iterations)], torch.tensor([b]))
        torch.testing.assert_close(alone, whole[own], atol=1e-9, rtol=1e-9)


def test_one_field_fixed_and_another_sampled() -> None:
    """The exact conditional of positions given types, with one schedule a field, on a whole trajectory."""
    sde, space = ALL["product"]
    assert isinstance(space, ProductSpace)
    problem = correlated(sde, space)
    blank = {name: torch.zeros_like(part) for name, part in space.unpack(space.zeros()).items()}
    types = torch.linspace(-1, 1, blank["type"].numel(), dtype=F64).reshape(blank["type"].shape)
    values = space.pack({**blank, "type": types})
    mask = space.pack(
        {name: torch.full_like(p, name == "type", dtype=torch.bool) for name, p in blank.items()}
    )
    exact = problem.given(torch.eye(len(mask), dtype=F64)[mask], values[mask])

    def draw(denoise, guides) -> Tensor:
        return sample(
            denoise,
            sde,
            space,
            solver=Heun(),
            grid=uniform_grid(sde, 30),
            noise=Noise(0, torch.arange(2)),
            guides=guides,
        )

    got = draw(problem.denoise, [Inpainting(mask, values, space, 12)])
    torch.testing.assert_close(got, draw(exact.denoise, []), atol=1e-6, rtol=1e-6)
    assert torch.equal(space.unpack(got)["type"], types)


def test_mixing_in_an_interval_energy_and_inpainting_together() -> None:
    """The three at once equal the closed form of their composition, and keep the fixed part."""
    sde, space = ALL["factor"]
    cond, free = correlated(sde, space, 0), correlated(sde, space, 1)
    mask, values = known_part(cond)
    slope, t = random_state(space, 2), time(sde)
    x = space.project(random_state(space, 1))
    mixing = ClassifierFree(free.denoise, space, 1.7)
    energy = EnergyGuidance(lambda x0: space.sum(slope * x0), space, torch.tensor([0.5, 1.0, 1.5]))
    inpaint = Inpainting(mask, values, space, 16)
    guides = [Within(mixing, sde, space, 0.5, 5.0), energy, inpaint]

    def composed(w: float, t: Tensor) -> Tensor:
        """Mixed estimate and covariance, tilt, then the linear-Gaussian update on the mask."""
        mixed = w * cond.denoise(x, t).x0 + (1 - w) * free.denoise(x, t).x0
        spread = w * cond.posterior(t) + (1 - w) * free.posterior(t)
        strength = space.expand(torch.tensor([0.5, 1.0, 1.5], dtype=F64), x)
        tilted = mixed.flatten() - (strength * (spread @ slope.flatten()).reshape(x.shape)).flatten()
        on = mask.flatten()
        inner = torch.linalg.pinv(spread[on][:, on], rtol=1e-10, hermitian=True)
        return (tilted + spread[:, on] @ inner @ (values.flatten()[on] - tilted[on])).reshape(x.shape)

    denoise = cond.denoise
    for guide in guides:
        denoise = guide(denoise)
    with torch.no_grad():
        for time_, weight in [(t, 1.7), (torch.tensor(0.3, dtype=F64), 1.0)]:
            got = denoise(x, time_).x0
            torch.testing.assert_close(got, composed(weight, time_), atol=1e-6, rtol=1e-6)
    result = run(cond, guides, torch.arange(3))
    assert bool(torch.isfinite(result).all())
    assert torch.equal(result[mask], values[mask])


@pytest.mark.parametrize("iterations", [0, 3])
def test_finite_from_no_signal_to_no_noise(iterations: int) -> None:
    sde, space = RectifiedFlow(), DenseSpace((3, 4), dtype=torch.float32)
    result = sample(
        lambda x, t: _point(sde, x, t),
        sde,
        space,
        solver=Resampled(Heun(), times=2, jump=5),
        grid=uniform_grid(sde, 12),
        noise=Noise(0, torch.arange(3)),
        guides=[Inpainting(torch.tensor([True, False, False, True]), torch.ones(3, 4), space, iterations)],
    )
    assert bool(torch.isfinite(result).all())
    assert torch.equal(result[:, [0, 3]], torch.ones(3, 2))


def _point(sde, x: Tensor, t: Tensor) -> Prediction:
    alpha, sigma = (value.to(x.dtype) for value in sde.marginal(t))
    return Prediction(0.5 + alpha * 0.04 / (alpha**2 * 0.04 + sigma**2) * (x - alpha * 0.5), x, alpha, sigma)


def test_a_network_in_single_precision() -> None:
    """Parameters that ask for gradients: none may reach them, none may leave with the samples."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.SiLU(), torch.nn.Linear(16, 4))

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor, level: Tensor, space, cond) -> Tensor:
            return self.layers(torch.cat([x, level[:, None]], 1))

    sde, space = EDM(), DenseSpace((5, 4))
    denoiser, mask = Denoiser(Network(), sde, 0.5), torch.tensor([True, True, False, False])
    result = sample(
        lambda x, t: denoiser(x, t, space),
        sde,
        space,
        solver=DPMpp2M(),
        grid=karras_grid(sde, 15),
        noise=Noise(0, torch.arange(5)),
        guides=[Inpainting(mask, torch.full((5, 4), 0.3), space)],
    )
    assert torch.equal(result[:, :2], torch.full((5, 2), 0.3))
    assert float(result.abs().max()) < 10
    assert not result.requires_grad
    assert all(p.grad is None for p in layers.parameters())


def test_everything_known_and_nothing_known() -> None:
    sde, space = ALL["ragged-centred"]
    problem = correlated(sde, space)
    _, values = known_part(problem)
    every = torch.ones(1, 1, dtype=torch.bool)
    assert torch.equal(run(problem, [Inpainting(every, values, space)], torch.arange(2)), values)
    nothing = run(problem, [Inpainting(~every, values, space)], torch.arange(2))
    torch.testing.assert_close(nothing, run(problem, [], torch.arange(2)), atol=1e-12, rtol=0)


def test_padding_stays_zero_whatever_is_known() -> None:
    """A mask of channels lies over the padding too, and values there may be anything."""
    pad = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    space = DenseSpace((3, 4), mask=pad, dtype=F64)
    problem = correlated(EDM(), space)
    mask = torch.tensor([False, True, False, True])
    values = torch.full((3, 4), 0.7, dtype=F64).masked_fill(~pad, torch.nan)
    for iterations in (0, 2):
        got = run(problem, [Inpainting(mask, values, space, iterations)], torch.arange(3))
        assert torch.equal(got[mask & pad], values[mask & pad])
        assert torch.equal(got[~pad], torch.zeros(3, dtype=F64))


@pytest.mark.parametrize("iterations", [0, 2])
def test_a_lone_centred_atom_stays_at_the_origin(iterations: int) -> None:
    space = RaggedSpace(torch.tensor([0, 1, 1, 1]), 2, features=2, center=True, dtype=F64)
    problem = correlated(EDM(), space)
    mask, values = torch.tensor([[True], [True], [False], [False]]), random_state(space, 4)
    got = run(problem, [Inpainting(mask, values, space, iterations)], torch.arange(2))
    assert torch.equal(got[0], torch.zeros(2, dtype=F64))
    assert torch.equal(got[1], values[1])


def test_refusals() -> None:
    space = DenseSpace((3, 4), dtype=F64)
    mask, values = torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"the mask must be bool, got torch\.float32"):
        Inpainting(mask.float(), values, space)
    with pytest.raises(ValueError, match=r"mask of shape \(5,\) does not fit a state of shape \(3, 4\)"):
        Inpainting(torch.ones(5, dtype=torch.bool), values, space)
    with pytest.raises(ValueError, match=r"values must be a state of shape \(3, 4\), got \(4,\)"):
        Inpainting(mask, values[0], space)
    with pytest.raises(ValueError, match="a known value is not finite"):
        Inpainting(mask, values + torch.inf, space)
    with pytest.raises(ValueError, match="sigma_data must be positive, got -1"):
        Inpainting(mask, values, space, sigma_data=-1)
    with pytest.raises(ValueError, match="iterations must be at least 0, got -1"):
        Inpainting(mask, values, space, -1)
