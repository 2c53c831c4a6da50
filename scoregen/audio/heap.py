r"""Phases from magnitudes without iteration: phase gradient heap integration.

For a Gaussian window the logarithm of an STFT's magnitude and its phase are the two parts of one analytic
function, so the slopes of one are the slopes of the other (Portnoff 1979). With hop *a*, FFT size *M*,
:math:`s = \ln |X|` and a window like :math:`e^{-π t²/γ}`, per frame and per bin

.. math::  Δ_n φ = \frac{2π a m}{M} + \frac{aM}{γ} \frac{∂s}{∂m}, \qquad
           Δ_m φ = -π - \frac{γ}{aM} \frac{∂s}{∂n}.

Průša, Balazs & Søndergaard (*A noniterative method for reconstruction of phase from STFT magnitude*, IEEE/ACM
TASLP 2017) integrate these from cell to cell, loud cells first, since slopes are uncertain where the
magnitude is small. Their heap is Prim's algorithm: the result is the integral along a spanning tree whose
weakest cells are as loud as can be, which is how it is done here.

Speech windowed by Hann is neither analytic nor are its magnitudes known; a network may correct the slopes by
what it has learned (:mod:`scoregen.audio.spectrum`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor
from torch.nn import functional

from .mel import MelSpec
from .phase import Grid

HANN = 0.25645
"""γ over the squared window length, for the Gaussian nearest to a Hann window (Průša et al. 2017, table I)"""


def slopes(grid: MelSpec | Grid, log_magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """Phase slopes of an STFT of :func:`scoregen.audio.phase.analyse`.

    Args:
        grid: gives window, hop and FFT size.
        log_magnitude: natural logarithm of the magnitudes, ``(B, K, F)``.

    Returns:
        Radians per frame and radians per bin, ``(B, K, F)`` each.
    """
    gamma = HANN * grid.win_length**2
    over_bins = functional.pad((log_magnitude[:, 2:] - log_magnitude[:, :-2]) / 2, (0, 0, 1, 1))
    over_frames = functional.pad((log_magnitude[..., 2:] - log_magnitude[..., :-2]) / 2, (1, 1))
    bins = torch.arange(log_magnitude.shape[1], dtype=log_magnitude.dtype, device=log_magnitude.device)
    carrier = (2 * math.pi * grid.hop / grid.n_fft * bins)[:, None]
    per_frame = carrier + grid.hop * grid.n_fft / gamma * over_bins
    per_bin = -math.pi - gamma / (grid.hop * grid.n_fft) * over_frames
    return per_frame, per_bin


def between(per_frame: Tensor, per_bin: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring phases from the slopes at both, ``(B, K, F)`` each.

    Returns:
        To the next frame ``(B, K, F - 1)``, to the next bin ``(B, K - 1, F)``.
    """
    return (per_frame[..., :-1] + per_frame[..., 1:]) / 2, (per_bin[:, :-1] + per_bin[:, 1:]) / 2


