"""Log-densities against closed forms: every kind of space, process and divergence estimator."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from scoregen.core import (
    EDM,
    VP,
    Denoise,
    DenseSpace,
    Grid,
    Noise,
    Prediction,
    RaggedSpace,
    RectifiedFlow,
    Space,
    karras_grid,
    log_snr_grid,
)
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.likelihood import (
    Exact,
    Hutchinson,
    bits_per_dim,
    degrees,
    gaussian_log_density,
    log_likelihood,
    log_prob,
    probe_of,
)
from scoregen.core.sde import SDE

from .gaussian import PROCESSES, example, noise, space
from .shaped import ShapedMixture, graph_space, on_graph, plain

SHAPED = {"edm": EDM(0.01, 80.0), "vp": VP(), "rectified_flow": RectifiedFlow(1e-3)}
ON = pytest.mark.parametrize("name", sorted(SHAPED))
ATOMS = 4  # samples in the 12-atom batches


def start(problem: ShapedMixture, batch: Space) -> tuple[Tensor, Tensor]:
    """Exact samples at ``t_min`` and their log-densities."""
    x = problem.draw(batch.size, problem.sde.t_min).reshape(batch.zeros().shape)
    return x, problem.log_prob(x, problem.sde.t_min)


# The 12-atom centre-of-mass-free shaped Gaussian: 0.01 nat.


@ON
@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_twelve_atoms_shaped_gaussian(name: str, method: str) -> None:
    """Data N(0, s²Σ): the closed form within 0.01 nat.

    The Jacobian is a multiple of the identity here, so Hutchinson is exact by construction (its probes have
    norm dof): this checks metric and projection. What the probes leave to chance is tested below.
    """
    batch = graph_space(ATOMS)
    problem = on_graph(SHAPED[name], shaped=True)
    assert batch.dof().tolist() == [33.0] * ATOMS
    x, exact = start(problem, batch)
    keywords = {"exact": True} if method == "exact" else {"probes": 2, "noise": noise(ATOMS)}
    found = log_prob(problem.denoise, problem.sde, x, batch, sigma_data=0.8, **keywords)
    assert float((found - exact).abs().max()) < 0.01


@ON
def test_twelve_atoms_another_covariance(name: str) -> None:
    """Data of a covariance unlike Σ: exact, and Hutchinson within three standard errors."""
    batch = graph_space(ATOMS)
    problem = on_graph(SHAPED[name])
    x, truth = start(problem, batch)
    sure = log_likelihood(problem.denoise, problem.sde, x, batch, exact=True, sigma_data=0.8)
    assert float((sure.log_prob - truth).abs().max()) < 0.01
    assert sure.error.tolist() == [0.0] * ATOMS
    found = log_likelihood(
        problem.denoise,
        problem.sde,
        x,
        batch,
        probes=16,
        noise=noise(ATOMS, 1),
        sigma_data=0.8,
        rtol=1e-4,
        atol=1e-4,
    )
    assert 0 < float(found.error.max()) < 2.0
    assert bool(((found.log_prob - truth).abs() < 3 * found.error + 0.01).all())
    assert float((found.latent - sure.latent).abs().max()) < 1e-3 * problem.sde.t_max + 1e-3


@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased_and_its_error_is_honest(law: str) -> None:
    """Many independent estimates of one sample: their mean is the truth, and z-scores have unit variance."""
    copies, sde = 64, EDM(0.01, 80.0)
    batch, problem = graph_space(copies), on_graph(sde)
    one = problem.draw(1, sde.t_min).reshape(-1, 3)
    truth = float(problem.log_prob(one, sde.t_min)[0])
    found = log_likelihood(
        problem.denoise,
        sde,
        one.repeat(copies, 1),
        batch,
        probes=16,
        probe=law,
        noise=noise(copies),
        grid=log_snr_grid(sde, 24, to_zero=False),
        sigma_data=0.8,
    )
    z = (found.log_prob - truth) / found.error
    assert abs(float(found.log_prob.mean()) - truth) < 4 * float(found.log_prob.std()) / math.sqrt(copies)
    assert 0.75 < float(z.std()) < 1.5


def test_the_prior_at_the_noisy_end() -> None:
    """A mixture whose data still show at ``t_max``: the default prior is off by what its docstring says."""
    sde = VP()
    problem, batch = plain(sde, 3), space(32)
    x, truth = start(problem, batch)

    def top(latent: Tensor) -> Tensor:
        return problem.log_prob(latent, sde.t_max)

    known = log_prob(problem.denoise, sde, x, batch, exact=True, prior=top, rtol=1e-6, atol=1e-6)
    assert float((known - truth).abs().max()) < 1e-3
    default = log_prob(problem.denoise, sde, x, batch, exact=True, rtol=1e-6, atol=1e-6)
    assert 1e-3 < float((default - truth).abs().max()) < 0.1


@pytest.mark.parametrize(("name", "width"), [("edm", 2), ("vp", 3), ("rectified_flow", 2)])
def test_mixtures_in_the_plane_and_in_space(name: str, width: int) -> None:
    problem, batch = plain(SHAPED[name], width), space(16, width)
    x, truth = start(problem, batch)

    def top(latent: Tensor) -> Tensor:
        return problem.log_prob(latent, problem.sde.t_max)

    sure = log_prob(problem.denoise, problem.sde, x, batch, exact=True, prior=top)
    assert float((sure - truth).abs().max()) < 0.01
    found = log_likelihood(
        problem.denoise, problem.sde, x, batch, probes=32, prior=top, probe="gaussian", noise=noise(16)
    )
    deviation = (found.log_prob - truth).abs() / (found.error + 1e-3)
    # 16 samples: with 31 degrees of freedom four standard errors are exceeded once in 3000 times.
    assert float(deviation.max()) < 4.5
    assert float((deviation < 3).double().mean()) > 0.9


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_every_process_on_a_gaussian(name: str) -> None:
    problem, batch = example(name), space(16)
    sde = problem.sde

    def exact(x: Tensor, t: float) -> Tensor:
        alpha, sigma = sde.marginal(torch.tensor(t, dtype=torch.float64))
        variance = problem.variance(alpha, sigma)
        return -0.5 * ((x - alpha * problem.mean) ** 2 / variance + (2 * math.pi * variance).log()).sum(1)

    x = problem.mean + problem.std * noise(16).normal(batch, 0)
    found = log_prob(
        problem.denoise, sde, x, batch, exact=True, prior=lambda latent: exact(latent, sde.t_max)
    )
    assert float((found - exact(x, sde.t_min)).abs().max()) < 0.01


# Layouts: data N(0, s² Σ), whose log-density is that of the noise, scaled.


def isotropic(sde: SDE, batch: Space, std: float = 0.7) -> Denoise:
    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (batch.expand(v.to(x.dtype), x) for v in sde.marginal(t))
        return Prediction(alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x, x, alpha, sigma)

    return denoise


def ragged(center: bool) -> RaggedSpace:
    index = torch.tensor([0, 0, 1, 2, 2, 2, 2])
    return RaggedSpace(index, 3, 2, center=center, dtype=torch.float64)


MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
SCALE = torch.tensor([[0.5, 2.0, 1.0, 3.0]], dtype=torch.float64)
LAYOUTS: dict[str, Callable[[], Space]] = {
    "dense": lambda: DenseSpace((3, 2, 2), dtype=torch.float64),
    "masked": lambda: DenseSpace((3, 4), mask=MASK, scale=SCALE, dtype=torch.float64),
    "ragged": lambda: ragged(False),
    "centred": lambda: ragged(True),
    "graph": lambda: graph_space(3, 5),
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("method", ["exact", "rademacher", "gaussian"])
def test_every_layout(layout: str, method: str) -> None:
    sde, batch = VP(), LAYOUTS[layout]()
    x = 0.7 * noise(3).normal(batch, 0)
    keywords: dict[str, Any] = {"exact": True} if method == "exact" else {"probe": method, "noise": noise(3)}
    found = log_prob(isotropic(sde, batch), sde, x, batch, sigma_data=0.7, **keywords)
    alpha, sigma = sde.marginal(torch.tensor(sde.t_min, dtype=torch.float64))
    width = float((alpha**2 * 0.7**2 + sigma**2).sqrt())
    torch.testing.assert_close(found, gaussian_log_density(batch, x, width), atol=1e-3, rtol=0)


def test_gaussian_log_density_is_that_of_the_projected_space() -> None:
    """Against torch's Gaussian, in an orthonormal basis of the projected space of a graph."""
    batch = graph_space(1, 5)
    covariance = torch.kron(batch.factor[0] @ batch.factor[0], torch.eye(3, dtype=torch.float64))
    _, basis = torch.linalg.eigh(covariance)
    basis = basis[:, 3:]
    x = noise(1).normal(batch, 0)
    law = torch.distributions.MultivariateNormal(
        torch.zeros(12, dtype=torch.float64), basis.T @ covariance @ basis * 1.3**2
    )
    expected = law.log_prob(basis.T @ x.flatten())
    torch.testing.assert_close(gaussian_log_density(batch, x, 1.3)[0], expected)


