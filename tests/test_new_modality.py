"""docs/new-modality.md, run: a package that adds 2-D densities by its entry point; core stays as it is."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "docs" / "densities"
COMMAND = str(ROOT / "cli.py")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installer leaves there: the module and the metadata of its entry points."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    shutil.copy(SOURCE / "densities.py", folder)
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(installed: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_runs(installed: Path, tmp_path: Path) -> None:
    """Train through the command line, then sample and score: close to the density it learned from."""
    ring = tmp_path / "ring"
    config = str(SOURCE / "ring.yaml")
    run(installed, COMMAND, "train", config, "--set", f"run={ring}", "--set", "train.steps=1200")
    picture = tmp_path / "ring.png"
    printed = run(installed, str(SOURCE / "draw.py"), str(ring / "best"), str(picture))
    model, truth, samples = (float(value) for value in re.findall(r"(-?\d+\.\d+) nats", printed))
    assert truth == pytest.approx(-1.71, abs=0.1)
    assert truth - 0.4 < model < truth + 0.05, "the likelihood of the data"
    assert samples == pytest.approx(truth, abs=0.4), "the samples under the true density"
    assert picture.stat().st_size > 5000


def test_unknown_settings_of_the_plugin_are_named(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, COMMAND, "train", str(SOURCE / "ring.yaml"), "--set", "data.nodes=3"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "data.nodes" in done.stderr
    assert "Traceback" not in done.stderr
