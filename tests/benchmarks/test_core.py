"""The core benchmark runs, counts calls and tells of failures; other libraries only where installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--samples", "64", "--calibration-samples", "64", "--budget", "400", "--no-cost", "--nfe", "5", "20"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("bench") / "core.json"
    command = [sys.executable, "benchmarks/core.py", *SMALL, "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Best of each library" in done.stdout
    return json.loads(out.read_text())


def row(result: dict, sampler: str, grid: str = "karras", library: str = "scoregen") -> dict:
    found = [r for r in result["rows"] if (r["library"], r["sampler"], r["grid"]) == (library, sampler, grid)]
    assert len(found) == 1
    return found[0]["results"]


def test_calls_are_counted_and_accuracy_grows(result: dict) -> None:
    euler, heun = row(result, "ddim"), row(result, "heun")
    assert [euler[n]["calls"] for n in ("5", "20")] == [5, 20]
    assert [heun[n]["calls"] for n in ("5", "20")] == [4, 20]
    assert euler["20"]["rmse"] < euler["5"]["rmse"]
    assert row(result, "ipndm-4")["20"]["rmse"] < 0.5 * euler["20"]["rmse"]
    # Rules that draw noise have no end point to compare.
    assert not any(r["sampler"] == "ddpm" for r in result["rows"])


def test_calibrated_grids_are_kept(result: dict) -> None:
    own = row(result, "", "calibrated")
    for n in ("5", "20"):
        sigmas = torch.tensor(own[n]["sigmas"])
        assert len(sigmas) == int(n) + 1
        assert bool((sigmas.diff() < 0).all())


def test_other_libraries_take_the_same_path(result: dict) -> None:
    pytest.importorskip("diffusers")
    euler = row(result, "ddim")["20"]["rmse"]
    assert row(result, "Euler", library="diffusers")["20"]["rmse"] == pytest.approx(euler, rel=1e-4)
    multistep = row(result, "DPMSolverMultistep dpmsolver++ 2 midpoint", library="diffusers")
    assert multistep["20"]["rmse"] == pytest.approx(row(result, "dpmpp-2m")["20"]["rmse"], rel=1e-4)
    refused = row(result, "DPMSolverMultistep dpmsolver 2 midpoint", "karras, 0", "diffusers")
    assert "ValueError" in refused["5"]["error"]