def fields() -> tuple[ProductSDE, ProductSpace, Denoise, Tensor]:
    sde = ProductSDE({"position": EDM(0.01, 20.0), "type": RectifiedFlow()}, {"position": 3.0})
    batch = ProductSpace({"position": ragged(True), "type": DenseSpace((3, 2), dtype=torch.float64)})
    std = torch.tensor([0.5, 1.5], dtype=torch.float64)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = sde.marginal(t.expand(3))
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return Prediction(batch.expand(gain, x) * x, x, batch.expand(alpha, x), batch.expand(sigma, x))

    return sde, batch, denoise, std


@pytest.mark.parametrize("method", ["exact", "rademacher", "gaussian"])
def test_product_states(method: str) -> None:
    sde, batch, denoise, std = fields()
    t = torch.full((3,), sde.t_min, dtype=torch.float64)
    alpha, sigma = sde.marginal(t)
    width = (alpha**2 * std**2 + sigma**2).sqrt()
    x = batch.expand(width, batch.zeros()) * noise(3).normal(batch, 0)
    keywords: dict[str, Any] = {"exact": True} if method == "exact" else {"probe": method, "probes": 2}
    found = log_likelihood(denoise, sde, x, batch, sigma_data=0.5, **keywords)
    parts = [
        gaussian_log_density(part, batch.unpack(x)[name], width[:, f])
        for f, (name, part) in enumerate(batch.fields.items())
    ]
    torch.testing.assert_close(found.log_prob, sum(parts), atol=2e-3, rtol=0)
    assert float(found.error.max()) < 1e-6, "each field's Jacobian is a multiple of the identity"


