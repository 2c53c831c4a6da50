"""Checkpoints hold everything, only the newest are kept, and unfinished ones do not count."""

from pathlib import Path

import pytest
import torch
from torch import nn

from scoregen.core import EMA
from scoregen.training.checkpoint import Progress, checkpoints, load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer, EMA]:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer, ema = torch.optim.AdamW(module.parameters(), lr=0.1), EMA(module)
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        ema.update(module)
    return module, optimizer, ema


def save(run: Path, step: int, keep: int = 2) -> tuple[nn.Module, torch.optim.Optimizer, EMA]:
    module, optimizer, ema = trained(step)
    save_checkpoint(run, Progress(step, 0.5), module.state_dict(), ema, optimizer.state_dict(), keep)
    return module, optimizer, ema


def test_everything_comes_back(tmp_path: Path) -> None:
    module, optimizer, ema = save(tmp_path, 5)
    expected = torch.randn(3)  # the draw that follows the saved random state
    fresh = EMA(nn.Linear(3, 2))
    progress, weights, state = load_checkpoint(checkpoints(tmp_path)[-1], fresh, CPU)
    assert torch.equal(torch.randn(3), expected)
    assert progress == Progress(5, 0.5)
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in ema.state_dict().items())
    other = torch.optim.AdamW(nn.Linear(3, 2).parameters(), lr=0.1)
    other.load_state_dict(state)
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            assert torch.equal(
                torch.as_tensor(other.state_dict()["state"][index][name]), torch.as_tensor(value)
            )


def test_the_best_loss_may_still_be_infinite(tmp_path: Path) -> None:
    module, optimizer, ema = trained(1)
    save_checkpoint(tmp_path, Progress(1), module.state_dict(), ema, optimizer.state_dict(), 1)
    progress, _, _ = load_checkpoint(checkpoints(tmp_path)[0], ema, CPU)
    assert progress == Progress(1, float("inf"))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    for step in (1, 2, 10, 11):
        save(tmp_path, step, keep)
    assert [int(path.name.split("-")[1]) for path in checkpoints(tmp_path)] == [1, 2, 10, 11][-keep:]


def test_unfinished_folders_do_not_count(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / "step-00000009").mkdir()
    (tmp_path / ".step-00000010-abc").mkdir()
    (tmp_path / ".step-00000010-abc" / "progress.json").write_text("{}")
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000003"]


def test_no_run_has_no_checkpoints(tmp_path: Path) -> None:
    assert checkpoints(tmp_path / "nothing") == []


def test_checkpoints_of_other_machines_without_cuda_state_load(tmp_path: Path) -> None:
    """A checkpoint from a machine with GPUs resumes on one without, and the other way round."""
    _, _, ema = save(tmp_path, 2)
    folder = checkpoints(tmp_path)[0]
    state = torch.load(folder / "optimizer.pt", weights_only=True)
    for cuda in ([torch.zeros(16, dtype=torch.uint8)] * 64, []):
        torch.save(state | {"cuda_rng": cuda}, folder / "optimizer.pt")
        assert load_checkpoint(folder, ema, CPU)[0].step == 2
