"""The loop: exact resume after any death, refusals, stopping, and what a run leaves behind."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scoregen.errors import InputError
from scoregen.hub import from_pretrained
from scoregen.training import checkpoint, loop
from scoregen.training.config import RunConfig, TrainConfig
from scoregen.training.loop import TrainingDiverged, flushed_denormals, learning_rate, train

ROOT = Path(__file__).resolve().parents[2]


def log_bytes(run: Path) -> bytes:
    return (run / "log.jsonl").read_bytes()


def log_lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in log_bytes(run).splitlines()]


def assert_same_run(one: Path, two: Path) -> None:
    """Byte-identical log, bit-identical last checkpoint and best model."""
    assert log_bytes(one) == log_bytes(two)
    last_one, last_two = checkpoint.checkpoints(one)[-1], checkpoint.checkpoints(two)[-1]
    assert last_one.name == last_two.name
    for name in ("model.safetensors", "ema.safetensors"):
        a, b = load_file(last_one / name), load_file(last_two / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert (last_one / "progress.json").read_bytes() == (last_two / "progress.json").read_bytes()
    a, b = load_file(one / "best" / "model.safetensors"), load_file(two / "best" / "model.safetensors")
    assert all(torch.equal(a[key], b[key]) for key in a)


# ------------------------------------------------------------------------------------- kill and resume


def test_kill_nine_and_resume_leaves_the_log_of_an_undisturbed_run(configure, tmp_path: Path) -> None:
    """A real process, SIGKILL at a random step, resumed: nothing in the log tells."""
    train(configure("undisturbed"))
    killed = configure("killed", {"pause": 0.05}).run
    target = random.randrange(8, 36)
    command = [sys.executable, "-m", "tests.training.run_toy", str(tmp_path / "killed.yaml")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        log, deadline = killed / "log.jsonl", time.monotonic() + 120
        while not log.exists() or log.read_bytes().count(b"\n") < target:
            assert process.poll() is None, f"ended before it could be killed: {process.stderr.read()!r}"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = log_lines(killed)
    assert before[-1]["step"] < 40
    train(configure("killed"), resume=True)
    assert_same_run(tmp_path / "undisturbed", killed)


class Killed(BaseException):
    """Stands for a death: nothing in the loop may catch it."""


@pytest.mark.parametrize("deaths", [[1], [6], [7], [13, 20], [10], [39], [3, 4, 5, 30]])
def test_dying_at_any_step(configure, tmp_path: Path, monkeypatch, deaths: list[int]) -> None:
    train(configure("whole"))
    real = loop.Trainer._step
    for death in deaths:

        def step(self, batch, death=death):
            if self.progress.step == death:
                raise Killed
            return real(self, batch)

        monkeypatch.setattr(loop.Trainer, "_step", step)
        with pytest.raises(Killed):
            train(configure("broken"), resume=death != deaths[0])
    monkeypatch.setattr(loop.Trainer, "_step", real)
    train(configure("broken"), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_dying_while_saving_leaves_the_checkpoint_before(configure, tmp_path: Path, monkeypatch) -> None:
    train(configure("whole"))
    real = checkpoint.torch.save

    def save(content, path):
        if "step-00000021" in str(path):
            real(content, path)
            raise Killed
        real(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", save)
        with pytest.raises(Killed):
            train(configure("broken"))
    run = tmp_path / "broken"
    assert [path.name for path in checkpoint.checkpoints(run)] == ["step-00000007", "step-00000014"]
    train(configure("broken"), resume=True)
    assert_same_run(tmp_path / "whole", run)


def test_a_torn_log_line_is_dropped(configure, tmp_path: Path) -> None:
    train(configure("whole"))
    train(configure("torn"), max_seconds=0)
    with open(tmp_path / "torn" / "log.jsonl", "ab") as stream:
        stream.write(b'{"step": 2, "loss": 0.1234}\n{"step": 3, "lo')
    train(configure("torn"), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "torn")


def test_data_loading_processes_change_nothing(configure, tmp_path: Path) -> None:
    train(configure("here", steps=12))
    train(configure("workers", steps=12, workers=1))
    assert_same_run(tmp_path / "here", tmp_path / "workers")


def test_resume_of_a_finished_run_changes_nothing(configure, tmp_path: Path) -> None:
    train(configure("done", steps=10))
    before = log_bytes(tmp_path / "done")
    train(configure("done", steps=10), resume=True)
    assert log_bytes(tmp_path / "done") == before


def test_resume_without_a_checkpoint_starts_over(configure, tmp_path: Path) -> None:
    train(configure("whole", steps=10))
    train(configure("fresh", steps=10), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "fresh")


def test_another_seed_is_another_run(configure) -> None:
    one = train(configure("one", steps=5))
    config = configure("two", steps=5).model_dump() | {"seed": 4}
    assert log_bytes(one) != log_bytes(train(RunConfig(**config)))


# -------------------------------------------------------------------------------------------- stopping


def test_max_time_stops_with_a_checkpoint_and_resumes(configure, tmp_path: Path) -> None:
    train(configure("whole"))
    started = time.monotonic()
    run = train(configure("short", {"pause": 0.02}, steps=40), max_seconds=0.3)
    assert time.monotonic() - started < 10
    done = checkpoint.checkpoints(run)
    assert len(done) >= 1
    step = json.loads((done[-1] / "progress.json").read_text())["step"]
    assert 0 < step < 40
    assert log_lines(run)[-1]["step"] == step
    train(configure("short"), resume=True)
    assert_same_run(tmp_path / "whole", run)


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(
    configure, tmp_path: Path
) -> None:
    config = configure("nan", {"poison": 17})
    with pytest.raises(TrainingDiverged, match=r"loss is nan at step 17.*step-00000014"):
        train(config)
    last = checkpoint.checkpoints(config.run)[-1]
    assert last.name == "step-00000014"
    assert all(bool(torch.isfinite(v).all()) for v in load_file(last / "model.safetensors").values())
    assert log_lines(config.run)[-1]["step"] == 17
    train(configure("whole"))
    train(configure("nan"), resume=True)
    assert_same_run(tmp_path / "whole", config.run)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_take_it(configure) -> None:
    """Step 13 is followed by a checkpoint: were the step taken, NaN weights would be saved as good."""
    config = configure("gradient", {"poison_gradient": 13})
    with pytest.raises(TrainingDiverged, match=r"gradient.*step 13.*step-00000007"):
        train(config)
    last = checkpoint.checkpoints(config.run)[-1]
    assert last.name == "step-00000007"
    assert all(bool(torch.isfinite(v).all()) for v in load_file(last / "model.safetensors").values())


def test_divergence_before_any_checkpoint(configure) -> None:
    with pytest.raises(TrainingDiverged, match="no checkpoint was written yet"):
        train(configure("early", {"poison": 2}))


def test_a_run_is_not_overwritten_by_accident(configure) -> None:
    train(configure("once", steps=3))
    with pytest.raises(InputError, match=r"once: holds a run already; pass --resume"):
        train(configure("once", steps=3))


def test_cuda_where_there_is_none(configure) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="no CUDA device; set it to 'auto' or 'cpu'"):
        train(configure("cuda", device="cuda"))


# -------------------------------------------------------------------------------------- what it leaves


def test_the_loss_falls(configure) -> None:
    """The corners of a square are not Gaussian: silence costs 1 at every level, learning them less."""
    config = configure("long", {"batch": 64}, steps=250, eval_every=50, learning_rate=0.02, ema=0.9)
    run = train(RunConfig(**(config.model_dump() | {"model": {"width": 64, "dropout": 0.0}})))
    dev = [line["dev_loss"] for line in log_lines(run) if "dev_loss" in line]
    losses = [line["loss"] for line in log_lines(run) if "loss" in line]
    assert sum(losses[-50:]) / 50 < 0.85
    assert sum(losses[:5]) / 5 > 0.95
    assert dev[-1] < dev[0]


def test_a_run_folder_is_complete(configure) -> None:
    run = train(configure("kept", keep=2))
    assert [p.name for p in checkpoint.checkpoints(run)] == ["step-00000035", "step-00000040"]
    lines = log_lines(run)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 41))
    assert [line["step"] for line in lines if "dev_loss" in line] == [10, 20, 30, 40]
    assert {"loss", "half", "gradient_norm"} < set(lines[0])
    assert json.loads((run / "config.json").read_text())["modality"] == "toy"
    assert list((run / "tensorboard").iterdir())
    assert not list(run.glob(".*")), "temporary files were left"


def test_a_run_stopped_before_its_first_evaluation_still_leaves_a_model(configure) -> None:
    run = train(configure("early", steps=1000, eval_every=1000), max_seconds=0)
    training = from_pretrained(run / "best").info["training"]
    assert training["steps"] == 1 and training["dev_loss"] is None and "cache" not in training["data"]


def test_best_is_a_ready_model_of_the_average(configure) -> None:
    run = train(configure("best", steps=20))
    model = from_pretrained(run / "best")
    dev = [(line["dev_loss"], line["step"]) for line in log_lines(run) if "dev_loss" in line]
    assert model.info["training"]["dev_loss"] == min(dev)[0]
    assert model.info["training"]["steps"] == min(dev)[1]
    assert model.info["source"] == "square"
    ema = load_file(checkpoint.checkpoints(run)[-1] / "ema.safetensors")
    if min(dev)[1] == 20:
        for name, value in model.denoiser.state_dict().items():
            assert torch.equal(value, ema[name])


def test_fine_tuning_starts_from_a_model(configure) -> None:
    first = train(configure("first", steps=20))
    config = configure("tuned", steps=1, learning_rate=1e-12)
    train(RunConfig(**(config.model_dump() | {"init": str(first / "best")})))
    tuned = load_file(checkpoint.checkpoints(config.run)[-1] / "model.safetensors")
    for name, value in load_file(first / "best" / "model.safetensors").items():
        torch.testing.assert_close(tuned[name], value, atol=1e-8, rtol=0)


def test_a_larger_network_starts_as_the_smaller_one(configure) -> None:
    first = train(configure("small", steps=20))
    small = from_pretrained(first / "best").denoiser
    config = configure("wide", steps=1, learning_rate=1e-12)
    wide = config.model_dump() | {"init": str(first / "best"), "model": {"width": 24}}
    train(RunConfig(**wide))
    large = load_file(checkpoint.checkpoints(config.run)[-1] / "model.safetensors")
    for name, value in small.state_dict().items():
        corner = tuple(slice(n) for n in value.shape)
        torch.testing.assert_close(large[name][corner], value, atol=1e-8, rtol=0)
        assert large[name].abs().sum() - large[name][corner].abs().sum() <= 1e-6
    narrow = configure("narrow", steps=1).model_dump() | {"init": str(first / "best"), "model": {"width": 8}}
    with pytest.raises(InputError, match="does not fit the model section"):
        train(RunConfig(**narrow))


def test_learning_rate_schedule() -> None:
    config = TrainConfig(steps=100, learning_rate=2.0, warmup=10, decay=0.5)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:51] == pytest.approx([2.0] * 42)
    assert rates[75] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0)
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates)


def test_training_leaves_denormal_numbers_as_they_were() -> None:
    tiny = torch.tensor(1e-310, dtype=torch.float64)
    torch.set_flush_denormal(False)
    with pytest.raises(KeyError), flushed_denormals():
        assert tiny * 1.0 == 0
        with flushed_denormals():
            pass
        assert tiny * 1.0 == 0
        raise KeyError
    assert tiny * 1.0 != 0
