"""How well inpainting and inverse-problem guides sample the posterior of a Gaussian, known in closed form.

Data: a correlated Gaussian in 16 dimensions (eigenvalues of the covariance 0.02 to 2). Measurements:

* *linear*: 8 random combinations with noise σ_y = 0.1;
* *inpainting*: 8 of the 16 numbers, without noise.

The denoiser is exact, so whatever is wrong is the guide's or the solver's. For each method: error of the
mean in units of the posterior's width, ``‖m̂ − m‖/√tr C``; error of the covariance, ``‖Ĉ − C‖_F/‖C‖_F``; calls
of the denoiser and vector–Jacobian products for each sample. The floor is what as many exact draws score.

    python benchmarks/inverse.py [--size 6000] [--steps 64] [--out benchmarks/results/inverse.json]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from common import print_table, write_json
from torch import Tensor

from scoregen.core import (
    DPS,
    VP,
    Denoise,
    DenseSpace,
    Guide,
    Inpainting,
    MomentMatching,
    Noise,
    PiGDM,
    Prediction,
    karras_grid,
    sample,
)
from scoregen.core.solvers import DDIM, DPMpp2M, PredictorCorrector, Resampled, SDEDPMpp2M

SEED, WIDTH, MEASURED, SIGMA_Y = 0, 16, 8, 0.1
COLUMNS = ["method", "solver", "calls", "VJPs", "mean error", "covariance error", "seconds"]
SDE = VP()
F64 = torch.float64


@dataclass(frozen=True)
class Gaussian:
    """``N(mean, cov)`` with its exact denoiser, counting calls and vector–Jacobian products."""

    mean: Tensor
    cov: Tensor

    def denoiser(self, counts: dict[str, int]) -> Denoise:
        values, vectors = torch.linalg.eigh(self.cov)
        values = values.clamp(min=0)

        class Gain(torch.autograd.Function):
            """A symmetric matrix times each row; its backward pass is what is counted."""

            @staticmethod
            def forward(ctx: Any, rows: Tensor, matrix: Tensor) -> Tensor:
                ctx.save_for_backward(matrix)
                return rows @ matrix

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
                counts["vjps"] += 1
                return grad @ ctx.saved_tensors[0], None

        def denoise(x: Tensor, t: Tensor) -> Prediction:
            counts["calls"] += 1
            alpha, sigma = SDE.marginal(t)
            gain = vectors * (alpha * values / (alpha**2 * values + sigma**2)) @ vectors.T
            return Prediction(self.mean + Gain.apply(x - alpha * self.mean, gain), x, alpha, sigma)

        return denoise

    def given(self, operator: Tensor, y: Tensor, variance: float) -> Gaussian:
        cross = self.cov @ operator.T
        gain = torch.linalg.solve(operator @ cross + variance * torch.eye(len(y), dtype=F64), cross.T).T
        return Gaussian(self.mean + gain @ (y - operator @ self.mean), self.cov - gain @ cross.T)

    def errors(self, samples: Tensor, free: Tensor) -> tuple[float, float]:
        mean, cov = self.mean[free], self.cov[free][:, free]
        drawn = samples[:, free]
        return (
            float((drawn.mean(0) - mean).norm() / cov.diagonal().sum().sqrt()),
            float((drawn.T.cov() - cov).norm() / cov.norm()),
        )

    def draw(self, size: int, random: torch.Generator) -> Tensor:
        values, vectors = torch.linalg.eigh(self.cov)
        white = torch.randn(size, len(values), dtype=F64, generator=random)
        return self.mean + white * values.clamp(min=0).sqrt() @ vectors.T


def problem(random: torch.Generator) -> tuple[Gaussian, Tensor]:
    """The data and a measurement operator."""
    vectors = torch.linalg.qr(torch.randn(WIDTH, WIDTH, dtype=F64, generator=random))[0]
    values = torch.logspace(-1.7, 0.3, WIDTH, dtype=F64)
    mean = torch.randn(WIDTH, dtype=F64, generator=random)
    operator = torch.randn(MEASURED, WIDTH, dtype=F64, generator=random) / WIDTH**0.5
    return Gaussian(mean, vectors * values @ vectors.T), operator


def measure(
    rows: list[list[Any]],
    data: Gaussian,
    exact: Gaussian,
    free: Tensor,
    runs: dict[str, tuple[str, Any, Callable[[DenseSpace], list[Guide]]]],
    size: int,
    steps: int,
) -> None:
    """Run every method and append its row."""
    space = DenseSpace((size, WIDTH), dtype=F64)
    for label, (solver_name, solver, guides) in runs.items():
        counts = {"calls": 0, "vjps": 0}
        denoise = (exact if label.startswith("conditional") else data).denoiser(counts)
        began = time.perf_counter()
        result = sample(
            denoise,
            SDE,
            space,
            solver=solver,
            grid=karras_grid(SDE, steps),
            noise=Noise(SEED, torch.arange(size)),
            guides=guides(space),
        )
        seconds = time.perf_counter() - began
        mean, cov = exact.errors(result, free)
        rows.append([label, solver_name, counts["calls"], counts["vjps"], mean, cov, round(seconds, 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=6000, help="samples drawn by each method")
    parser.add_argument("--steps", type=int, default=64, help="steps of the Karras grid")
    parser.add_argument("--out", default="benchmarks/results/inverse.json")
    args = parser.parse_args()
    random = torch.Generator().manual_seed(SEED)
    data, operator = problem(random)
    truth = data.draw(1, random)[0]
    everything = torch.ones(WIDTH, dtype=torch.bool)

    y = operator @ truth + SIGMA_Y * torch.randn(MEASURED, dtype=F64, generator=random)
    exact = data.given(operator, y, SIGMA_Y**2)

    def linear(kind: Callable[..., Guide], **options: Any) -> Callable[[DenseSpace], list[Guide]]:
        measured = y.expand(args.size, MEASURED)
        return lambda space: [kind(lambda x0: x0 @ operator.T, measured, space, SIGMA_Y, **options)]

    ode = "dpmpp-2m"
    mean, cov = exact.errors(exact.draw(args.size, random), everything)
    rows_linear: list[list[Any]] = [["exact draws (floor)", "–", 0, 0, mean, cov, 0.0]]
    runs: dict[str, tuple[str, Any, Callable[[DenseSpace], list[Guide]]]] = {
        "conditional model": (ode, DPMpp2M(), lambda space: []),
        "no guide": (ode, DPMpp2M(), lambda space: []),
        "DPS, literal": (ode, DPMpp2M(), linear(DPS, normalise=False)),
        "DPS": (ode, DPMpp2M(), linear(DPS)),
        "ΠGDM": (ode, DPMpp2M(), linear(PiGDM)),
        **{
            f"moment matching, {n} iterations": (ode, DPMpp2M(), linear(MomentMatching, iterations=n))
            for n in (1, 2, 4, 8)
        },
        "moment matching, 8 iterations, SDE": (
            "sde-dpmpp-2m",
            SDEDPMpp2M(),
            linear(MomentMatching, iterations=8),
        ),
    }
    measure(rows_linear, data, exact, everything, runs, args.size, args.steps)
    print_table(f"Linear measurements, d = {WIDTH}, m = {MEASURED}, σ_y = {SIGMA_Y}", COLUMNS, rows_linear)

    known = torch.arange(WIDTH) % 2 == 0
    exact = data.given(torch.eye(WIDTH, dtype=F64)[known], truth[known], 0.0)

    def inpaint(iterations: int) -> Callable[[DenseSpace], list[Guide]]:
        return lambda space: [Inpainting(known, truth.expand(args.size, WIDTH), space, iterations)]

    mean, cov = exact.errors(exact.draw(args.size, random), ~known)
    rows_inpaint: list[list[Any]] = [["exact draws (floor)", "–", 0, 0, mean, cov, 0.0]]
    ancestral, corrected = DDIM(1.0), PredictorCorrector(corrections=9)
    runs = {
        "conditional model": (ode, DPMpp2M(), lambda space: []),
        "replacement": (ode, DPMpp2M(), inpaint(0)),
        "replacement, ancestral": ("ddim(eta=1)", ancestral, inpaint(0)),
        "replacement, 9 Langevin steps": ("pc", corrected, inpaint(0)),
        "RePaint, 10 passes of 1": ("ddim(eta=1)", Resampled(ancestral, 10, 1), inpaint(0)),
        "RePaint, 10 passes of 8": ("ddim(eta=1)", Resampled(ancestral, 10, 8), inpaint(0)),
        "RePaint, 40 passes of 1": ("ddim(eta=1)", Resampled(ancestral, 40, 1), inpaint(0)),
        "RePaint, 40 passes of 2": (ode, Resampled(DPMpp2M(), 40, 2), inpaint(0)),
        **{f"moment matching, {n} iterations": (ode, DPMpp2M(), inpaint(n)) for n in (1, 2, 4, 8)},
        "moment matching, 8 iterations, SDE": ("sde-dpmpp-2m", SDEDPMpp2M(), inpaint(8)),
    }
    measure(rows_inpaint, data, exact, ~known, runs, args.size, args.steps)
    print_table(f"Inpainting, {int(known.sum())} of {WIDTH} numbers known", COLUMNS, rows_inpaint)
    write_json(
        args.out,
        {
            "seed": SEED,
            "size": args.size,
            "steps": args.steps,
            "linear": [dict(zip(COLUMNS, row, strict=True)) for row in rows_linear],
            "inpainting": [dict(zip(COLUMNS, row, strict=True)) for row in rows_inpaint],
        },
    )


if __name__ == "__main__":
    main()
