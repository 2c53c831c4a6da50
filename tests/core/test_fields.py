"""Packed states of several fields: each behaves as it would alone."""

import pytest
import torch
from torch import Tensor

from scoregen.core import EDM, VP, Cosine, DenseSpace, Noise, Prediction, RaggedSpace, karras_grid, log_snr
from scoregen.core.fields import ProductSDE, ProductSpace, Warped
from scoregen.core.sampling import sample
from scoregen.core.sde import SDE
from scoregen.core.solvers import DDIM, DPMpp2M, EulerMaruyama, Heun, Solver

from .gaussian import Gaussian
from .test_space import factor_space

COUNTS = [3, 5, 2]
FIELDS: dict[str, SDE] = {"position": EDM(), "kind": VP()}


def batch(counts: list[int] = COUNTS) -> ProductSpace:
    """Centred coordinates with shaped noise beside four numbers an atom and one number a molecule."""
    index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return ProductSpace(
        {
            "position": factor_space(counts),
            "kind": RaggedSpace(index, len(counts), 4, dtype=torch.float64),
            "charge": DenseSpace((len(counts), 1), scale=torch.tensor(2.0), dtype=torch.float64),
        }
    )


def test_packing_is_undone_by_unpacking() -> None:
    space = batch()
    parts = {name: torch.randn_like(field.zeros()) for name, field in space.fields.items()}
    packed = space.pack(parts)
    assert packed.shape == space.zeros().shape == (10 * 3 + 10 * 4 + 3,)
    for name, part in space.unpack(packed).items():
        assert torch.equal(part, parts[name])


def test_every_map_acts_on_each_field_as_its_own_space_does() -> None:
    space = batch()
    x = torch.randn_like(space.zeros())
    for method in ("project", "color", "whiten"):
        for name, part in space.unpack(getattr(space, method)(x)).items():
            torch.testing.assert_close(part, getattr(space.fields[name], method)(space.unpack(x)[name]))
    parts = space.unpack(x).items()
    torch.testing.assert_close(space.sum(x), sum(space.fields[name].sum(part) for name, part in parts))
    assert space.dof().tolist() == [3 * (n - 1) + 4 * n + 1 for n in COUNTS]
    torch.testing.assert_close(space.logdet(), sum(field.logdet() for field in space.fields.values()))


def test_values_spread_by_sample_and_by_field() -> None:
    space = batch([1, 2])
    by_sample = space.unpack(space.expand(torch.tensor([1.0, 2.0]), space.zeros()))
    assert by_sample["position"][:, 0].tolist() == [1.0, 2.0, 2.0]
    assert by_sample["charge"].flatten().tolist() == [1.0, 2.0]
    table = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    both = space.unpack(space.expand(table, space.zeros()))
    assert both["position"][:, 0].tolist() == [1.0, 4.0, 4.0]
    assert both["kind"][:, 0].tolist() == [2.0, 5.0, 5.0]
    assert both["charge"].flatten().tolist() == [3.0, 6.0]
    assert space.expand(torch.tensor(7.0), space.zeros()).ndim == 0
    one = space.unpack(space.expand(table[:1], space.zeros()))
    assert one["kind"][:, 0].tolist() == [2.0, 2.0, 2.0]


def test_noise_does_not_depend_on_the_batch() -> None:
    """A molecule of five atoms gets the same noise in every field, alone and among others."""
    together, alone = batch(COUNTS), batch([5])
    crowd = together.unpack(Noise(1, torch.tensor([10, 11, 12])).white(together, 4))
    single = alone.unpack(Noise(1, torch.tensor([11])).white(alone, 4))
    assert torch.equal(crowd["position"][3:8], single["position"])
    assert torch.equal(crowd["kind"][3:8], single["kind"])
    assert torch.equal(crowd["charge"][1:2], single["charge"])
    values = Noise(1, torch.tensor([11])).white(alone, 4)
    assert len(values.unique()) == len(values)


