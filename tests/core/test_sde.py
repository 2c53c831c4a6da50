"""Schedules against finite differences, simulation and their own inverses."""

import itertools
import math

import pytest
import torch

from scoregen.core import EDM, SDE, VE, VP, Cosine, RectifiedFlow, SubVP, log_snr
from scoregen.core.sde import Schedule, sde_from_config, sde_to_config

from .gaussian import PROCESSES as COMMON

PROCESSES: dict[str, SDE] = {
    **COMMON,
    "vp_zero_snr": VP(zero_terminal_snr=True),
    "trigonometric": Cosine(offset=0.0),
}
NAMES = sorted(PROCESSES)


def inner_times(sde: SDE, count: int = 25) -> torch.Tensor:
    """Times strictly inside the range, where every schedule is smooth."""
    width = sde.t_max - sde.t_min
    return torch.linspace(sde.t_min + 0.02 * width, sde.t_max - 0.02 * width, count, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_rates_are_the_derivatives_of_the_marginal(name: str) -> None:
    sde, t = PROCESSES[name], inner_times(PROCESSES[name])
    h = 1e-5 * (sde.t_max - sde.t_min)
    for rate, late, early in zip(sde.rates(t), sde.marginal(t + h), sde.marginal(t - h), strict=True):
        torch.testing.assert_close(rate, (late - early) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_coefficients_satisfy_the_moment_equations(name: str) -> None:
    """``dα/dt = fα`` and ``dσ²/dt = 2fσ² + g²`` (Särkkä & Solin 2019, eq. 5.50–5.51)."""
    sde, t = PROCESSES[name], inner_times(PROCESSES[name])
    (alpha, sigma), (alpha_rate, sigma_rate) = sde.marginal(t), sde.rates(t)
    drift, diffusion = sde.coefficients(t)
    torch.testing.assert_close(drift * alpha, alpha_rate, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        2 * drift * sigma**2 + diffusion, 2 * sigma * sigma_rate, rtol=1e-9, atol=1e-12
    )
    assert bool((diffusion > 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_a_simulated_forward_sde_has_the_marginal(name: str) -> None:
    """Euler–Maruyama paths of ``dx = f x dt + g dw`` from a point: mean α x_0, standard deviation σ."""
    sde = PROCESSES[name]
    paths, steps, x0 = 20_000, 600, 3.0
    end = sde.t_min + 0.9 * (sde.t_max - sde.t_min)
    times = torch.linspace(sde.t_min, end, steps + 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    alpha, sigma = (float(value) for value in sde.marginal(times[0]))
    x = alpha * x0 + sigma * torch.randn(paths, dtype=torch.float64, generator=generator)
    for t, s in itertools.pairwise(times):
        # Midpoint coefficients: the simulation's own bias is then of second order in the step.
        drift, diffusion = sde.coefficients((t + s) / 2)
        w = torch.randn(paths, dtype=torch.float64, generator=generator)
        x = x * torch.exp(drift * (s - t)) + (diffusion * (s - t)).sqrt() * w
    alpha, sigma = (float(value) for value in sde.marginal(times[-1]))
    assert float(x.mean()) == pytest.approx(alpha * x0, abs=4.5 * sigma / math.sqrt(paths))
    assert float(x.std()) == pytest.approx(sigma, rel=4.5 / math.sqrt(2 * paths) + 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_time_inverts_log_snr(name: str) -> None:
    sde, t = PROCESSES[name], inner_times(PROCESSES[name])
    levels = log_snr(sde, t)
    assert bool((levels.diff() < 0).all()), "signal must fade as time grows"
    torch.testing.assert_close(sde.time(levels), t, rtol=1e-9, atol=1e-12)


def test_known_values() -> None:
    alpha, sigma = VP(0.1, 20.0).marginal(torch.tensor(1.0))
    assert float(alpha) == pytest.approx(math.exp(-0.25 * 19.9 - 0.05), rel=1e-12)
    assert float(alpha**2 + sigma**2) == pytest.approx(1.0, rel=1e-12)
    drift, diffusion = VP(0.1, 20.0).coefficients(torch.tensor(0.5))
    beta = 0.1 + 0.5 * 19.9
    assert float(drift) == pytest.approx(-beta / 2, rel=1e-12)
    assert float(diffusion) == pytest.approx(beta, rel=1e-12)
    assert float(VE(0.01, 50.0).marginal(torch.tensor(0.5))[1]) == pytest.approx(math.sqrt(0.5), rel=1e-12)
    assert [float(v) for v in EDM().coefficients(torch.tensor(3.0))] == pytest.approx([0.0, 6.0])
    assert [float(v) for v in RectifiedFlow().marginal(torch.tensor(0.25))] == pytest.approx([0.75, 0.25])


def test_sub_vp_has_the_coefficients_of_its_paper() -> None:
    """``f = −½β`` and ``g² = β(1 − e^{−2∫β})`` (Song et al. 2021, eq. 28–29)."""
    sde, t = SubVP(0.1, 20.0), torch.linspace(0.01, 1, 9, dtype=torch.float64)
    beta, integral = 0.1 + 19.9 * t, 0.1 * t + 0.5 * 19.9 * t**2
    drift, diffusion = sde.coefficients(t)
    torch.testing.assert_close(drift, -0.5 * beta)
    torch.testing.assert_close(diffusion, beta * -torch.expm1(-2 * integral))
    assert bool((sde.marginal(t)[1] < VP(0.1, 20.0).marginal(t)[1]).all())


def test_cosine_is_equation_seventeen() -> None:
    s, t = 0.008, torch.linspace(0, 1, 11, dtype=torch.float64)
    level = ((t + s) / (1 + s) * math.pi / 2).cos() ** 2
    alpha, sigma = Cosine(s).marginal(t)
    torch.testing.assert_close(alpha**2, level / level[0])
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    alpha, sigma = Cosine(offset=0.0).marginal(t)
    torch.testing.assert_close(torch.atan2(sigma, alpha), t * math.pi / 2)


def test_zero_terminal_snr_is_the_shifted_schedule() -> None:
    """α loses its last value and is scaled back to 1 at the data (Lin et al. 2024, algorithm 1)."""
    plain, shifted, t = VP(), VP(zero_terminal_snr=True), torch.linspace(0, 1, 21, dtype=torch.float64)
    last = plain.marginal(t[-1])[0]
    alpha, sigma = shifted.marginal(t)
    torch.testing.assert_close(alpha, (plain.marginal(t)[0] - last) / (1 - last))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    assert (float(alpha[-1]), float(sigma[-1])) == (0.0, 1.0)
    assert float(shifted.marginal(torch.tensor(1e-12, dtype=torch.float64))[1]) > 0


@pytest.mark.parametrize("name", NAMES)
def test_schedules_are_float64_whatever_comes_in(name: str) -> None:
    sde = PROCESSES[name]
    t = torch.tensor([0.1, 0.2], dtype=torch.float32)
    for value in (*sde.marginal(t), *sde.rates(t), *sde.coefficients(t), sde.time(t)):
        assert value.dtype == torch.float64
        assert value.shape == t.shape


def test_vp_keeps_its_digits_near_the_data() -> None:
    """``σ = √(1 − α²)`` computed that way would lose every digit at small times."""
    t = torch.tensor(1e-12, dtype=torch.float64)
    assert float(VP().marginal(t)[1]) == pytest.approx(math.sqrt(0.1 * 1e-12), rel=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VP(beta_min=0.0),
        lambda: VP(beta_min=3.0, beta_max=2.0),
        lambda: VE(sigma_min=-1.0),
        lambda: VE(sigma_min=5.0, sigma_max=5.0),
        lambda: EDM(sigma_min=0.0),
        lambda: EDM(sigma_min=float("nan")),
        lambda: RectifiedFlow(t_max=1.5),
        lambda: SubVP(beta_max=0.05),
        lambda: Cosine(t_max=1.1),
        lambda: Cosine(t_min=0.0),
        lambda: Cosine(offset=-0.1),
    ],
)
def test_impossible_processes_are_refused(make) -> None:
    with pytest.raises(ValueError, match=r"must|ends"):
        make()


@pytest.mark.parametrize("name", NAMES)
def test_processes_survive_a_round_trip_through_configuration(name: str) -> None:
    assert sde_from_config(sde_to_config(PROCESSES[name])) == PROCESSES[name]


def test_unknown_processes_and_fields_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown SDE 'vpp'.*vp"):
        sde_from_config({"name": "vpp"})
    with pytest.raises(ValueError, match="beta"):
        sde_from_config({"name": "edm", "beta": 3})


def test_a_schedule_must_say_what_it_is() -> None:
    for method in ("marginal", "rates"):
        with pytest.raises(NotImplementedError):
            getattr(Schedule(), method)(torch.tensor(0.5))