def integrate(
    weight: np.ndarray, across: np.ndarray, up: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """The integral of phase differences along the tree that keeps to the loudest cells.

    Args:
        weight: how far a cell is to be trusted, such as its log magnitude, ``(K, F)``.
        across, up: differences to the next frame ``(K, F - 1)`` and to the next bin ``(K - 1, F)``, radians.
        known: phases of the first ``G`` frames, ``(K, G)``, which are kept; without them the phase of the
            loudest cell is 0.

    Returns:
        Phases ``(K, F)``, radians, not wrapped.
    """
    bins, frames = weight.shape
    given = 0 if known is None else min(known.shape[1], frames)
    cells = bins * frames
    parent, rise = _climb(weight, across, up)
    if known is not None and given:  # these hang from one more cell, whose phase is 0
        parent[:, :given], rise[:, :given] = cells, known[:, :given]
    relative, top = _along(np.append(parent.ravel(), cells), np.append(rise.ravel(), 0.0))

    # Each summit with the slopes below it is one node now; the strongest edge joins two of them.
    hill = top[:cells].reshape(bins, frames)
    row, column = np.nonzero(hill[:, :-1] != hill[:, 1:])
    onward, upward = row * frames + column, np.flatnonzero(hill[:-1] != hill[1:])
    left = np.concatenate((onward, upward))
    right = np.concatenate((onward + 1, upward + frames))
    change = np.concatenate((across[row, column], up.ravel()[upward]))
    flat = weight.ravel()
    strength = np.minimum(flat[left], flat[right])
    summits = np.flatnonzero(top == np.arange(cells + 1))
    rank = np.zeros(cells + 1, dtype=np.int64)
    rank[summits] = np.arange(len(summits))
    ends = np.stack((rank[top[left]], rank[top[right]]))
    change = relative[left] + change - relative[right]
    change = np.where(ends[0] < ends[1], change, -change)
    root = rank[cells] if given else rank[top[int(weight.argmax())]]
    offset = _spanning(np.sort(ends, axis=0), strength, change, len(summits), int(root))
    phases: np.ndarray = (relative + offset[rank[top]])[:cells].reshape(bins, frames)
    return phases


def _climb(weight: np.ndarray, across: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each cell's loudest neighbour if that is louder, else itself, and its phase less the neighbour's.

    Every such edge is in the tree: the first round of Borůvka's algorithm.
    """
    place = np.arange(weight.size).reshape(weight.shape)
    best, parent, rise = weight.copy(), place.copy(), np.zeros(weight.shape)
    low, high = slice(None, -1), slice(1, None)
    every = slice(None)
    for change, near, far in ((across, (every, low), (every, high)), (up, (low, every), (high, every))):
        for mine, theirs, sign in ((near, far, -1.0), (far, near, 1.0)):
            louder = weight[theirs] > best[mine]
            np.copyto(best[mine], weight[theirs], where=louder)
            np.copyto(parent[mine], place[theirs], where=louder)
            np.copyto(rise[mine], sign * change, where=louder)
    return parent, rise


def _spanning(
    ends: np.ndarray, strength: np.ndarray, change: np.ndarray, nodes: int, root: int
) -> np.ndarray:
    """Sums of ``change`` along the maximum spanning tree of a graph, from its ``root``.

    Args:
        ends: edges' ends ``(2, E)``, the lower first; several may join the same.
        strength: of the edges, ``(E,)``.
        change: from the lower end to the higher, ``(E,)``.
        nodes: number of nodes; those that nothing joins to the root keep 0.
        root: where sums begin.
    """
    if not len(strength):
        return np.zeros(nodes)
    pair = ends[0] * nodes + ends[1]
    order = np.argsort(-strength, kind="stable")
    order = order[np.argsort(pair[order], kind="stable")]
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    key, chosen = pair[order[first]], order[first]
    cost = strength.max() - strength[chosen] + 1.0  # a weight of 0 would be no edge
    graph = coo_matrix((cost, tuple(ends[:, chosen])), shape=(nodes, nodes)).tocsr()
    _, parent = breadth_first_order(minimum_spanning_tree(graph), root, directed=False)
    itself = np.arange(nodes)
    parent = np.where(parent < 0, itself, parent).astype(np.int64)
    edge = np.searchsorted(key, np.minimum(itself, parent) * nodes + np.maximum(itself, parent))
    rise = np.where(itself > parent, 1.0, -1.0) * change[chosen[np.minimum(edge, len(key) - 1)]]
    return _along(parent, np.where(parent == itself, 0.0, rise))[0]


def _along(parent: np.ndarray, rise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of ``rise`` on all ways to the roots at once, each round twice as long, and the roots."""
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            return rise, parent
        rise = rise + np.where(parent == above, 0.0, rise[parent])
        parent = above


def phases(magnitude: Tensor, across: Tensor, up: Tensor, known: Tensor | None = None) -> Tensor:
    """Phases that go with magnitudes and differences.

    Args:
        magnitude: ``(B, K, F)``, not negative.
        across, up: differences to the next frame ``(B, K, F - 1)`` and bin ``(B, K - 1, F)``, radians.
        known: phases of the first frames, ``(B, K, G)``, which are kept.

    Returns:
        Radians, ``(B, K, F)``, float32, between −π and π.
    """
    logs, across, up = (x.detach().cpu().to(torch.float64) for x in (magnitude, across, up))
    logs = (logs + 1e-8).log()
    found = []
    for row in range(len(logs)):
        start = None if known is None else known[row].cpu().to(torch.float64).numpy()
        found.append(integrate(logs[row].numpy(), across[row].numpy(), up[row].numpy(), start))
    turns = torch.from_numpy(np.stack(found)) / (2 * math.pi)
    return ((turns - turns.round()) * (2 * math.pi)).to(device=magnitude.device, dtype=torch.float32)
