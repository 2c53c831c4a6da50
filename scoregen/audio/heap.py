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

Speech windowed by Hann is neither analytic nor are its magnitudes known; a network may add what it has
learned about the slopes (:func:`slope_loss`).
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

HANN = 0.25645
"""γ over the squared window length, for the Gaussian nearest to a Hann window (Průša et al. 2017, table I)"""


def slopes(spec: MelSpec, log_magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """Phase slopes of an STFT of :func:`scoregen.audio.phase.analyse`.

    Args:
        spec: gives window, hop and FFT size.
        log_magnitude: natural logarithm of the magnitudes, ``(B, K, F)``.

    Returns:
        Radians per frame and radians per bin, ``(B, K, F)`` each.
    """
    gamma = HANN * spec.win_length**2
    over_bins = functional.pad((log_magnitude[:, 2:] - log_magnitude[:, :-2]) / 2, (0, 0, 1, 1))
    over_frames = functional.pad((log_magnitude[..., 2:] - log_magnitude[..., :-2]) / 2, (1, 1))
    bins = torch.arange(log_magnitude.shape[1], dtype=log_magnitude.dtype, device=log_magnitude.device)
    carrier = (2 * math.pi * spec.hop / spec.n_fft * bins)[:, None]
    per_frame = carrier + spec.hop * spec.n_fft / gamma * over_bins
    per_bin = -math.pi - gamma / (spec.hop * spec.n_fft) * over_frames
    return per_frame, per_bin


def slope_loss(spectrum: Tensor, per_frame: Tensor, per_bin: Tensor) -> Tensor:
    """How far slopes are from those of a spectrum: ``1 - cos`` of the error, loud cells count more.

    Args:
        spectrum: complex ``(B, K, F)``.
        per_frame, per_bin: slopes, ``(B, K, F)``.

    Returns:
        One value, from 0 to 2; 1 for slopes at random.
    """
    total = torch.zeros((), dtype=per_frame.dtype, device=per_frame.device)
    for dim, slope in ((2, per_frame), (1, per_bin)):
        size = spectrum.shape[dim] - 1
        low, high = spectrum.narrow(dim, 0, size), spectrum.narrow(dim, 1, size)
        turn = high * low.conj()
        wanted = (slope.narrow(dim, 0, size) + slope.narrow(dim, 1, size)) / 2
        weight = turn.abs().sqrt()
        agreement = (turn * torch.polar(torch.ones_like(wanted), -wanted)).real / (turn.abs() + 1e-12)
        total = total + (weight * (1 - agreement)).sum() / weight.sum().clamp(min=1e-12)
    return total / 2


def integrate(
    weight: np.ndarray, per_frame: np.ndarray, per_bin: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """The integral of phase slopes along the tree that keeps to the loudest cells.

    Args:
        weight: how far a cell is to be trusted, such as its log magnitude, ``(K, F)``.
        per_frame, per_bin: slopes, ``(K, F)``; between two cells their mean counts.
        known: phases of the first ``G`` frames, ``(K, G)``, which are kept; without them the phase of the
            loudest cell is 0.

    Returns:
        Phases ``(K, F)``, radians, not wrapped.
    """
    bins, frames = weight.shape
    given = 0 if known is None else min(known.shape[1], frames)
    cells = bins * frames
    place = np.arange(cells).reshape(bins, frames)
    across, up = (per_frame[:, :-1] + per_frame[:, 1:]) / 2, (per_bin[:-1] + per_bin[1:]) / 2

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


def phases(
    spec: MelSpec, magnitude: Tensor, known: Tensor | None = None, correction: Tensor | None = None
) -> Tensor:
    """Phases that go with magnitudes.

    Args:
        spec: gives window, hop and FFT size.
        magnitude: ``(B, K, F)``, not negative.
        known: phases of the first frames, ``(B, K, G)``, which are kept.
        correction: what is to be added to the slopes of the magnitudes, ``(B, 2, K, F)``: radians per frame
            and per bin.

    Returns:
        Radians, ``(B, K, F)``, float32, in (−π, π].
    """
    logs = (magnitude.detach().cpu().to(torch.float64) + 1e-8).log()
    both = torch.stack(slopes(spec, logs), dim=1)
    if correction is not None:
        both = both + correction.detach().cpu().to(torch.float64)
    found = []
    for row, (weight, (per_frame, per_bin)) in enumerate(zip(logs.numpy(), both.numpy(), strict=True)):
        start = None if known is None else known[row].cpu().to(torch.float64).numpy()
        found.append(integrate(weight, per_frame, per_bin, start))
    wrapped = np.angle(np.exp(1j * np.stack(found)))
    return torch.from_numpy(wrapped.astype(np.float32)).to(magnitude.device)
