"""The scipy route against closed forms, and the core's integrator and likelihood against the scipy route."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import scoregen.reference
from scoregen.core import EDM, VP, DenseSpace, Prediction, RaggedSpace, RectifiedFlow
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.flow import decode, encode
from scoregen.core.likelihood import gaussian_log_density, log_likelihood
from scoregen.reference import reference_flow

from .core.gaussian import PROCESSES, example, noise, space
from .core.shaped import graph_space, on_graph, plain


@pytest.mark.parametrize("name", sorted(PROCESSES))
@pytest.mark.parametrize("method", ["DOP853", "RK45"])
def test_the_closed_form_of_a_gaussian(name: str, method: str) -> None:
    problem, batch = example(name), space(2)
    sde = problem.sde
    x = problem.mean + problem.std * noise(2).normal(batch, 0)
    tolerance = 1e-10 if method == "DOP853" else 1e-8
    start, end = sde.t_min + 0.02 * (sde.t_max - sde.t_min), 0.8 * sde.t_max
    found = reference_flow(
        problem.denoise, sde, x, batch, start, end, method=method, rtol=tolerance, atol=tolerance
    )
    exact = problem.flow(x, *torch.tensor([start, end], dtype=torch.float64))
    torch.testing.assert_close(found.x, exact, rtol=1e-6, atol=1e-6)
    assert found.divergence is None
    assert bool((found.calls > 10).all())


@pytest.mark.parametrize("sde", [EDM(0.01, 80.0), VP(), RectifiedFlow(1e-3)], ids=["edm", "vp", "flow"])
def test_our_integrator_on_a_mixture(sde: EDM | VP | RectifiedFlow) -> None:
    """The end points of the probability flow of a mixture, from noise to data."""
    problem, batch = plain(sde, 3), space(3)
    high = sde.marginal(torch.tensor(sde.t_max, dtype=torch.float64))[1]
    latent = high * noise(3).normal(batch, -1)
    truth = reference_flow(problem.denoise, sde, latent, batch, sde.t_max, sde.t_min, rtol=1e-9, atol=1e-9)
    found = decode(problem.denoise, sde, latent, batch, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.x, truth.x, atol=1e-5, rtol=0)
    loose = decode(problem.denoise, sde, latent, batch, rtol=1e-4, atol=1e-4)
    assert float((loose.x - truth.x).square().mean().sqrt()) < 0.02
    assert int(loose.calls.max()) < 150


def test_our_likelihood_on_a_mixture() -> None:
    sde = VP()
    problem, batch = plain(sde, 2), space(2, 2)
    x = problem.draw(2, sde.t_min)
    truth = reference_flow(
        problem.denoise, sde, x, batch, sde.t_min, sde.t_max, rtol=1e-7, atol=1e-7, divergence=True
    )
    sigma = sde.marginal(torch.tensor(sde.t_max, dtype=torch.float64))[1]
    expected = truth.divergence + gaussian_log_density(batch, truth.x, sigma)
    found = log_likelihood(problem.denoise, sde, x, batch, exact=True, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(found.log_prob, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.latent, truth.x, atol=1e-5, rtol=0)


def test_shaped_centred_graphs() -> None:
    sde, batch = VP(), graph_space(1)
    problem = on_graph(sde, 2)
    x = problem.draw(1, 0.2).reshape(-1, 3)
    truth = reference_flow(
        problem.denoise, sde, x, batch, 0.2, 0.5, rtol=1e-7, atol=1e-7, divergence=True, method="RK45"
    )
    torch.testing.assert_close(batch.project(truth.x), truth.x, atol=1e-9, rtol=0)
    found = encode(problem.denoise, sde, x, batch, t=0.2, to=0.5, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.x, truth.x, atol=1e-5, rtol=0)
    assert truth.divergence is not None
    change = problem.log_prob(x, 0.2) - problem.log_prob(truth.x, 0.5)
    torch.testing.assert_close(truth.divergence, change, atol=1e-4, rtol=0)


def test_product_states() -> None:
    sde = ProductSDE({"position": EDM(0.01, 20.0), "type": RectifiedFlow()}, {"position": 3.0})
    batch = ProductSpace(
        {
            "position": RaggedSpace(torch.tensor([0, 0, 0, 1, 1]), 2, 3, center=True, dtype=torch.float64),
            "type": DenseSpace((2, 4), dtype=torch.float64),
        }
    )

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        alpha, sigma = (batch.expand(v, x) for v in sde.marginal(t))
        return Prediction(torch.tanh(x / (sigma + 0.5)), x, alpha, sigma)

    x = noise(2).normal(batch, 0)
    truth = reference_flow(denoise, sde, x, batch, 0.3, 1.0, rtol=1e-8, atol=1e-8)
    found = encode(denoise, sde, x, batch, t=0.3, to=1.0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.x, truth.x, atol=1e-5, rtol=1e-5)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, batch = example("edm"), space(2)
    x = batch.zeros()
    with pytest.raises(ValueError, match="method 'Euler' is not one of DOP853, RK45"):
        reference_flow(problem.denoise, problem.sde, x, batch, 1.0, 2.0, method="Euler")
    with pytest.raises(ValueError, match="singular where sigma = 0"):
        reference_flow(problem.denoise, problem.sde, x, batch, 0.0, 2.0)

    def gave_up(*args: object, **keywords: object) -> SimpleNamespace:
        return SimpleNamespace(success=False, t=[1.0, math.pi], message="Required step size is too small.")

    monkeypatch.setattr(scoregen.reference, "solve_ivp", gave_up)
    with pytest.raises(RuntimeError, match=r"stopped at t = 3\.14159 in sample 0: Required step"):
        reference_flow(problem.denoise, problem.sde, x, batch, 1.0, 2.0)
