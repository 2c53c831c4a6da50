"""The page is complete in itself, safe against odd names, and works in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from scoregen.report.molecules import describe, drawing, superpose
from scoregen.report.page import (
    MoleculeCard,
    SoundCard,
    build_page,
    molecule_section,
    sound_section,
    table_section,
)
from scoregen.report.sound import mel_pictures, wav_bytes

NASTY = "</script><script>alert('x')</script>&\"'"


def embedded(smiles: str, count: int = 3) -> list[Chem.Mol]:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    mols = []
    for seed in range(count):
        copy = Chem.Mol(mol)
        assert AllChem.EmbedMolecule(copy, randomSeed=seed + 1) == 0
        mols.append(copy)
    return mols


@pytest.fixture(scope="module")
def page() -> str:
    import numpy as np

    cards = []
    for name, smiles in (("alanine", "C[C@H](N)C(=O)O"), (NASTY, "C/C=C/C(=O)O")):
        mols = embedded(smiles)
        for mol in mols:
            mol.SetProp("_Name", name.replace("\n", " "))
        superpose(mols)
        cards.append(
            MoleculeCard(
                name,
                smiles,
                describe(mols[0], 3, 0.5),
                drawing(mols[0]),
                [Chem.MolToMolBlock(m) for m in mols],
            )
        )
    wave = np.sin(np.arange(4000) / 5).astype(np.float32)
    (png,) = mel_pictures([np.random.default_rng(0).normal(size=(80, 20))], 0.01)
    sounds = [SoundCard("Recording", NASTY, wav_bytes(wave, 8000), png, {"PESQ": "3.00"})]
    return build_page(
        "A page",
        NASTY,
        [
            molecule_section("Molecules", "Three each.", cards),
            sound_section("Sound", "One.", sounds),
            table_section("Table", "Of two.", [("key", "value"), (NASTY, NASTY)]),
        ],
        cards,
    )


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    references = re.findall(
        r"""<(?:script|link|img|audio|iframe|source)[^>]*?(?:src|href)=['"]([^'"]+)""", page
    )
    assert references
    assert all(reference.startswith("data:") for reference in references)
    assert "@import" not in page
    assert "<link" not in page
    assert "$3Dmol" in page


def test_names_cannot_break_out(page: str) -> None:
    assert page.count("<script") == page.count("</script>") == 3
    assert "<script>alert" not in page.split("<script type='application/json'", maxsplit=1)[0]


def test_the_data_are_the_molecules(page: str) -> None:
    data = re.search(r"id='molecules'>(.*?)</script>", page, re.DOTALL)
    assert data is not None
    molecules = json.loads(data[1])
    assert [len(m["blocks"]) for m in molecules] == [3, 3]
    for block in molecules[0]["blocks"]:
        mol = Chem.MolFromMolBlock(block, removeHs=False)
        assert mol.GetNumAtoms() == 13
        assert mol.GetConformer().Is3D()


def test_superposition_finds_the_rigid_motion() -> None:
    """A rotated, shifted copy lies on the first again; mirror images do not."""
    import numpy as np
    from rdkit.Chem import rdMolTransforms

    first, copy = embedded("C[C@H](N)C(=O)O", 1)[0], embedded("C[C@H](N)C(=O)O", 1)[0]
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turn[:3, 3] = [3, -2, 7]
    rdMolTransforms.TransformConformer(copy.GetConformer(), turn)
    assert superpose([first, copy]) < 1e-3
    np.testing.assert_allclose(
        first.GetConformer().GetPositions(), copy.GetConformer().GetPositions(), atol=1e-3
    )
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    rdMolTransforms.TransformConformer(copy.GetConformer(), mirror)
    assert superpose([first, copy]) > 0.1


def test_descriptions() -> None:
    assert describe(embedded("C[C@H](N)C(=O)O", 1)[0], 1, 0.0) == "C3H7NO2 · 1 stereocentre · 1 rotor"
    assert "1 E/Z bond" in describe(embedded("C/C=C/C(=O)O", 1)[0], 4, 0.25)
    assert "charge +1" in describe(embedded("C[N+](C)(C)C", 1)[0], 1, 0.0)


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no chromium on this machine; the page was not opened in a browser")


def test_it_works_in_a_browser(page: str, tmp_path: Path) -> None:
    """Both 3D views come up, a number picks one conformer, H shows hydrogens, the clip has a duration."""
    probe = """<script>addEventListener("load", () => setTimeout(() => {
      const card = document.querySelector("[data-molecule='1']");
      card.querySelector("[data-show='1']").click();
      card.querySelector("[data-show='hydrogens']").click();
      const report = {
        ready: [...document.querySelectorAll(".stage")].map((s) => s.dataset.ready || s.textContent),
        canvases: document.querySelectorAll(".stage canvas").length,
        pressed: [...card.querySelectorAll("[aria-pressed='true']")].map((b) => b.dataset.show),
        width: document.documentElement.scrollWidth <= innerWidth,
      };
      document.title = JSON.stringify(report);
    }, 500));</script>"""
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
    command = [
        browser(),
        "--headless=new",
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--ignore-gpu-blocklist",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=8000",
        "--dump-dom",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title is not None, done.stderr[-1500:]
    report = json.loads(title[1])
    assert report == {
        "ready": ["3", "3"],
        "canvases": 2,
        "pressed": ["hydrogens", "1"],
        "width": True,
    }