def test_coupled_fields() -> None:
    """A network that mixes the fields: Hutchinson agrees with the exact trace."""
    sde, batch, denoise, _ = fields()
    g = torch.Generator().manual_seed(0)
    mix = 0.1 * torch.randn(3, 3, dtype=torch.float64, generator=g)

    def coupled(x: Tensor, t: Tensor) -> Prediction:
        parts = batch.unpack(x)
        rest = torch.cat([parts["type"], batch.fields["position"].sum(parts["position"] ** 2)[:, None]], 1)
        shift = torch.tanh(rest @ mix)
        moved = {
            "position": 0.2 * torch.sin(parts["position"]) * shift[:, :1][ragged(True).index],
            "type": shift[:, :2],
        }
        base = denoise(x, t)
        return Prediction(batch.project(base.x0 + batch.pack(moved)), x, base.alpha, base.sigma)

    x = noise(3).normal(batch, 0)
    grid = Grid(sde, torch.linspace(1, 0.2, 5, dtype=torch.float64))
    sure = log_likelihood(coupled, sde, x, batch, exact=True, grid=grid)
    found = log_likelihood(coupled, sde, x, batch, probes=96, noise=noise(3), grid=grid)
    assert bool(((found.log_prob - sure.log_prob).abs() < 3.5 * found.error).all())
    assert 0.01 < float(found.error.max()) < 1.0


# What the estimate depends on.


def test_independent_of_the_batch() -> None:
    sde, ids = EDM(0.01, 80.0), torch.tensor([5, 3, 11, 8, 0, 2, 9])
    problem = plain(sde, 2)
    x = problem.draw(7, sde.t_min)

    def run(which: Tensor) -> Tensor:
        return log_prob(
            problem.denoise, sde, x[which], space(len(which), 2), probes=2, noise=Noise(1, ids[which])
        )

    whole = run(torch.arange(7))
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    torch.testing.assert_close(run(order), whole[order], atol=1e-10, rtol=0)
    alone = torch.cat([run(torch.tensor([i])) for i in range(7)])
    torch.testing.assert_close(alone, whole, atol=1e-10, rtol=0)


def test_fixed_steps_agree_with_adaptive_ones() -> None:
    sde = EDM(0.01, 80.0)
    problem, batch = plain(sde, 2), space(16, 2)
    x, truth = start(problem, batch)
    errors = []
    for steps in (20, 80):
        grid = karras_grid(sde, steps, to_zero=False)
        found = log_likelihood(
            problem.denoise,
            sde,
            x,
            batch,
            exact=True,
            grid=grid,
            prior=lambda latent: problem.log_prob(latent, sde.t_max),
        )
        assert found.calls.tolist() == [4 * steps] * 16
        errors.append(float((found.log_prob - truth).abs().max()))
    assert errors[0] < 0.05
    assert errors[1] < 0.1 * errors[0]


def test_translation_does_not_change_the_density() -> None:
    sde, batch = VP(), graph_space(2)
    problem = on_graph(sde)
    x, _ = start(problem, batch)
    keywords: dict[str, Any] = {"noise": noise(2), "rtol": 1e-4, "atol": 1e-4}
    here, there = (log_prob(problem.denoise, sde, at, batch, **keywords) for at in (x, x + 5.0))
    torch.testing.assert_close(here, there, atol=1e-8, rtol=0)


