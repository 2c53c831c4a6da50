"""One thread for every test: results then do not depend on the machine's core count."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def denormals() -> Iterator[None]:
    """No module may leave small numbers flushed to 0, a state of the processor that later tests would see."""
    yield
    assert torch.tensor(1e-310, dtype=torch.float64) * 1.0 != 0
