r"""The probability flow by scipy: slow, sample by sample, and independent of the core's own integrator.

Used to check solvers and likelihoods: another implementation, in another variable (the process's own time and
state instead of angles and unit states), with a Jacobian computed whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from .core.denoiser import Denoise
from .core.sde import SDE
from .core.space import Space

METHODS = ("DOP853", "RK45")


@dataclass(frozen=True)
class Reference:
    """End points of the probability flow.

    Args:
        x: the states at the end time.
        divergence: ``∫ ∇·(dx/dt) dt`` from start to end on the projected space, nats, float64 ``(B,)``; None
            when not asked for. ``log p_start(x_start) = log p_end(x) + divergence``.
        calls: network calls of each sample, ``(B,)``.
    """

    x: Tensor
    divergence: Tensor | None
    calls: Tensor


def reference_flow(
    denoise: Denoise,
    sde: SDE,
    x: Tensor,
    space: Space,
    start: float,
    end: float,
    *,
    method: str = "DOP853",
    rtol: float = 1e-10,
    atol: float = 1e-10,
    divergence: bool = False,
) -> Reference:
    """Carry states along ``dx/dt = α' x̂_0 + σ' (x − α x̂_0)/σ`` with ``scipy.integrate.solve_ivp``.

    Each sample is integrated alone; the denoiser is nevertheless called with the whole batch, the other
    samples standing still, so the cost grows with the square of the batch. For tests and small studies.

    Args:
        denoise: ``denoise(x, t) -> Prediction``; called with ``(B,)`` times. Must be differentiable for
            the divergence.
        sde: the process.
        x: the states at ``start``; should be float64.
        space: the batch.
        start, end: times with σ > 0, in either order.
        method: ``"DOP853"`` or ``"RK45"``.
        rtol, atol: scipy's tolerances, per element.
        divergence: integrate the exact divergence too (a whole Jacobian at every call).

    Raises:
        ValueError: an unknown method, or σ = 0 at one of the times.
        RuntimeError: scipy gave up; its message.
    """
    if method not in METHODS:
        raise ValueError(f"method '{method}' is not one of {', '.join(METHODS)}")
    if not bool((sde.marginal(torch.tensor([start, end], dtype=torch.float64))[1] > 0).all()):
        raise ValueError("the probability flow is singular where sigma = 0; choose times with sigma > 0")
    x = space.project(x.detach())
    result, changes, calls = x.clone(), [], []
    for b in range(space.size):
        alone = _Alone(denoise, sde, space, x, b, divergence)
        done = solve_ivp(alone.rates, (start, end), alone.first(), method=method, rtol=rtol, atol=atol)
        if not done.success:
            raise RuntimeError(f"scipy stopped at t = {done.t[-1]:.6g} in sample {b}: {done.message}")
        final = torch.as_tensor(done.y[:, -1], dtype=x.dtype, device=x.device)
        if divergence:
            changes.append(float(done.y[-1, -1]))
            final = final[:-1]
        result = alone.put(final, result)
        calls.append(int(done.nfev))
    integral = torch.tensor(changes, dtype=torch.float64) if divergence else None
    return Reference(result, integral, torch.tensor(calls))


@dataclass(frozen=True)
class _Alone:
    """The flow of one sample of a batch as scipy wants it: ``rates(t, y)`` on a flat float64 vector."""

    denoise: Denoise
    sde: SDE
    space: Space
    x: Tensor
    number: int
    divergence: bool

    @cached_property
    def mine(self) -> Tensor:
        """Which elements of the flattened state are this sample's, int64."""
        sample, _ = self.space.positions()
        owner = sample.repeat_interleave(self.x.numel() // len(sample))
        return (owner == self.number).nonzero().flatten()

    def first(self) -> np.ndarray:
        """The start vector; the divergence comes last."""
        values = self.x.flatten()[self.mine].double().cpu().numpy()
        return np.append(values, 0.0) if self.divergence else values

    def put(self, values: Tensor, into: Tensor) -> Tensor:
        """``into`` with this sample's elements replaced."""
        return into.flatten().index_copy(0, self.mine, values).reshape(into.shape)

    def velocity(self, values: Tensor, t: float) -> Tensor:
        """``dx/dt`` of this sample's elements, projected before and after."""
        state = self.space.project(self.put(values, self.x))
        times = torch.full((self.space.size,), t, dtype=torch.float64, device=state.device)
        schedule = (*self.sde.marginal(times), *self.sde.rates(times))
        alpha, sigma, alpha_rate, sigma_rate = (self.space.expand(v.to(state), state) for v in schedule)
        x0 = self.denoise(state, times).x0
        slope = alpha_rate * x0 + sigma_rate * (state - alpha * x0) / sigma
        return self.space.project(slope).flatten()[self.mine]

    def rates(self, t: float, packed: np.ndarray) -> np.ndarray:
        values = torch.as_tensor(packed, dtype=self.x.dtype, device=self.x.device)
        with torch.no_grad():
            slope = self.velocity(values[:-1] if self.divergence else values, t)
        if self.divergence:
            # Projected on both sides, so the trace is that of the projected space.
            jacobian = torch.autograd.functional.jacobian(lambda v: self.velocity(v, t), values[:-1])  # type: ignore[no-untyped-call]
            slope = torch.cat([slope, jacobian.trace()[None]])
        return slope.double().cpu().numpy()