def test_float32_networks() -> None:
    batch = DenseSpace((4, 3))
    sde = EDM()
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        sigma = t.float()[:, None]
        return Prediction(x / (1 + sigma**2) + 0.1 * net(x / (1 + sigma)), x, torch.ones_like(sigma), sigma)

    x = noise(4).normal(batch, 0)
    found = log_likelihood(denoise, sde, x, batch, exact=True, rtol=1e-4, atol=1e-4)
    assert found.log_prob.dtype == torch.float64
    wide = DenseSpace((4, 3), dtype=torch.float64)
    net.double()
    sure = log_likelihood(
        lambda y, t: Prediction(
            y / (1 + t[:, None] ** 2) + 0.1 * net(y / (1 + t[:, None])), y, t[:, None], t[:, None]
        ),
        sde,
        x.double(),
        wide,
        exact=True,
    )
    torch.testing.assert_close(found.log_prob, sure.log_prob, atol=0.02, rtol=0)
    assert all(p.grad is None for p in net.parameters())


# The pieces.


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_trace_estimators(layout: str) -> None:
    """Exact: every direction of the projected space once. Hutchinson: probes of norm dof, projected."""
    batch = LAYOUTS[layout]()
    pairs = Exact(batch)
    total = sum(
        batch.sum(left * right) for left, right in (pairs.pair(k, batch.zeros()) for k in range(pairs.count))
    )
    torch.testing.assert_close(total, batch.dof())
    for gaussian in (False, True):
        probes = Hutchinson(batch, noise(3), 3, gaussian=gaussian)
        for k in range(3):
            left, right = probes.pair(k, batch.zeros())
            torch.testing.assert_close(batch.sum(left * right), batch.dof())
            torch.testing.assert_close(batch.project(left), left)
            torch.testing.assert_close(batch.project(right), right)


def test_probes_have_the_projection_as_covariance() -> None:
    """One Rademacher vector of four in eight is a mere mean and projects to nothing: it must not be lost."""
    count = 4000
    batch = RaggedSpace(torch.arange(count).repeat_interleave(4), count, 1, center=True, dtype=torch.float64)
    project = torch.eye(4, dtype=torch.float64) - 0.25
    for gaussian in (False, True):
        z = probe_of(batch, noise(count).white(batch, 0), gaussian=gaussian).reshape(count, 4)
        torch.testing.assert_close(z.T @ z / count, project, atol=0.05, rtol=0)


def test_bits_per_dim() -> None:
    """Uniform data on 256 levels costs eight bits; a standard Gaussian ½ log2(2πe) on average."""
    dof = torch.tensor([10.0, 3.0], dtype=torch.float64)
    uniform = dof * math.log(0.5)
    torch.testing.assert_close(
        bits_per_dim(uniform, dof, 2 / 256), torch.full((2,), 8.0, dtype=torch.float64)
    )
    entropy = -0.5 * dof * math.log(2 * math.pi * math.e)
    expected = torch.full((2,), 0.5 * math.log2(2 * math.pi * math.e), dtype=torch.float64)
    torch.testing.assert_close(bits_per_dim(entropy, dof), expected)
    with pytest.raises(ValueError, match="bin_width must be positive"):
        bits_per_dim(uniform, dof, 0.0)
    with pytest.raises(ValueError, match="without degrees of freedom"):
        bits_per_dim(uniform, dof * 0)


def test_refusals() -> None:
    problem, batch = example("edm"), space(2)
    x = batch.zeros()

    def run(denoise: Denoise = problem.denoise, state: Tensor = x, **keywords: Any) -> None:
        log_prob(denoise, problem.sde, state, batch, **keywords)

    for keywords, message in (
        ({"probes": 0}, "probes must be at least 1"),
        ({"probe": "cauchy"}, "probe 'cauchy' is not one of rademacher, gaussian"),
        ({"sigma_data": -1.0}, "sigma_data must not be negative"),
        ({"grid": karras_grid(VP(), 4)}, "made for another process"),
        ({"grid": karras_grid(EDM(), 4)}, "singular where sigma = 0"),
        ({"state": x[:1]}, r"a state of this space has shape \(2, 3\), got \(1, 3\)"),
        ({"denoise": torch.no_grad()(problem.denoise)}, "carries no gradient"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**keywords)
    with pytest.raises(ValueError, match="needs a ProductSpace"):
        degrees(batch, torch.ones(2, 2))
    single = log_likelihood(problem.denoise, problem.sde, x, batch, noise=noise(2))
    assert bool(single.error.isnan().all())


def test_an_estimate_that_ignores_some_elements() -> None:
    """Data at a point, written so that the graph does not reach x everywhere: the trace is zero there."""
    sde, batch = RectifiedFlow(1e-2), space(2, 2)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        unrelated = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
        return Prediction(unrelated * 1.0, x, x, x)

    x = 1e-2 * noise(2).normal(batch, 0)
    found = log_prob(denoise, sde, x, batch, exact=True)
    torch.testing.assert_close(found, gaussian_log_density(batch, x, 1e-2), atol=1e-3, rtol=0)
