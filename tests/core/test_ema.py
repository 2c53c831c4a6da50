"""The average against its closed form."""

import pytest
import torch
from torch import nn

from scoregen.core import EMA


class Module(nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.register_buffer("level", torch.tensor(value))
        self.register_buffer("count", torch.tensor(int(value)))


def fill(module: Module, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)
        module.level.fill_(value)
        module.count.fill_(int(value))


def test_warm_up_follows_the_formula() -> None:
    module = Module(0.0)
    ema, expected = EMA(module, 0.999), 0.0
    for n, value in enumerate([1.0, 5.0, -2.0, 7.0]):
        fill(module, value)
        ema.update(module)
        decay = (1 + n) / (10 + n)
        expected = decay * expected + (1 - decay) * value
        assert ema.shadow["weight"].tolist() == pytest.approx([expected] * 3, rel=1e-6)
        assert float(ema.shadow["level"]) == pytest.approx(expected, rel=1e-6)
        assert int(ema.shadow["count"]) == int(value)


def test_the_limit_is_the_decay_asked_for() -> None:
    module = Module(0.0)
    ema = EMA(module, 0.5)
    ema.updates = 1000
    fill(module, 1.0)
    for n in range(1, 6):
        ema.update(module)
        assert float(ema.shadow["weight"][0]) == pytest.approx(1 - 0.5**n)


def test_applied_lends_and_returns_the_weights() -> None:
    module = Module(2.0)
    ema = EMA(module, 0.9)
    fill(module, 4.0)
    with pytest.raises(RuntimeError, match="inside"), ema.applied(module) as lent:
        assert lent is module
        assert module.weight.tolist() == [2.0] * 3
        raise RuntimeError("inside")
    assert module.weight.tolist() == [4.0] * 3
    assert ema.shadow["weight"].tolist() == [2.0] * 3


def test_training_after_applied_does_not_touch_the_average() -> None:
    module = Module(2.0)
    ema = EMA(module)
    with ema.applied(module):
        fill(module, 9.0)
    assert ema.shadow["weight"].tolist() == [2.0] * 3


def test_state_round_trip_continues_exactly() -> None:
    module = Module(1.0)
    one = EMA(module, 0.99)
    for value in (3.0, 4.0):
        fill(module, value)
        one.update(module)
    two = EMA(Module(0.0), 0.99)
    two.load_state_dict({k: v.clone() for k, v in one.state_dict().items()})
    fill(module, -1.0)
    one.update(module)
    two.update(module)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])


def test_a_loaded_state_is_a_copy() -> None:
    ema = EMA(Module(1.0))
    state = {k: v.clone() for k, v in ema.state_dict().items()}
    ema.load_state_dict(state)
    state["weight"].fill_(100.0)
    assert ema.shadow["weight"].tolist() == [1.0] * 3


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_must_lie_in_range(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        EMA(Module(0.0), decay)


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(KeyError):
        EMA(Module(0.0)).load_state_dict({"ema.updates": torch.tensor(1)})
