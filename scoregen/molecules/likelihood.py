r"""How likely the model finds a conformer: ``log p(x | graph)`` through the probability-flow ODE.

The divergence of the flow needs the trace of the denoiser's Jacobian at every step (see
:mod:`scoregen.core.likelihood`). Plain random probes would drown the conformers of one molecule in noise:
nearly all of that trace sits in a few soft directions (turning the whole molecule, torsions, ring puckers),
and each of them adds its full variance. So the soft directions are found first, as the lowest modes of an
elastic network of bonds and angles (Tirion, *Large amplitude elastic motions*, 1996), and their part of the
trace is exact; only the stiff rest is left to Hutchinson's probes (the idea of Hutch++, Meyer et al. 2021),
fresh at every call, so that their errors average out along the path.

Conformers are first turned onto a fixed random shape: the value then does not depend on how they were placed,
and those of one molecule meet the same probes, which takes more of the noise out of their differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from torch import Tensor

from scoregen.core.denoiser import Denoiser
from scoregen.core.flow import ProbabilityFlow, flow_between
from scoregen.core.grid import karras_grid
from scoregen.core.likelihood import gaussian_log_density
from scoregen.core.noise import Noise
from scoregen.core.ode import integrate_fixed
from scoregen.errors import InputError

from .align import kabsch
from .graph import Graphs, MoleculeData, collate
from .vocabulary import MAX_HOPS, THEORIES

SIGMA = 0.02
"""Å in the harmonic metric: conformers are judged at this sharpness; see :func:`log_likelihoods`."""

_FRAME = -1  # key of the shape that conformers are turned onto; the probes have those from 0 on


def log_likelihoods(
    denoiser: Denoiser,
    graph: MoleculeData,
    positions: np.ndarray,
    *,
    seed: int = 0,
    sigma: float = SIGMA,
    steps: int = 6,
    modes: int = 12,
    probes: int = 2,
    theory: str | None = None,
    pairs: int = 40_000,
) -> np.ndarray:
    """Log-density of conformers under the model, nats, on the centred space of ``3(N − 1)`` dimensions (Å).

    What is computed is ``log p_σ(x)``: the density, at the positions themselves, of the model's conformers
    blurred by harmonic noise of standard deviation ``sigma``. A model of minima is sharper than any ``sigma``
    and the value grows as ``sigma`` falls: compare only values of one ``sigma``, and of one molecule. The
    network is not shown its own estimates: self-conditioning would make the flow depend on the path.

    How sure it is: on ensembles of QM9 molecules (conformer-small) two probes and twelve modes leave an error
    of about 1 to 2 nats in the differences between conformers, which themselves spread over 1 to 5. For a
    ranking to rely on take all modes: two to three times the work, some seconds of a CPU core a conformer of
    that size. Either way the ranking says little of the energy: over eight ensembles the rank correlation
    with GFN2 energies had both signs and a mean near zero.

    Args:
        denoiser: the model.
        graph: the molecule, from :func:`scoregen.molecules.graph.molecule_data`.
        positions: ``(K, N, 3)``, Å; placement and orientation do not matter.
        seed: of the probes and the common frame.
        sigma: noise level at which the density is taken; the model's ``sigma_min`` or more.
        steps: steps of the classical Runge–Kutta rule, four network calls each.
        modes: soft directions treated exactly, three of them rotations; one backward pass each. ``3(N − 1)``
            or more gives the exact divergence.
        probes: random probes a call for the other directions.
        theory: level of theory the network is told, for networks that know it; the graph's own when omitted.
        pairs: atom pairs (Σ N²) in a batch; a value does not depend on its batch beyond the last bits.

    Returns:
        ``(K,)`` float64.

    Raises:
        InputError: positions that do not fit the molecule or are not finite, or a setting out of range.
    """
    n = int(graph.num_nodes)
    positions = np.asarray(positions, np.float32)
    if positions.ndim != 3 or positions.shape[1:] != (n, 3) or not np.isfinite(positions).all():
        raise InputError(f"positions must be finite and of shape (K, {n}, 3), got {positions.shape}")
    low, high = float(denoiser.sde.t_min), float(denoiser.sde.t_max)
    if not low <= sigma < high:
        raise InputError(f"sigma must be at least {low:g} and below {high:g} Å, got {sigma}")
    if steps < 1 or modes < 0 or probes < 0 or (probes == 0 and modes < 3 * (n - 1)):
        raise InputError("need steps of 1 or more, modes of 0 or more, and probes unless the modes are all")
    if theory is not None:
        if theory not in THEORIES:
            raise InputError(f"theory '{theory}' is not one of {', '.join(THEORIES)}")
        graph = graph.clone()
        graph.theory = torch.tensor([THEORIES.index(theory)])
    each = max(1, pairs // n**2)
    parts = [
        _batch(denoiser, graph, positions[i : i + each], seed, sigma, steps, min(modes, 3 * (n - 1)), probes)
        for i in range(0, len(positions), each)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


@torch.no_grad()
def _batch(
    denoiser: Denoiser,
    graph: MoleculeData,
    positions: np.ndarray,
    seed: int,
    sigma: float,
    steps: int,
    modes: int,
    probes: int,
) -> np.ndarray:
    device = next(iter(denoiser.parameters()), torch.zeros(0)).device
    graphs = collate([graph] * len(positions)).to(device)
    space = graphs.space()
    # One id for all: conformers of a molecule get the same frame and the same probes.
    noise = Noise(seed, torch.zeros(len(positions), dtype=torch.int64, device=device))
    x = torch.from_numpy(positions.reshape(-1, 3)).to(device)
    x = kabsch(x, noise.normal(space, _FRAME), space)

    grid = karras_grid(denoiser.sde, steps, sigma_min=sigma, to_zero=False)
    start, end = float(grid.times[-1]), float(grid.times[0])
    flow = flow_between(lambda y, t: denoiser(y, t, space, graphs), denoiser.sde, space, start, end)
    first, last = flow.at(flow.start), flow.at(flow.end)
    angles = [flow.angle(torch.full_like(flow.start, float(t))) for t in grid.times.flip(0)]
    done = integrate_fixed(
        Diverging(flow, soft_modes(graphs, x, modes), noise, probes),
        x / space.expand(first.radius.to(x), x),
        angles,
        space,
        scalars=torch.zeros(len(positions), 1, dtype=torch.float64, device=device),
    )
    latent = space.expand(last.radius.to(x), x) * done.x
    assert isinstance(denoiser.sigma_data, float)
    width = last.radius * (last.sin**2 + (last.cos * denoiser.sigma_data) ** 2).sqrt()
    # The density of x = r y is that of y over r^dof, at both ends.
    values = gaussian_log_density(space, latent, width) + space.dof() * (last.radius / first.radius).log()
    return np.asarray((values + done.scalars[:, 0]).cpu())


@dataclass(frozen=True)
class Diverging:
    """The velocity of the flow with its divergence: exact in the given modes, estimated elsewhere.

    Args:
        flow: the probability flow.
        modes: orthonormal whitened directions, ``(E, 3, M)``.
        noise: keys of the probes.
        probes: how many a call; fresh ones at every call.
    """

    flow: ProbabilityFlow
    modes: Tensor
    noise: Noise
    probes: int
    calls: Iterator[int] = field(default_factory=count)

    def __call__(self, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """``dy/dφ`` (a state) and its divergence ``(B, 1)`` at unit states and angles ``(B,)``."""
        flow, space = self.flow, self.flow.space
        at = flow.place(angle)
        radius = space.expand(at.radius.to(y), y)
        with torch.enable_grad():
            x = (radius * y).requires_grad_()
            x0 = flow.denoise(x, at.t).x0
        directions, shares = self._directions(next(self.calls))
        trace = torch.zeros(space.size, dtype=torch.float64, device=y.device)
        for k, (z, share) in enumerate(zip(directions, shares, strict=True)):
            more = k + 1 < len(directions)
            (pulled,) = torch.autograd.grad(
                x0, x, space.whiten(z), retain_graph=more, allow_unused=True, materialize_grads=True
            )
            trace = trace + share * space.sum(pulled * space.color(z)).to(torch.float64)
        divergence = (space.dof() * at.cos - at.radius * trace) / at.sin
        return flow.slope(y, x0.detach(), at), divergence[:, None]

    def _directions(self, call: int) -> tuple[list[Tensor], list[float]]:
        """Whitened cotangents and the factor of each in the trace."""
        space, known = self.flow.space, list(self.modes.unbind(-1))
        rest = space.dof() - len(known)
        probes = []
        for k in range(self.probes if bool((rest > 0.5).any()) else 0):
            z = space.project(self.noise.white(space, call, k))
            for q in known:
                z = z - q * space.expand(space.sum(q * z), z)
            probes.append(z * space.expand((rest / space.sum(z * z)).sqrt().to(z), z))
        return known + probes, [1.0] * len(known) + [1 / max(self.probes, 1)] * len(probes)


def soft_modes(graphs: Graphs, x: Tensor, number: int) -> Tensor:
    """The softest directions of an elastic network, whitened and orthonormal.

    Springs of equal strength hold the distances of atoms one and two bonds apart; what they do not resist are
    rotations, torsions and ring puckers.

    Args:
        graphs: conformers of one molecule.
        x: positions, ``(E, 3)`` Å.
        number: how many modes, at most ``3(N − 1)``.

    Returns:
        ``(E, 3, number)``, for each conformer its own.
    """
    size, n = graphs.mask.shape
    hops = graphs.code[0] % (MAX_HOPS + 1)
    i, j = ((hops == 1) | (hops == 2)).triu(1).nonzero(as_tuple=True)
    places = x.reshape(size, n, 3).double()
    along = torch.nn.functional.normalize(places[:, i] - places[:, j], dim=-1)
    springs = torch.arange(len(i), device=x.device)
    strain = torch.zeros(size, len(i), n, 3, dtype=torch.float64, device=x.device)
    strain[:, springs, i], strain[:, springs, j] = along, -along
    white = torch.einsum("bsnc,bnm->bsmc", strain, graphs.factor.double()).reshape(size, len(i), 3 * n)
    # Translations are no directions of the centred space: stiff, they come last.
    shift = torch.eye(3, dtype=torch.float64, device=x.device).repeat(n, 1)
    stiffness = white.mT @ white + 1e6 * shift @ shift.T
    modes: Tensor = torch.linalg.eigh(stiffness)[1][..., :number]
    modes = modes.reshape(size * n, 3, number)
    return modes.to(x.dtype)
