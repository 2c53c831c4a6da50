r"""Time grids made for one denoiser: a search for the K steps that come nearest to a fine solution.

The end point of a solver is a smooth function of its times almost everywhere, and the exact end point is
known once the probability-flow ODE has been solved finely. So the distance between the two, averaged
over a calibration batch, can be minimised over the times (Watson et al., *Learning to Efficiently Sample*,
2021, and Sabour et al., *Align Your Steps*, 2024, have the same aim; the search here is our own). It works
for any kind of data, any deterministic solver and any process, and needs only calls of the denoiser:

1. *Parametrise.* With ``ℓ = log(σ/α)`` the steps ``Δℓ_k > 0`` of the given grid become
   ``Δℓ_k exp(Σ_j θ_j φ_j(k))``, rescaled to the same total, with hat functions ``φ_j`` on few knots. Every θ
   is a monotone grid between the same ends. A start without signal and an end without noise stay, and the
   finite level next to them is free.
2. *Levenberg–Marquardt* (Marquardt 1963) on the end-point differences, Jacobian by finite differences, on
   ever more knots. A sample that lies near the border between two modes moves a long way for a tiny change
   and would own the Jacobian, so the weight of each sample there is bounded.
3. *Random descent*: steps in a random part of θ, of a size that adapts to success (Rechenberg's 1/5 rule),
   which crosses the jumps of the error that samples make when they change their mode.

Grids found on one set of noise keys should be judged on another: :func:`end_point_error`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoise, Prediction
from .grid import Grid
from .noise import Noise
from .sampling import NonFiniteSample, sample
from .sde import SDE, log_snr
from .solvers.base import Solver
from .solvers.heun import Heun
from .space import Space

_STEP = 1e-2  # Finite difference in θ: above the noise of a float32 network, below the scale of the problem.


@dataclass(frozen=True)
class Calibration:
    """A calibrated grid and how it was found.

    Args:
        grid: the best grid seen.
        solver: the name of the solver it is for; empty when a single solver was given.
        before, after: end-point RMSE on the calibration batch with the first and the best grid.
        calls: network calls spent on the search.
        reference_calls: network calls spent on the fine solution.
    """

    grid: Grid
    solver: str
    before: float
    after: float
    calls: int
    reference_calls: int


@dataclass
class Problem:
    """What is solved: a batch, its starting noise and, once :meth:`solve` has run, its exact end points.

    Args:
        denoise: the denoiser.
        sde: the process.
        space: the batch.
        noise: keyed noise of the calibration samples.
        start: data to start from, as in :func:`~scoregen.core.sampling.sample`.
        fresh: makes a denoiser for one run; for denoisers that remember (self-conditioning). It is used
            instead of ``denoise`` when given.
    """

    denoise: Denoise
    sde: SDE
    space: Space
    noise: Noise
    start: Tensor | None = None
    fresh: Callable[[], Denoise] | None = None
    calls: int = field(default=0, init=False)
    failure: ValueError | None = field(default=None, init=False, repr=False)

    def solve(self, solver: Solver[Any], grid: Grid) -> Tensor:
        """The solver's end points on ``grid``, a state of ``space``; counts the network calls.

        Raises:
            NonFiniteSample: the solver gave NaN or infinity.
            ValueError: the solver refuses the grid, or the denoiser raised it; the latter is also kept in
                ``failure``.
        """
        denoise = self.denoise if self.fresh is None else self.fresh()

        def counted(x: Tensor, t: Tensor) -> Prediction:
            self.calls += 1
            try:
                return denoise(x, t)
            except ValueError as error:
                self.failure = error
                raise

        where = {"solver": solver, "grid": grid, "noise": self.noise, "start": self.start}
        return sample(counted, self.sde, self.space, **where)  # type: ignore[arg-type]

    def error(self, difference: Tensor) -> Tensor:
        """Mean squared entry of a state over the directions that count, float64 ``(B,)``; 0 without any."""
        return self.product(difference, difference)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean product of the entries of two states over the directions that count, float64 ``(B,)``."""
        # A sample without degrees of freedom (a single centred atom) has nothing to get wrong.
        dof = self.space.dof().to(a.device).clamp(min=1)
        return self.space.sum(self.space.project(a) * self.space.project(b)).to(torch.float64) / dof


