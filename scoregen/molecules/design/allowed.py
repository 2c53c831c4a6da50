"""What a kept piece of a molecule allows: tokens and orders, without RDKit.

A *kept* atom keeps its element and charge, and kept atoms keep the bonds between them. An *open* one may give
hydrogens for bonds to new atoms, a closed one has none with them.
"""

from __future__ import annotations

import numpy as np

from .tokens import NUM_ORDERS, NUM_TOKENS, TOKENS

_KINDS = sorted({(token.element, token.charge) for token in TOKENS})
_KIND = np.array([_KINDS.index((token.element, token.charge)) for token in TOKENS])
_HYDROGENS = np.array([token.hydrogens for token in TOKENS])


def allowed_tokens(token: np.ndarray, kept: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Tokens that each atom may have, bool ``(N, T)``.

    Args:
        token: index of each atom's token, ``(N,)``; that of a kept one says element and charge.
        kept: bool ``(N,)``.
        least, most: hydrogens of each kept atom, ``(N,)``; equal where it is closed.
    """
    same = _KIND[token][:, None] == _KIND
    fitting = (least[:, None] <= _HYDROGENS) & (most[:, None] >= _HYDROGENS)
    allowed: np.ndarray = ~kept[:, None] | (same & fitting)
    assert allowed.shape == (len(token), NUM_TOKENS)
    return allowed


def allowed_orders(orders: np.ndarray, kept: np.ndarray, closed: np.ndarray) -> np.ndarray:
    """Orders that each pair ``i < j`` may have, bool ``(N(N−1)/2, 4)``.

    Args:
        orders: of the pairs ``i < j`` row by row, ``(N(N−1)/2,)``; read between kept atoms.
        kept: bool ``(N,)``.
        closed: kept atoms that take no bond to new atoms, bool ``(N,)``.
    """
    i, j = np.triu_indices(len(kept), 1)
    between = kept[i] & kept[j]
    settled = between | (closed[i] & ~kept[j]) | (closed[j] & ~kept[i])
    fixed = np.where(between, orders, 0)
    allowed: np.ndarray = ~settled[:, None] | (np.arange(NUM_ORDERS) == fixed[:, None])
    return allowed
