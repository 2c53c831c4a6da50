"""Complex arithmetic written out in real numbers, for runtimes without complex tensors (ONNX).

A graph made by :func:`torch.export.export` is run node by node with every complex tensor ``(...)`` as a real
one ``(..., 2)`` of real and imaginary parts. What comes of tracing that run has real tensors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from scoregen.errors import ScoregenError

aten: Any = torch.ops.aten


class Realised(nn.Module):
    """A module whose graph computes with real tensors alone.

    Args:
        program: the exported graph; its inputs and outputs are real (complex ones within come and go by
            ``view_as_complex`` and ``view_as_real``).
    """

    def __init__(self, program: torch.export.ExportedProgram):
        super().__init__()
        self.graph_module = program.module(check_guards=False)

    def forward(self, *inputs: Tensor) -> Any:
        """What the exported module gives for ``inputs``.

        Raises:
            ScoregenError: it does something with complex numbers that has no rule here; the message names it.
        """
        return _Pairs(self.graph_module).run(*inputs)


class _Pairs(fx.Interpreter):
    """Runs a graph; a node whose value is complex gets a real tensor with one more axis of 2."""

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "get_attr" and _is_complex(n):
            return torch.view_as_real(super().run_node(n).resolve_conj())
        if n.op != "call_function" or not (_is_complex(n) or any(map(_is_complex, n.all_input_nodes))):
            return super().run_node(n)
        if n.target not in _RULES:
            raise ScoregenError(f"{n.target} on complex numbers cannot be exported")
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        pairs = [isinstance(a, fx.Node) and _is_complex(a) for a in n.args]
        return _RULES[n.target](pairs, *args, **kwargs)


def _is_complex(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()


def _pair(real: Tensor, imaginary: Tensor) -> Tensor:
    return torch.stack((real, imaginary), dim=-1)


def _axis(axis: int) -> int:
    return axis if axis >= 0 else axis - 1


def _wide(x: Any) -> Any:
    """A real factor of a pair."""
    return x[..., None] if isinstance(x, Tensor) and x.ndim else x


def _mul(pairs: list[bool], a: Any, b: Any) -> Tensor:
    if all(pairs):
        (ar, ai), (br, bi) = a.unbind(-1), b.unbind(-1)
        return _pair(ar * br - ai * bi, ar * bi + ai * br)
    out: Tensor = a * _wide(b) if pairs[0] else _wide(a) * b
    return out


def _div(pairs: list[bool], a: Tensor, b: Any) -> Tensor:
    if pairs[1]:
        raise ScoregenError("a division by complex numbers cannot be exported")
    out: Tensor = a / _wide(b)
    return out


def _pad(pairs: list[bool], z: Tensor, pad: Sequence[int], *rest: Any) -> Tensor:
    if rest and rest[0] != "constant":
        raise ScoregenError(f"padding complex numbers by '{rest[0]}' cannot be exported")
    return functional.pad(z, (0, 0, *pad))


# Each rule is called with what its arguments were, complex or not, and the arguments.
_RULES: dict[Any, Callable[..., Any]] = {
    aten.view_as_complex.default: lambda pairs, x: x,
    aten.view_as_real.default: lambda pairs, z: z,
    aten.complex.default: lambda pairs, a, b: _pair(a, b),
    aten.polar.default: lambda pairs, size, angle: _pair(size * angle.cos(), size * angle.sin()),
    aten.real.default: lambda pairs, z: z[..., 0],
    aten.imag.default: lambda pairs, z: z[..., 1],
    aten.abs.default: lambda pairs, z: z.square().sum(-1).sqrt(),
    aten._conj.default: lambda pairs, z: _pair(z[..., 0], -z[..., 1]),
    aten.mul.Tensor: _mul,
    aten.div.Tensor: _div,
    aten.pad.default: _pad,
    aten.slice.Tensor: lambda pairs, z, dim=0, *where: aten.slice.Tensor(z, _axis(dim), *where),
    aten.unsqueeze.default: lambda pairs, z, dim: z.unsqueeze(_axis(dim)),
    aten.view.dtype: lambda pairs, z, dtype: z,  # between complex types of one size nothing changes
}
