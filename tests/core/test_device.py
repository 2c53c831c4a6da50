"""Inside the sampling loop nothing is copied from the host to the device: a copy makes the host wait for it.

The "device" here is torch's meta device, whose tensors have no values; a copy to it is a copy all the same.
"""

import traceback
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scoregen.core import (
    EDM,
    SDE,
    VP,
    Denoiser,
    DenseSpace,
    Noise,
    ProductSDE,
    ProductSpace,
    Space,
    karras_grid,
)
from scoregen.core.solvers import SOLVERS, solver_by_name


def on_meta(space: ProductSpace) -> ProductSpace:
    """A product made on the host, moved: counting elements needs values, which the meta device has not."""
    moved = {name: replace(field, device="meta") for name, field in space.fields.items()}
    space.__dict__["fields"] = moved
    for name, value in space.__dict__.items():
        if isinstance(value, Tensor):
            space.__dict__[name] = value.to("meta")
    return space


CASES: dict[str, tuple[SDE, Space, float | tuple[float, ...]]] = {
    "one": (EDM(), DenseSpace((4, 3), device="meta"), 0.5),
    "fields": (
        ProductSDE({"a": EDM(), "b": VP()}),
        on_meta(ProductSpace({"a": DenseSpace((4, 3)), "b": DenseSpace((4, 2))})),
        (0.5, 1.0),
    ),
}


class Copies(TorchDispatchMode):
    """Where tensors go from the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        to = torch.device(kwargs.get("device") or "cpu").type
        host = [a for a in args if isinstance(a, Tensor) and a.device.type == "cpu"]
        moved = str(function).startswith("aten._to_copy") and to == "meta"
        filled = str(function) == "aten.copy_.default" and args[0].device.type == "meta"
        if host and (moved or filled):
            frames = [f for f in traceback.extract_stack() if "/scoregen/core/" in f.filename]
            self.places.append(f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "elsewhere")
        return function(*args, **kwargs)


class Zero(nn.Module):
    def forward(self, x: Tensor, level: Tensor, space: Space, cond: object) -> Tensor:
        return 0 * x


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_the_loop_copies_nothing_to_the_device(case: str, solver: str, monkeypatch) -> None:
    sde, space, width = CASES[case]
    denoiser, rule = Denoiser(Zero(), sde, width), solver_by_name(solver)
    grid, noise = karras_grid(sde, 4, to_zero=False).on(space), Noise(0, torch.arange(4)).on("meta")
    made: list[str] = []
    real = torch.tensor

    def tensor(data, *args, **kwargs):
        """``torch.tensor(numbers, device=...)`` is such a copy too, and the dispatcher does not see it."""
        if torch.device(kwargs.get("device") or "cpu").type == "meta":
            made.append("torch.tensor")
        return real(data, *args, **kwargs)

    monkeypatch.setattr(torch, "tensor", tensor)
    with Copies() as copies, torch.no_grad():
        carry = rule.init(space.zeros())
        for i in range(grid.steps):
            carry = rule.step(
                carry,
                i,
                grid,
                lambda x, t: denoiser(x, t, space),
                lambda step, stage=0: noise.normal(space, step, stage),
            )
    assert carry.x.shape == space.zeros().shape
    assert not copies.places + made
