"""The arrows: cli, studio → jobs, report → molecules, audio → training, hub, modality → core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "scoregen"

# A part may import parts of its own layer or lower, except where FORBIDDEN says otherwise.
LAYERS = {
    "cli": 5,
    "studio": 5,
    "jobs": 4,
    "report": 4,
    "molecules": 3,
    "audio": 3,
    "training": 2,
    "hub": 2,
    "modality": 2,
    "reference": 2,
    "core": 0,
}
LEAVES = {"errors", "files", "__init__"}
FORBIDDEN = {("molecules", "audio"), ("audio", "molecules"), ("jobs", "report"), ("report", "jobs")}
CORE_MAY_IMPORT = {"torch", "numpy"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    """First component inside the package: ``core``, ``hub``, …"""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(source: str, package: list[str]) -> set[str]:
    """Absolute dotted names of everything imported, at any depth of the code, relative ones resolved.

    Args:
        source: Python source.
        package: dotted components of the package the module lives in.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *(node.module.split(".") if node.module else [])]
            found |= {".".join([*stem, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
            "import_module",
            "__import__",
        ):
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            found |= set(names)
    return found


def turned(source: str, own: str, package: list[str]) -> list[str]:
    """The imports of a module of part ``own`` that point the wrong way."""
    wrong = []
    for name in imports(source, package):
        top, *rest = name.split(".")
        if own == "core" and top not in {"scoregen", *CORE_MAY_IMPORT, *sys.stdlib_module_names}:
            wrong.append(name)
        if top != "scoregen" or not rest:
            continue
        other = rest[0]
        if own == "core":
            if other != "core":
                wrong.append(name)
        elif own in LEAVES:
            if other not in LEAVES and not other.startswith("__"):
                wrong.append(name)
        elif other in LAYERS and (LAYERS[other] > LAYERS[own] or (own, other) in FORBIDDEN):
            wrong.append(name)
    return wrong


def package_of(path: Path) -> list[str]:
    return ["scoregen", *path.relative_to(PACKAGE).parent.parts]


def test_every_part_has_a_place() -> None:
    parts = {part(path) for path in modules()}
    assert parts <= set(LAYERS) | LEAVES, f"say where {parts - set(LAYERS) - LEAVES} belong"
    assert {"core", "training", "molecules", "audio", "cli", "hub", "modality"} <= parts


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_turns(path: Path) -> None:
    wrong = turned(path.read_text(), part(path), package_of(path))
    assert not wrong, f"{path.relative_to(PACKAGE)} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("core", "import scipy"),
        ("core", "from scoregen.errors import InputError"),
        ("core", "from ..files import atomic_path"),
        ("core", "def f():\n    import scoregen.training.loop"),
        ("training", "from scoregen.molecules import network"),
        ("training", "from ..audio import mel"),
        ("molecules", "from scoregen.audio.mel import MelSpec"),
        ("molecules", "from scoregen import audio"),
        ("audio", "import importlib\nimportlib.import_module('scoregen.molecules')"),
        ("audio", "from scoregen.report import page"),
        ("report", "from scoregen.cli import main"),
        ("errors", "from .core import EDM"),
    ],
)
def test_a_turned_arrow_is_seen(own: str, source: str) -> None:
    package = ["scoregen"] if own in LEAVES else ["scoregen", own]
    assert turned(source, own, package)


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("core", "import math, torch\nimport numpy as np\nfrom .sde import EDM"),
        ("training", "import yaml\nfrom scoregen.core import EMA\nfrom scoregen.files import atomic_path"),
        ("molecules", "from ..training.cache import Cache\nfrom . import network"),
        ("cli", "from scoregen.report import page\nfrom scoregen import __version__"),
    ],
)
def test_right_arrows_pass(own: str, source: str) -> None:
    assert not turned(source, own, ["scoregen", own])


def test_training_needs_neither_rdkit_nor_soundfile() -> None:
    """The loop and both plugins' training side import on a node that has neither."""
    code = (
        "import sys\n"
        "for name in ('rdkit', 'soundfile', 'soxr'):\n"
        "    sys.modules[name] = None\n"
        "import scoregen.training.loop\n"
        "from scoregen.modality import get_modality\n"
        "for name in ('molecules', 'audio'):\n"
        "    found = get_modality(name)\n"
        "    found.build(found.model_config())\n"
        "print('trained')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False
    )
    assert done.stdout.strip() == "trained", done.stderr[-2000:]


def test_files_stay_small() -> None:
    """No file above 400 lines."""
    long = {str(p.relative_to(PACKAGE)): n for p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert not long
