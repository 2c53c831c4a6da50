"""Preconditioning and the equivalence of what a network may predict."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from scoregen.core import EDM, VP, Denoiser, DenseSpace, Prediction, RectifiedFlow
from scoregen.core.denoiser import PARAMETRISATIONS, estimate_from
from scoregen.core.fields import ProductSDE, ProductSpace

from .gaussian import PROCESSES, example, noise, space

VANISHING = ("cosine", "rectified_flow")


class Fixed(nn.Module):
    """A network that remembers how it was called and returns a chosen tensor."""

    def __init__(self, out=None):
        super().__init__()
        self.out, self.seen = out, None

    def forward(self, x, level, space, cond):
        self.seen = (x, level, cond)
        return torch.zeros_like(x) if self.out is None else self.out


@pytest.mark.parametrize("name", sorted(PROCESSES))
@pytest.mark.parametrize("sigma_data", [0.5, 1.7])
def test_a_silent_network_is_the_exact_gaussian_denoiser(name: str, sigma_data: float) -> None:
    """The skip path alone is the posterior mean of N(0, σ_d²): what is left for F is not Gaussian."""
    sde, x = PROCESSES[name], torch.randn(5, 3, dtype=torch.float64)
    t = torch.linspace(sde.t_min, sde.t_max, 5, dtype=torch.float64)
    alpha, sigma = (v[:, None] for v in sde.marginal(t))
    expected = alpha * sigma_data**2 / (alpha**2 * sigma_data**2 + sigma**2) * x
    prediction = Denoiser(Fixed(), sde, sigma_data)(x, t, space(5))
    torch.testing.assert_close(prediction.x0, expected, rtol=1e-12, atol=1e-14)


def test_edm_factors_are_table_one() -> None:
    sigma_data, sigma = 0.5, torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    out = torch.full((3, 2), 2.0, dtype=torch.float64)
    network = Fixed(out)
    x = torch.ones(3, 2, dtype=torch.float64)
    prediction = Denoiser(network, EDM(), sigma_data)(x, sigma, space(3, 2), "condition")
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()
    torch.testing.assert_close(prediction.x0[:, 0], c_skip + 2 * c_out)
    seen, level, cond = network.seen
    torch.testing.assert_close(seen[:, 0], 1 / (sigma**2 + sigma_data**2).sqrt())
    torch.testing.assert_close(level, sigma.log() / 4)
    assert cond == "condition"


def test_network_input_has_unit_variance() -> None:
    sde, size = VP(), 4000
    network, keyed = Fixed(), noise(size)
    data = 0.5 * torch.randn(size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t in (0.01, 0.3, 1.0):
        alpha, sigma = (float(v) for v in sde.marginal(torch.tensor(t)))
        x = alpha * data + sigma * keyed.normal(space(size), 0)
        Denoiser(network, sde, 0.5)(x, torch.tensor(t), space(size))
        assert float(network.seen[0].std()) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("t", [0.0, 1e-12, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_where_signal_or_noise_is_zero(t: float, dtype: torch.dtype) -> None:
    """Zero terminal SNR (α = 0) and no noise (σ = 0), both ends of rectified flow."""
    network = Fixed(torch.ones(2, 3, dtype=dtype))
    x = torch.randn(2, 3, dtype=dtype)
    prediction = Denoiser(network, RectifiedFlow(), 0.7)(x, torch.tensor(t), DenseSpace((2, 3), dtype=dtype))
    assert bool(torch.isfinite(prediction.x0).all())
    assert bool(torch.isfinite(network.seen[1]).all())
    assert prediction.x0.dtype == dtype
    if t == 0.0:
        torch.testing.assert_close(prediction.x0, x)
    if t == 1.0:
        assert bool(torch.isfinite(prediction.eps).all())
        torch.testing.assert_close(prediction.x0, torch.full_like(x, 0.7))


@pytest.mark.parametrize("parametrisation", PARAMETRISATIONS)
@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_every_parametrisation_states_the_same_denoiser(name: str, parametrisation: str) -> None:
    """Feed each form of network the output that belongs to one x_0; each must give that x_0 back."""
    # Kept away from α = 0, where ε and score say nothing of the data.
    sde, sigma_data = replace(PROCESSES[name], t_max=0.99) if name in VANISHING else PROCESSES[name], 0.8
    t = torch.linspace(sde.t_min + 0.1, sde.t_max * 0.9, 4, dtype=torch.float64)
    x, x0 = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    alpha, sigma = (v[:, None] for v in sde.marginal(t))
    truth = Prediction(x0, x, alpha, sigma)
    norm = (sigma**2 + alpha**2 * sigma_data**2).sqrt()
    # The v of a general process: x_0 = (α x − σ v)/(α² + σ²), which is Salimans & Ho's when α² + σ² = 1.
    outputs = {
        "edm": (x0 - alpha * sigma_data**2 / norm**2 * x) * norm / (sigma * sigma_data),
        "x0": x0,
        "eps": truth.eps,
        "v": truth.v,
        "score": truth.score,
        "flow": truth.flow(*(rate[:, None] for rate in sde.rates(t))),
    }
    prediction = Denoiser(Fixed(outputs[parametrisation]), sde, sigma_data, parametrisation)(x, t, space(4))
    torch.testing.assert_close(prediction.x0, x0, rtol=1e-9, atol=1e-9)


def test_prediction_identities_and_score() -> None:
    problem = example("vp")
    t = torch.full((6,), 0.4, dtype=torch.float64)
    x = torch.randn(6, 3, dtype=torch.float64).requires_grad_()
    prediction = problem.denoise(x, t)
    torch.testing.assert_close(prediction.alpha * prediction.x0 + prediction.sigma * prediction.eps, x)
    alpha, sigma = problem.sde.marginal(t[0])
    log_p = -0.5 * ((x - alpha * problem.mean) ** 2 / problem.variance(alpha, sigma)).sum()
    (score,) = torch.autograd.grad(log_p, x)
    torch.testing.assert_close(prediction.score, score)
    torch.testing.assert_close(prediction.v, alpha * prediction.eps - sigma * prediction.x0)


def test_the_output_is_projected() -> None:
    mask = torch.tensor([[True, False, True]])
    masked = DenseSpace((1, 3), mask=mask)
    prediction = Denoiser(Fixed(torch.ones(1, 3)), EDM())(torch.zeros(1, 3), torch.tensor(1.0), masked)
    assert float(prediction.x0[0, 1]) == 0.0
    assert float(prediction.x0[0, 0]) != 0.0


def test_times_per_sample_equal_scalar_times() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    denoiser = Denoiser(Fixed(), PROCESSES["vp"], 0.5)
    t = torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(denoiser(x, t, space(4)).x0, denoiser(x, t.expand(4), space(4)).x0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="'noise' is not one of edm, x0, eps, score, v, flow"):
        Denoiser(Fixed(), EDM(), parametrisation="noise")
    for value in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="sigma_data must be positive"):
            Denoiser(Fixed(), EDM(), value)


@pytest.mark.parametrize("name", VANISHING)
@pytest.mark.parametrize("parametrisation", ["eps", "score"])
def test_what_cannot_be_inverted_without_signal_is_refused(name: str, parametrisation: str) -> None:
    with pytest.raises(ValueError, match=f"'{parametrisation}' says nothing about the data"):
        Denoiser(Fixed(), PROCESSES[name], parametrisation=parametrisation)


@pytest.mark.parametrize("parametrisation", ["edm", "x0", "v", "flow"])
@pytest.mark.parametrize("name", VANISHING)
def test_the_other_parametrisations_stand_a_start_without_signal(name: str, parametrisation: str) -> None:
    x = torch.randn(3, 3, dtype=torch.float64)
    prediction = Denoiser(Fixed(x / 2), PROCESSES[name], 0.9, parametrisation)(x, torch.tensor(1.0), space(3))
    assert bool(torch.isfinite(prediction.x0).all())


def test_each_field_of_a_product_has_its_own_scale() -> None:
    """A silent network over two independent fields is each field's own Gaussian denoiser."""
    sde = ProductSDE({"a": EDM(), "b": VP()})
    batch = ProductSpace({"a": space(4, 2), "b": space(4, 3)})
    x, t = torch.randn(20, dtype=torch.float64), torch.linspace(0.1, 0.9, 4, dtype=torch.float64)
    network = Fixed()
    parts = batch.unpack(Denoiser(network, sde, (0.5, 2.0))(x, t, batch).x0)
    assert network.seen[1].shape == (4, 2)
    for name, process, spread in (("a", EDM(), 0.5), ("b", VP(), 2.0)):
        alone = Denoiser(Fixed(), process, spread)
        own = batch.unpack(x)[name]
        torch.testing.assert_close(parts[name], alone(own, t * process.t_max, batch.fields[name]).x0)
    with pytest.raises(ValueError, match="sigma_data must be positive"):
        Denoiser(Fixed(), sde, (1.0, 0.0))


def test_reading_an_output_refuses_unknown_forms() -> None:
    with pytest.raises(ValueError, match="'edm' is not one of x0, eps, score, v, flow"):
        estimate_from("edm", EDM())
