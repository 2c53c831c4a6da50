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
    place = np.arange(cells).reshape(bins, frames)

    # Edges to the next frame and to the next bin; those between known cells are of no use.
    first = max(given - 1, 0)
    ends = [(place[:, first:-1], place[:, first + 1 :]), (place[:-1, given:], place[1:, given:])]
    left, right = (np.concatenate([pair[k].ravel() for pair in ends]) for k in (0, 1))
    flat = weight.ravel()
    cost = -np.minimum(flat[left], flat[right])
    if given:  # one root beyond the last cell, joined to the last known frame at no cost
        joined = place[:, given - 1]
        left, right = np.concatenate((left, joined)), np.concatenate((right, np.full(bins, cells)))
        cost = np.concatenate((cost, np.full(bins, cost.min(initial=0.0))))
    cost = cost - cost.min(initial=0.0) + 1.0  # a weight of 0 would be no edge
    graph = coo_matrix((cost, (left, right)), shape=(cells + 1, cells + 1)).tocsr()
    root = cells if given else int(flat.argmax())
    _, parent = breadth_first_order(minimum_spanning_tree(graph), root, directed=False)
    parent = np.where(parent < 0, np.arange(cells + 1), parent)  # the root, and what nothing leads to

    rise = np.zeros(cells + 1)
    step = np.arange(cells + 1) - parent
    inner = parent < cells
    for size, change in ((1, across), (frames, up)):
        wide = np.zeros((bins, frames))
        wide[: change.shape[0], : change.shape[1]] = change
        for sign in (1, -1):
            moved = (step == sign * size) & inner & (np.arange(cells + 1) < cells)
            lower = parent[moved] if sign > 0 else np.flatnonzero(moved)
            rise[moved] = sign * wide.ravel()[lower]
    if known is not None and given:
        rise[place[:, :given].ravel()] = known[:, :given].ravel()
        parent[place[:, :given].ravel()] = cells
    # Sums along all paths to the root at once, each round twice as long.
    while True:
        rise = rise + np.where(parent == np.arange(cells + 1), 0.0, rise[parent])
        above = parent[parent]
        if np.array_equal(above, parent):
            break
        parent = above
    phases: np.ndarray = rise[:cells].reshape(bins, frames)
    return phases


def phases(magnitude: Tensor, across: Tensor, up: Tensor, known: Tensor | None = None) -> Tensor:
    """Phases that go with magnitudes and differences.

    Args:
        magnitude: ``(B, K, F)``, not negative.
        across, up: differences to the next frame ``(B, K, F - 1)`` and bin ``(B, K - 1, F)``, radians.
        known: phases of the first frames, ``(B, K, G)``, which are kept.

    Returns:
        Radians, ``(B, K, F)``, float32, in (−π, π].
    """
    logs, across, up = (x.detach().cpu().to(torch.float64) for x in (magnitude, across, up))
    logs = (logs + 1e-8).log()
    found = []
    for row in range(len(logs)):
        start = None if known is None else known[row].cpu().to(torch.float64).numpy()
        found.append(integrate(logs[row].numpy(), across[row].numpy(), up[row].numpy(), start))
    wrapped = np.angle(np.exp(1j * np.stack(found)))
    return torch.from_numpy(wrapped.astype(np.float32)).to(magnitude.device)