def calibrate(
    denoise: Denoise,
    sde: SDE,
    space: Space,
    *,
    solver: Solver[Any] | Mapping[str, Solver[Any]],
    grid: Grid,
    noise: Noise,
    start: Tensor | None = None,
    fresh: Callable[[], Denoise] | None = None,
    reference: Tensor | None = None,
    reference_steps: int = 256,
    budget: int = 4000,
    knots: Sequence[int] = (3, 6, 12),
    keep: int = 2,
    power: float = 2.0,
    seed: int = 0,
) -> Calibration:
    """Search the times that bring a solver's end points nearest to those of a fine solution.

    Args:
        denoise, sde, space, noise, start: as for :func:`~scoregen.core.sampling.sample`; ``noise`` holds the
            keys of the calibration samples (some dozens do; the more, the better it carries over).
        solver: a deterministic solver, or several by name: each is tried on few knots with a third of the
            budget between them, and the best ``keep`` share the rest.
        grid: the grid to start from; it fixes the number of steps and the ends.
        fresh: see :class:`Problem`.
        reference: exact end points, a state of ``space``; computed with Heun's rule when omitted.
        reference_steps: at least that many steps for the fine solution.
        budget: network calls (of the whole batch) that the search may spend, the fine solution aside; at
            least one run of each solver is made.
        knots: numbers of hat functions, coarse to fine.
        keep: how many of several solvers get to the fine search.
        power: what is minimised is the mean of this power of each sample's RMS error. 2 is the RMSE, which
            the samples that change their mode dominate; 1 depends less on few of them.
        seed: of the random descent.

    Returns:
        The best grid found; the given one when nothing better was found.

    Raises:
        ValueError: no solver, no knots, nothing to keep, or no solver that is finite on the given grid (with
            what the first one said); whatever ValueError the denoiser raises.
    """
    solvers = dict(solver) if isinstance(solver, Mapping) else {"": solver}
    if not solvers or not knots or min(*knots, keep) < 1:
        raise ValueError("calibration needs at least one solver, and knots and keep of 1 or more")
    problem = Problem(denoise, sde, space, noise, start, fresh)
    if reference is None:
        reference = problem.solve(Heun(), refined(grid, reference_steps))
    spent, problem.calls = problem.calls, 0
    searches = {name: _Search(problem, rule, grid, reference, power) for name, rule in solvers.items()}
    if len(searches) > 1:
        for i, search in enumerate(searches.values(), 1):
            search.descend([knots[0]], budget * i // (3 * len(searches)))
    ranked = sorted(searches, key=lambda name: searches[name].loss)[:keep]
    if not math.isfinite(searches[ranked[0]].loss):
        raise ValueError(f"no solver gives finite samples on the given grid: {searches[ranked[0]].refusal}")
    left = max(budget - problem.calls, 0)
    until = [problem.calls + left * (i + 1) // len(ranked) for i in range(len(ranked))]
    for name, end in zip(ranked, until, strict=True):
        searches[name].descend(knots, end)
        searches[name].wander(end, seed)
    name = min(ranked, key=lambda name: searches[name].loss)
    best = searches[name]
    return Calibration(best.grid, name, best.first, best.rmse(), problem.calls, spent)


def end_point_error(problem: Problem, solver: Solver[Any], grid: Grid, reference: Tensor) -> Tensor:
    """Root mean squared distance of each sample's end point from ``reference``, float64 ``(B,)``.

    Args:
        problem: the batch, best with other noise keys than the grid was calibrated on.
        solver: the solver.
        grid: the grid to judge.
        reference: exact end points, a state of the space.

    Raises:
        NonFiniteSample: the solver gave NaN or infinity.
    """
    return problem.error(problem.solve(solver, grid) - reference).sqrt()


def refined(grid: Grid, steps: int) -> Grid:
    """The grid with every step cut into equal parts of ``log(σ/α)``, ``steps`` or more in all.

    A step from a start without signal is cut in time, and a step to σ = 0 is left whole.

    Raises:
        ValueError: ``steps < 1``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    parts = -(-steps // grid.steps)
    level = log_ratio(grid.sde, grid.times)
    times = [grid.times[:1]]
    for i in range(grid.steps):
        share = torch.arange(1, parts, dtype=torch.float64) / parts
        if bool(torch.isfinite(level[i : i + 2]).all()):
            times.append(grid.sde.time(-2 * torch.lerp(level[i], level[i + 1], share)))
        elif math.isfinite(level[i + 1]):
            times.append(torch.lerp(grid.times[i], grid.times[i + 1], share))
        times.append(grid.times[i + 1 : i + 2])
    return Grid(grid.sde, torch.cat(times))


def log_ratio(sde: SDE, times: Tensor) -> Tensor:
    """``log(σ/α)`` of the (first field of the) process, ``(K,)`` float64; ±∞ without signal or noise.

    Args:
        sde: the process.
        times: ``(K,)``.
    """
    return -0.5 * log_snr(sde, times).reshape(len(times), -1)[:, 0]


class _Family:
    """The grids of step 1 above: θ to a grid, ``size`` numbers, zero for the given grid."""

    def __init__(self, grid: Grid, knots: int):
        level = log_ratio(grid.sde, grid.times)
        self.base, finite = grid, torch.isfinite(level)
        self.level = level[finite]
        # 1 where the grid has an infinite end, next to which the finite level may move.
        self.open = (int(not bool(finite[0])), int(not bool(finite[-1])))
        steps = max(len(self.level) - 1, 0)
        self.basis = _hats(steps, min(knots, steps))
        self.size = self.basis.shape[1] + sum(self.open)

    @property
    def rigid(self) -> bool:
        """Whether there is only one grid: a single step between two fixed ends, or no finite level at all."""
        return not len(self.level) or self.basis.shape[1] + 2 * sum(self.open) <= 1

    def grid(self, theta: Tensor) -> Grid:
        """The grid of ``theta``. Raises ValueError where the numbers make no grid."""
        if self.rigid:
            return self.base
        width = self.basis.shape[1]
        shift = theta[width:].tolist()
        first = self.level[0] + (shift[0] if self.open[0] else 0.0)
        last = self.level[-1] + (shift[-1] if self.open[1] else 0.0)
        if len(self.level) == 1:
            level = first[None] if self.open[0] else last[None]
        else:
            steps = (self.level[:-1] - self.level[1:]) * (self.basis @ theta[:width]).exp()
            way = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0) / steps.sum()])
            level = first + (last - first) * way
        times = self.base.times.clone()
        inner = slice(self.open[0], len(times) - self.open[1])
        moved = self.base.sde.time(-2 * level)
        # Fixed ends keep their very numbers.
        moved[0] = moved[0] if self.open[0] else times[inner][0]
        moved[-1] = moved[-1] if self.open[1] else times[inner][-1]
        times[inner] = moved
        return Grid(self.base.sde, times)


def _hats(steps: int, knots: int) -> Tensor:
    """Piecewise linear functions over the steps, one for each of equally spaced knots, ``(steps, knots)``."""
    if knots < 2:
        return torch.ones(steps, knots, dtype=torch.float64)
    where = torch.linspace(0, knots - 1, steps, dtype=torch.float64)
    return (1 - (where[:, None] - torch.arange(knots, dtype=torch.float64)).abs()).clamp(min=0)


class _Search:
    """One solver's search: the best θ so far, its loss and its end-point differences."""

    def __init__(self, problem: Problem, solver: Solver[Any], grid: Grid, reference: Tensor, power: float):
        self.power, self.refusal = power, ""
        self.problem, self.solver, self.reference = problem, solver, reference
        self.family = _Family(grid, 1)
        self.theta = torch.zeros(self.family.size, dtype=torch.float64)
        before = problem.calls
        self.loss, self.difference = self.evaluate(self.theta)
        self.cost = problem.calls - before
        self.grid, self.first = grid, self.rmse()

    def evaluate(self, theta: Tensor) -> tuple[float, Tensor]:
        """Loss and end-point differences; an infinite loss where there is no grid, the solver refuses it, or
        a sample is not finite. A ValueError of the denoiser is its own and goes through."""
        try:
            found = self.problem.solve(self.solver, self.family.grid(theta)) - self.reference
        except (ValueError, NonFiniteSample) as error:
            if error is self.problem.failure:
                raise
            self.refusal = str(error)
            return math.inf, torch.zeros_like(self.reference)
        return float((self.problem.error(found) ** (self.power / 2)).mean()), found

    def rmse(self) -> float:
        """End-point RMSE of the best grid."""
        return float(self.problem.error(self.difference).mean().sqrt())

    def accept(self, theta: Tensor, loss: float, difference: Tensor) -> bool:
        """Take the candidate when it is better."""
        if not loss < self.loss:
            return False
        self.theta, self.loss, self.difference = theta, loss, difference
        self.grid = self.family.grid(theta)
        return True

    def afford(self, budget: int, runs: int = 1) -> bool:
        return self.problem.calls + runs * self.cost <= budget

    def refine(self, knots: int) -> None:
        """Go on from the best grid in a family of so many knots."""
        self.family = _Family(self.grid, knots)
        self.theta = torch.zeros(self.family.size, dtype=torch.float64)

    def descend(self, knots: Sequence[int], budget: int, rounds: int = 8) -> None:
        """Levenberg–Marquardt, on ever more knots."""
        for count in dict.fromkeys(min(count, max(len(self.family.level) - 1, 1)) for count in knots):
            self.refine(count)
            damping = 1e-2
            for _ in range(rounds):
                if self.family.rigid or not self.afford(budget, self.family.size + 1):
                    return
                before = self.loss
                damping = self.gauss_newton(damping, budget)
                if self.loss > 0.99 * before:
                    break

    def gauss_newton(self, damping: float, budget: int) -> float:
        """One Jacobian and the first damped step that helps; returns the damping for the next."""
        columns = []
        for j in range(self.family.size):
            moved = self.theta.clone()
            moved[j] += _STEP
            loss, found = self.evaluate(moved)
            columns.append(
                (found - self.difference) / _STEP if math.isfinite(loss) else torch.zeros_like(found)
            )
        sizes = torch.stack([self.problem.error(column) for column in columns]).sum(0).sqrt()
        weight = (3 * sizes.median() / sizes.clamp(min=1e-300)).clamp(max=1.0)
        # Least squares, reweighted to the power that is minimised.
        error = self.problem.error(self.difference).sqrt()
        weight = weight * error.clamp(min=max(float(error.median()), 1e-300)) ** (self.power - 2)

        def product(a: Tensor, b: Tensor) -> Tensor:
            return (weight * self.problem.product(a, b)).mean()

        normal = torch.stack([torch.stack([product(a, b) for b in columns]) for a in columns]).cpu()
        slope = torch.stack([product(a, self.difference) for a in columns]).cpu()
        ridge = torch.diag(normal.diagonal() + 1e-9 * normal.trace() + 1e-300)
        for _ in range(4):
            if not self.afford(budget):
                break
            step = -torch.linalg.solve(normal + damping * ridge, slope).clamp(-1.0, 1.0)
            theta = self.theta + step
            if self.accept(theta, *self.evaluate(theta)):
                return max(damping / 4, 1e-5)
            damping *= 6
        return damping

    def wander(self, budget: int, seed: int) -> None:
        """Random descent with what is left of the budget."""
        generator = torch.Generator().manual_seed(seed)
        reach = 0.3
        while self.afford(budget) and not self.family.rigid:
            normal = torch.randn(self.family.size, generator=generator, dtype=torch.float64)
            chosen = torch.rand(self.family.size, generator=generator, dtype=torch.float64) < 0.4
            theta = self.theta + reach * normal * (chosen if bool(chosen.any()) else 1.0)
            # 1/5 rule; a reach that has shrunk to nothing starts again wide.
            better = self.accept(theta, *self.evaluate(theta))
            reach *= 1.6 if better else 0.9
            reach = 0.3 if reach < 1e-3 else min(reach, 1.0)
