r"""Categories under Gaussian noise: what noise alone leaves known of them.

A category c is the one-hot vector :math:`e_c`, noised to :math:`x = e_c + σ n`. With prior π its posterior is

.. math::  p(c \mid x) ∝ π_c \exp(x_c / σ^2)

(all one-hot vectors have one length, so the squared distances differ by the inner products alone).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .state import Condition
from .tokens import NUM_ORDERS

NEVER = -1e4
"""Logit of what is not allowed."""

BONDS_PER_ATOM = 1.1
ORDER_SHARES = (0.76, 0.22, 0.02)
"""Bonds between heavy atoms an atom, and how often they are single, double and triple, in organic matter."""


def evidence(x: Tensor, sigma: Tensor) -> Tensor:
    """Logits of the posterior less those of the prior: ``x / σ²``, shaped as ``x``.

    Args:
        x: noisy one-hot vectors, ``(E, C)``.
        sigma: standard deviation of the noise at each, ``(E,)``.
    """
    return x / sigma.square()[:, None]


def order_prior(cond: Condition) -> Tensor:
    """Logits of the orders of each pair before anything is seen, ``(P, 4)``.

    A molecule of n atoms has about :data:`BONDS_PER_ATOM` n bonds among its n(n − 1)/2 pairs.
    """
    counts = cond.layout.counts.to(torch.float32)
    bonded = (2 * BONDS_PER_ATOM / (counts - 1)).clamp(max=0.9)
    shares = bonded.new_tensor(ORDER_SHARES) * bonded[:, None]
    prior = torch.cat((1 - bonded[:, None], shares), 1).log()
    assert prior.shape[1] == NUM_ORDERS
    return prior[cond.layout.pair[:, 0]]


def restricted(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Logits with :data:`NEVER` where a category is not allowed (bool, shaped as ``logits``)."""
    return logits if allowed is None else torch.where(allowed, logits, NEVER)
