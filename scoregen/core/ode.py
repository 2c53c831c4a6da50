r"""Runge–Kutta integration of a batch whose samples each keep their own time and step.

An adaptive integrator that measures its error over the whole batch makes every sample depend on its
neighbours. Here each sample has its own time, step size and verdict (accept or reject); one call of the
velocity still serves the whole batch, and samples that have arrived stand still. The error of a step is
the root mean square over the sample's own elements in the whitened metric of the space, so it does not
depend on the batch, and for isotropic noise not on the orientation of the sample.

The pair is Dormand & Prince's 5(4) (*A family of embedded Runge–Kutta formulae*, 1980) with the first
slope of a step taken from the last of the step before; the step-size control is the PI controller of
Hairer, Nørsett & Wanner, *Solving Ordinary Differential Equations I*, 1993, sec. II.4 and IV.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .space import Space
from .tableau import Tableau

Velocity = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""``velocity(x, t)``: a state and times ``(B,)`` to ``dx/dt`` and rates ``(B, S)`` of S scalars a sample."""


DOPRI5 = Tableau(
    c=(0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1),
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    b=(35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0),
    error=(71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)
"""Dormand & Prince 1980, table 2: order 5, embedded order 4; the last of seven stages is the next first."""

RK4 = Tableau(c=(0, 1 / 2, 1 / 2, 1), a=((1 / 2,), (0, 1 / 2), (0, 0, 1)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6))
"""The classical rule of order 4 (Kutta 1901)."""

SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0
# Exponents of the PI controller for an error of order 5 (Hairer et al. 1993, eq. IV.2.43c with β = 0.04).
BETA = 0.04
GAIN = 0.2 - 0.75 * BETA


@dataclass(frozen=True)
class Solution:
    """Where an integration arrived.

    Args:
        x: the states at the end times.
        scalars: the S scalars of each sample there, float64 ``(B, S)``.
        calls: velocity (network) calls each sample needed, int64 ``(B,)``. The batch as a whole takes the
            largest of them.
        rejected: steps each sample tried in vain, int64 ``(B,)``.
    """

    x: Tensor
    scalars: Tensor
    calls: Tensor
    rejected: Tensor


class IntegrationError(FloatingPointError):
    """Some samples did not reach their end time; the message names them and the cause.

    Args:
        message: one line.
        solution: what was reached; right for all samples but the failed ones.
        failed: bool ``(B,)``.
    """

    def __init__(self, message: str, solution: Solution, failed: Tensor):
        super().__init__(message)
        self.solution = solution
        self.failed = failed


def integrate(
    f: Velocity,
    x: Tensor,
    t_start: Tensor,
    t_end: Tensor,
    space: Space,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 1000,
    scalars: Tensor | None = None,
    control_scalars: bool = True,
) -> Solution:
    r"""Carry each sample from its own start time to its own end time, forward or backward.

    A step is accepted when ``‖error‖ ≤ atol + rtol·max(‖x_old‖, ‖x_new‖)``, each norm a root mean square
    in the whitened metric over the sample's degrees of freedom; for a scalar likewise with its own size.

    Args:
        f: velocity; called with float64 times ``(B,)``. It must not couple the samples.
        x: the states at ``t_start``.
        t_start, t_end: times ``(B,)``; a sample whose times are equal stays where it is.
        space: the batch.
        rtol, atol: tolerances of one step.
        max_steps: how many steps, accepted or not, a sample may try.
        scalars: values at ``t_start`` of scalars integrated along, ``(B, S)``; f then returns their rates.
        control_scalars: let the scalars' error decide on the step too.

    Returns:
        The :class:`Solution`.

    Raises:
        ValueError: tolerances that are not positive or finer than the state's precision, times of the wrong
            shape or not finite, ``max_steps < 1``.
        IntegrationError: a sample ran out of steps, or its step shrank to nothing (NaN, or a singularity).
    """
    t, end = _times(t_start, space), _times(t_end, space)
    _check_tolerances(rtol, atol, max_steps, x.dtype)
    values = _zero_scalars(space, x) if scalars is None else scalars.to(torch.float64)
    norm = _Norm(space)
    span, forward = (end - t).abs(), torch.sign(end - t)
    active = span > 0
    calls, rejected = torch.zeros_like(t, dtype=torch.int64), torch.zeros_like(t, dtype=torch.int64)
    failed = torch.zeros_like(active)
    if not bool(active.any()):
        return Solution(x, values, calls, rejected)
    slope = f(x, t)
    step, extra = _first_step(f, x, t, slope[0], forward, span, norm, rtol, atol)
    calls = calls + (1 + extra) * active
    previous, after_reject = torch.full_like(t, 1e-4), torch.zeros_like(active)
    smallest = 8 * torch.finfo(torch.float64).eps * torch.maximum(t.abs(), end.abs())
    for _ in range(max_steps):
        # A step that would stop just short of the end is stretched to it.
        last = 1.01 * step >= (end - t).abs()
        h = torch.where(active, torch.where(last, end - t, forward * step), torch.zeros_like(t))
        arrive = torch.where(last, end, t + h)
        x_new, values_new, error, slopes = _step(f, DOPRI5, x, values, t, h, slope, space)
        calls = calls + 6 * active
        size = norm(error[0]) / (atol + rtol * torch.maximum(norm(x), norm(x_new)))
        if control_scalars and values.shape[1]:
            scale = atol + rtol * torch.maximum(values.abs(), values_new.abs())
            size = torch.maximum(size, (error[1].abs() / scale).square().mean(1).sqrt())
        size = torch.where(torch.isfinite(size), size, torch.full_like(size, torch.inf))
        accept = active & (size <= 1)
        wide = space.expand(accept, x)
        x = torch.where(wide, x_new, x)
        slope = (torch.where(wide, slopes[-1][0], slope[0]), _pick(accept, slopes[-1][1], slope[1]))
        values = torch.where(accept[:, None], values_new, values)
        t = torch.where(accept, arrive, t)
        fast = torch.where(after_reject, 1.0, GROW)
        factor = SAFETY * size.clamp(1e-10) ** -GAIN
        grown = (factor * previous**BETA).clamp(min=SHRINK).minimum(fast)
        step = h.abs() * torch.where(accept, grown, factor.clamp(SHRINK, 1.0))
        previous = torch.where(accept, size.clamp(min=1e-4), previous)
        after_reject = active & ~accept
        rejected = rejected + after_reject
        failed = failed | (after_reject & (step <= smallest))
        active = active & ~failed & ~(accept & last)
        if not bool(active.any()):
            break
    solution = Solution(x, values, calls, rejected)
    if bool((failed | active).any()):
        bad, stuck = failed | active, bool(failed.any())
        why = "the step shrank to nothing" if stuck else f"more than {max_steps} steps; loosen rtol and atol"
        at = float(t[bad][0])
        raise IntegrationError(
            f"integration stopped at {at:.6g} in samples {bad.nonzero().flatten().tolist()[:8]}: {why}",
            solution,
            bad,
        )
    return solution


def integrate_fixed(
    f: Velocity,
    x: Tensor,
    times: Sequence[Tensor],
    space: Space,
    *,
    tableau: Tableau = RK4,
    scalars: Tensor | None = None,
) -> Solution:
    """The same with steps given in advance: a known number of calls and no host–device synchronisation.

    Args:
        f: velocity, as in :func:`integrate`.
        x: the states at ``times[0]``.
        times: K + 1 times, each ``(B,)`` float64.
        space: the batch.
        tableau: the rule; K times its number of stages calls.
        scalars: values at the start of scalars integrated along, ``(B, S)``.

    Raises:
        ValueError: fewer than two times, or times of the wrong shape or not finite.
    """
    if len(times) < 2:
        raise ValueError(f"integration needs at least two times, got {len(times)}")
    at = [_times(t, space) for t in times]
    values = _zero_scalars(space, x) if scalars is None else scalars.to(torch.float64)
    for t, s in pairwise(at):
        x, values, _, _ = _step(f, tableau, x, values, t, s - t, f(x, t), space)
    calls = torch.full_like(at[0], (len(times) - 1) * len(tableau.b), dtype=torch.int64)
    return Solution(x, values, calls, torch.zeros_like(calls))


Slope = tuple[Tensor, Tensor | None]


def _step(
    f: Velocity,
    tableau: Tableau,
    x: Tensor,
    values: Tensor,
    t: Tensor,
    h: Tensor,
    first: Slope,
    space: Space,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], list[Slope]]:
    """One step of every sample: new state and scalars, their error estimates, the slopes."""
    slopes, wide = [first], space.expand(h.to(x.dtype), x)

    def moved(weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        used = [(w, slope) for w, slope in zip(weights, slopes, strict=True) if w != 0]
        dx = used[0][0] * used[0][1][0]
        rate = torch.zeros_like(values)
        for w, (velocity, _) in used[1:]:
            dx = torch.add(dx, velocity, alpha=w)
        for w, (_, rates) in used:
            if rates is not None:
                rate = torch.add(rate, rates, alpha=w)
        return wide * dx, h[:, None] * rate

    for c, weights in zip(tableau.c[1:], tableau.a, strict=True):
        dx, _ = moved(weights)
        # c = 1 means the end of the step, to the last bit.
        slopes.append(f(x + dx, t + h if c == 1 else t + c * h))
    dx, dvalues = moved(tableau.b)
    error = moved(tableau.error) if tableau.error else (torch.zeros_like(dx), torch.zeros_like(dvalues))
    return x + dx, values + dvalues, error, slopes


class _Norm:
    """Root mean square of a state in the whitened metric, per degree of freedom, float64 ``(B,)``."""

    def __init__(self, space: Space):
        self.space = space
        # A sample without degrees of freedom (a single centred atom) has nothing to control.
        self.dof = space.dof().clamp(min=1.0)

    def __call__(self, x: Tensor) -> Tensor:
        square: Tensor = self.space.sum(self.space.whiten(x).square()).to(torch.float64)
        return (square / self.dof).sqrt()


def _first_step(
    f: Velocity,
    x: Tensor,
    t: Tensor,
    velocity: Tensor,
    forward: Tensor,
    span: Tensor,
    norm: _Norm,
    rtol: float,
    atol: float,
) -> tuple[Tensor, int]:
    """First step size of each sample and the calls it took (Hairer et al. 1993, sec. II.4)."""
    scale = atol + rtol * norm(x)
    d0, d1 = norm(x) / scale, norm(velocity) / scale
    tiny = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = torch.where(tiny, 1e-6 * span, 0.01 * d0 / d1.clamp(min=1e-300)).minimum(span)
    h = norm.space.expand((forward * h0).to(x.dtype), x)
    change = norm(f(x + h * velocity, t + forward * h0)[0] - velocity) / scale
    d2 = change / h0.clamp(min=1e-300)
    most = torch.maximum(d1, d2)
    h1 = torch.where(most <= 1e-15, torch.maximum(1e-6 * span, 1e-3 * h0), (0.01 / most) ** 0.2)
    step = torch.minimum(100 * h0, h1).minimum(span)
    return torch.where(torch.isfinite(step), step, 1e-6 * span), 1


def _pick(mask: Tensor, a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None or b is None else torch.where(mask[:, None], a, b)


def _zero_scalars(space: Space, x: Tensor) -> Tensor:
    return torch.zeros(space.size, 0, dtype=torch.float64, device=x.device)


def _times(t: Tensor, space: Space) -> Tensor:
    t = t.to(torch.float64)
    if tuple(t.shape) != (space.size,):
        raise ValueError(f"need one time a sample, shape ({space.size},), got {tuple(t.shape)}")
    if not bool(torch.isfinite(t).all()):
        raise ValueError("a time of the integration is not finite")
    return t


def _check_tolerances(rtol: float, atol: float, max_steps: int, dtype: torch.dtype) -> None:
    if not (rtol > 0 and atol > 0):
        raise ValueError(f"rtol and atol must be positive, got {rtol} and {atol}")
    finest = 10 * torch.finfo(dtype).eps
    if rtol + atol < finest:
        raise ValueError(f"{dtype} cannot hold rtol + atol = {rtol + atol:.3g}; ask for {finest:.2g} or more")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