def test_a_warped_process_is_the_process_on_another_clock() -> None:
    warped, u = Warped(EDM(), 7.0), torch.linspace(0.3, 1, 15, dtype=torch.float64)
    assert torch.equal(warped.marginal(u)[1], 80.0 * u**7)
    torch.testing.assert_close(warped.time(log_snr(warped, u)), u)
    assert float(warped.marginal(torch.tensor(warped.t_min))[1]) == pytest.approx(0.002)
    h = 1e-6
    late, early = warped.marginal(u + h), warped.marginal(u - h)
    for rate, after, before in zip(warped.rates(u), late, early, strict=True):
        torch.testing.assert_close(rate, (after - before) / (2 * h), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="power must be positive"):
        Warped(EDM(), 0.0)


def test_a_product_has_the_schedules_of_its_fields() -> None:
    sde = ProductSDE({"a": EDM(), "b": Cosine()}, {"a": 3.0})
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    for method in ("marginal", "rates", "coefficients"):
        for value, parts in zip(
            getattr(sde, method)(t),
            zip(*(getattr(p, method)(t) for p in sde.parts), strict=True),
            strict=True,
        ):
            assert value.shape == (2, 2)
            torch.testing.assert_close(value, torch.stack(parts, -1))
    assert sde.t_min == max(part.t_min for part in sde.parts)
    assert torch.equal(sde.time(torch.tensor([0.0])), sde.parts[0].time(torch.tensor([0.0])))


@pytest.mark.parametrize("solver", [DDIM(), Heun(), DPMpp2M(), EulerMaruyama()], ids=str)
def test_independent_fields_are_sampled_as_they_would_be_alone(solver: Solver) -> None:
    """One solver call over both equals one call each, from the same noise."""
    sde = ProductSDE(FIELDS, {"position": 7.0})
    space = ProductSpace({name: DenseSpace((4, 3), dtype=torch.float64) for name in FIELDS})
    keyed, grid = Noise(0, torch.arange(4)), karras_grid(sde, 12)
    mean = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    alone = {part: Gaussian(part, mean, mean.abs()) for part in sde.parts}

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        halves = zip(space.unpack(x).items(), alone.values(), strict=True)
        x0 = space.pack({name: problem.denoise(half, t).x0 for (name, half), problem in halves})
        alpha, sigma = (space.expand(v.expand(4, 2), x) for v in sde.marginal(t))
        return Prediction(x0, x, alpha, sigma)

    together = space.unpack(sample(denoise, sde, space, solver=solver, grid=grid, noise=keyed))

    class Part(Noise):
        """The noise of one field of the packed state."""

        def normal(self, _: object, step: int, stage: int = 0) -> Tensor:
            return space.split(keyed.normal(space, step, stage))[self.seed].reshape(4, 3)

    for name, part in zip(FIELDS, sde.parts, strict=True):
        own = type(grid)(part, grid.times)
        result = sample(
            alone[part].denoise,
            part,
            space.fields[name],
            solver=solver,
            grid=own,
            noise=Part(list(FIELDS).index(name), keyed.ids),
        )
        torch.testing.assert_close(together[name], result, rtol=1e-10, atol=1e-12)


def test_a_number_for_each_field_fills_its_part() -> None:
    space = batch([1, 2])
    filled = space.unpack(space.fill([1.0, 2.0, 3.0]))
    assert [float(part.unique()) for part in filled.values()] == [1.0, 2.0, 3.0]
    x = torch.randn_like(space.zeros())
    assert torch.equal(torch.cat(space.split(x)), x)
    assert torch.equal(space.split(x)[1].reshape(3, 4), space.unpack(x)["kind"])


def test_impossible_products_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        ProductSDE({})
    with pytest.raises(ValueError, match="unknown fields: c"):
        ProductSDE(FIELDS, {"c": 1.0})
    with pytest.raises(ValueError, match="at least one field"):
        ProductSpace({})
    with pytest.raises(ValueError, match="different numbers of samples"):
        ProductSpace({"a": DenseSpace((2, 1)), "b": DenseSpace((3, 1))})
    with pytest.raises(ValueError, match="one dtype"):
        ProductSpace({"a": DenseSpace((2, 1)), "b": DenseSpace((2, 1), dtype=torch.float64)})
    space = ProductSpace({"a": DenseSpace((2, 1))})
    with pytest.raises(ValueError, match="expected the fields a, got b"):
        space.pack({"b": torch.zeros(2, 1)})
    with pytest.raises(ValueError, match=r"field 'a' must have shape \(2, 1\), got \(1, 2\)"):
        space.pack({"a": torch.zeros(1, 2)})
