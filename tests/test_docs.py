"""The pages under docs/ hold what they say: their Python runs, their names exist, their links lead on."""

import re
from pathlib import Path

import pytest

import scoregen.core
from scoregen.core import solvers
from scoregen.core.denoiser import PARAMETRISATIONS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def blocks(page: Path) -> str:
    """The Python of a page, one block after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks(page), page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_solver_is_on_the_page() -> None:
    text = (DOCS / "core.md").read_text()
    for name in solvers.SOLVERS:
        family = name.rsplit("-", 1)[0]
        assert f"`{name}`" in text or re.search(rf"`{family}-\d` … `{family}-\d`", text), name


def test_the_names_of_the_page_exist() -> None:
    """Names in the table of parts are public, and parametrisations are the real ones."""
    text = (DOCS / "core.md").read_text()
    table = text[text.index("## The parts") : text.index("## Solvers")]
    for name in re.findall(r"`([A-Za-z_]+)`", table):
        assert hasattr(scoregen.core, name), name
    assert set(re.findall(r'`"(\w+)"`', table)) == set(PARAMETRISATIONS)
