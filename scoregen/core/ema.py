"""Exponential moving average of weights, with warm-up."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    r"""Average of a module's weights.

    The decay grows with the number of updates, ``min(decay, (1 + n)/(10 + n))``, so early weights are
    forgotten quickly (the warm-up of TensorFlow's ``ExponentialMovingAverage``).

    Args:
        module: the module to follow; its floating-point parameters and buffers are averaged.
        decay: upper limit of the decay, in [0, 1).

    Raises:
        ValueError: ``decay`` outside [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.shadow: dict[str, Tensor] = copy.deepcopy(
            {name: value.detach() for name, value in module.state_dict().items()}
        )

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value.to(self.shadow[name].device), 1 - decay)
            else:
                self.shadow[name].copy_(value)
        self.updates += 1

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[nn.Module]:
        """Inside the block the module carries the averaged weights; afterwards its own again."""
        own = copy.deepcopy(module.state_dict())
        module.load_state_dict(self.shadow)
        try:
            yield module
        finally:
            module.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights and the update count, tensors only."""
        return {**self.shadow, "ema.updates": torch.tensor(self.updates)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore from :meth:`state_dict`.

        Raises:
            KeyError: the state is not one of an EMA over this module.
        """
        self.updates = int(state["ema.updates"])
        for name in self.shadow:
            self.shadow[name] = state[name].clone()
