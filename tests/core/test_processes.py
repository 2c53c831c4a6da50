"""One batch here equals its two halves in two other processes: noise bit for bit, samples to rounding."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from scoregen.core import EDM, Grid, Noise, Prediction, karras_grid, sample
from scoregen.core.fields import ProductSDE, ProductSpace
from scoregen.core.sde import SDE
from scoregen.core.solvers import SOLVERS, solver_by_name
from scoregen.core.space import DenseSpace, Space

from .test_space import factor_space

ROOT = Path(__file__).resolve().parents[2]
COUNTS = [4, 2, 6, 3, 5, 2, 7, 3]


def space_of(ids: list[int]) -> Space:
    """Molecule-like samples of different sizes: centred shaped coordinates beside one number each."""
    size = len(ids)
    return ProductSpace(
        {
            "position": factor_space([COUNTS[k] for k in ids]),
            "charge": DenseSpace((size, 1), dtype=torch.float64),
        }
    )


def process() -> SDE:
    return ProductSDE({"position": EDM(0.01, 20.0), "charge": EDM(0.01, 20.0)})


def everything(ids: list[int]) -> dict[str, np.ndarray]:
    """Noise and the samples of every solver for some ids, one array a sample."""
    space, sde, keyed = space_of(ids), process(), Noise(7, torch.tensor(ids))
    grid = Grid(sde, karras_grid(sde, 10, to_zero=False).times)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> Prediction:
        """Not linear, so that rounding differences between batches would grow."""
        times = torch.as_tensor(t, dtype=torch.float64).expand(space.size)
        alpha, sigma = (space.expand(v, x) for v in sde.marginal(times))
        return Prediction(space.project(torch.tanh(3 * x / (1 + sigma**2).sqrt())), x, alpha, sigma)

    found = {"noise": keyed.normal(space, 3, 1)}
    for name in SOLVERS:
        found[name] = sample(denoise, sde, space, solver=solver_by_name(name), grid=grid, noise=keyed)
    rows: dict[str, np.ndarray] = {}
    for name, value in found.items():
        fields = space.unpack(value)
        parts = fields["position"].split([COUNTS[k] for k in ids])
        for id_, position, charge in zip(ids, parts, fields["charge"], strict=True):
            rows[f"{name}/{id_}"] = torch.cat([position.flatten(), charge]).numpy()
    return rows


def test_a_batch_split_over_two_processes(tmp_path: Path) -> None:
    whole = everything(list(range(8)))
    halves = ([5, 0, 3], [6, 1, 7, 4, 2])
    workers = []
    for k, ids in enumerate(halves):
        code = (
            "import numpy, torch; torch.set_num_threads(1);"
            "from tests.core.test_processes import everything;"
            f"numpy.savez({str(tmp_path / f'{k}.npz')!r}, **everything({ids}))"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        workers.append(subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment))
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    seen = 0
    for k in range(2):
        with np.load(tmp_path / f"{k}.npz", allow_pickle=False) as half:
            for name, value in half.items():
                seen += 1
                if name.startswith("noise/"):
                    assert np.array_equal(value, whole[name]), name
                np.testing.assert_allclose(value, whole[name], rtol=1e-12, atol=1e-12, err_msg=name)
    assert seen == len(whole) == 8 * (len(SOLVERS) + 1)
