"""The gallery: what it shows, what it refuses, and that sorting and 3D views work in a real browser."""

import csv
import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, Mol

from scoregen.errors import InputError
from scoregen.molecules.design.assess import assess, write_csv
from scoregen.molecules.design.descriptors import describe
from scoregen.molecules.design.fragments import make_scaffold, read_scaffold
from scoregen.molecules.design.targets import parse_target
from scoregen.report.gallery import candidates, gallery
from scoregen.report.molecules import drawing
from tests.molecules.samples import pack
from tests.report.test_page import NASTY, browser

ARMS = ("C", "CO", "Cl", "N#C", "CCN", "CC(=O)O", "FC(F)(F)", "OC", "NC(=O)")


def ligands() -> list[Mol]:
    return [Mol(mol) for mol in pack("pdb_ligands_sample.sdf") if len(Chem.GetMolFrags(mol)) == 1]


def write(path: Path, mols: list[Mol], rows: list[dict[str, Any]] | None = None) -> Path:
    with Chem.SDWriter(str(path)) as writer:
        for i, mol in enumerate(mols):
            for name, value in (rows[i] if rows else {}).items():
                mol.SetProp(name, str(value))
            writer.write(mol)
    return path


def figures(mol: Mol) -> dict[str, Any]:
    return {**describe(mol, ("qed", "logp", "tpsa", "mw", "sa")), "strain_kcal_mol": 2.5, "alerts": ""}


def grown(count: int) -> list[Mol]:
    mols = []
    for i in range(count):
        mol = Chem.AddHs(Chem.MolFromSmiles(f"{ARMS[i % len(ARMS)]}{'C' * (i // len(ARMS))}c1ccncc1"))
        assert AllChem.EmbedMolecule(mol, randomSeed=i + 1) == 0
        mols.append(mol)
    return mols


def orders(page: str) -> list[dict[str, float]]:
    return [json.loads(html.unescape(text)) for text in re.findall(r"data-order='(.*?)'", page)]


def test_every_record_becomes_a_card_with_its_values(tmp_path: Path) -> None:
    mols = ligands()
    rows = [figures(mol) for mol in mols]
    rows[1]["alerts"] = "PAINS: quinone_A(370); BRENK: nitro"
    rows[2] |= {"alerts": "", "pains": "azo_A(324)", "brenk": "none"}
    rows[3]["strain_kcal_mol"] = ""
    rows[3]["qed"] = "nan"
    table = tmp_path / "c.csv"
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["name", *{key: 0 for row in rows for key in row}])
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "c.html"
    sdf = write(tmp_path / "c.sdf", mols)
    assert gallery(sdf, table, out, title="Shortlist", targets=[parse_target("logp=..0")]) == len(mols)
    page = out.read_text(encoding="utf-8")
    assert page.count("class='card candidate'") == len(mols)
    for mol in mols:
        assert mol.GetProp("_Name") in page
    for row, shown in zip(rows, orders(page), strict=True):
        known = {"qed", "logp", "tpsa", "mw", "sa"} | {"strain"}
        if row is rows[3]:
            known -= {"qed", "strain"}
        assert set(shown) == known
        assert shown["mw"] == pytest.approx(row["mw"])
    alerts = re.findall(r"<li class='bad'[^>]*>(.*?)</li>", page)
    assert alerts == ["PAINS: quinone A(370)", "BRENK: nitro", "PAINS azo A(324)"]
    assert page.count("data-alerts='0'") == len(mols) - 2
    assert len(re.findall(r"<li class='met'[^>]*><b>logP", page)) == sum(row["logp"] <= 0 for row in rows)
    # The same from mappings, and from the data items of the records.
    for source in (rows, None):
        again = tmp_path / "again.html"
        gallery(write(tmp_path / "d.sdf", ligands(), rows), source, again)
        assert orders(again.read_text(encoding="utf-8")) == orders(page)


def test_what_assess_says_is_shown(tmp_path: Path) -> None:
    """The columns of the assessment are those the gallery knows."""
    mols = [mol for mol in ligands() if mol.GetNumHeavyAtoms() > 20][:4]
    table = tmp_path / "c.csv"
    rows = assess(mols, sanitised=True).rows
    write_csv(table, rows)
    out = tmp_path / "c.html"
    gallery(write(tmp_path / "c.sdf", mols), table, out)
    page = out.read_text(encoding="utf-8")
    for row, shown in zip(rows, orders(page), strict=True):
        assert shown == pytest.approx(
            {name: row[name] for name in ("qed", "sa", "logp", "mw", "tpsa")}, rel=0.01
        )
    named = [name for row in rows for column in ("pains", "brenk") for name in row[column].split(";") if name]
    assert named
    assert len(re.findall("<li class='bad'", page)) == len(named)
    broken = sum(not row["lipinski"] for row in rows), sum(not row["veber"] for row in rows)
    assert any(broken)
    assert (page.count("outside Lipinski"), page.count("outside Veber")) == broken


def test_strain_is_the_whole_not_the_share_of_an_atom() -> None:
    mol = grown(1)[0]
    row = {"strain_per_atom": 0.1, "strain_kcal_mol": 2.0, "pose_failed": "bond_lengths", "veber": "False"}
    card = candidates([mol], [row])[0]
    assert card.figures == {"strain": 2.0}
    assert card.alerts == ["pose: bond lengths"]
    assert card.broken == ["outside Veber"]


def test_the_page_is_complete_and_names_cannot_break_out(tmp_path: Path) -> None:
    mols = grown(2)
    mols[0].SetProp("_Name", NASTY)
    rows = [{"qed": 0.5, "alerts": NASTY}, {"qed": "</script>"}]
    gallery(write(tmp_path / "c.sdf", mols), rows, tmp_path / "c.html", title=NASTY, lead=NASTY)
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 3
    assert "<script>alert" not in page
    assert not re.search(r"""(?:src|href)=['"]http""", page)
    assert "<link" not in page


def test_a_scaffold_is_tinted_and_lies_alike() -> None:
    scaffold = read_scaffold("*c1ccncc1")
    mols = grown(4)
    cards = candidates(mols, [{}] * 4, scaffold)
    places = []
    for mol, card in zip(mols, cards, strict=True):
        kept = [mol.GetAtomWithIdx(i) for i in card.kept]
        assert [a.GetSymbol() for a in kept] == ["C", "C", "C", "N", "C", "C"]
        assert all(a.IsInRing() for a in kept)
        assert card.drawing.count("#BAE8E0") >= 6
        places.append(mol.GetConformer().GetPositions()[list(card.kept)])
        assert mol.GetAtomWithIdx(card.kept[3]).GetSymbol() == "N"
    for place in places[1:]:
        assert abs(place - places[0]).max() < 0.15
    plain = candidates(grown(1), [{}])[0]
    assert not plain.kept
    assert "#BAE8E0" not in plain.drawing


def test_kept_atoms_are_found_in_the_frame_of_the_file() -> None:
    """A posed scaffold is looked for before anything is turned."""
    mol = ligands()[0]
    opened = next(a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 6 and a.GetTotalNumHs(True))
    scaffold = make_scaffold(mol, "x", opened={opened: 1})
    card = candidates([mol], [{}], scaffold)[0]
    assert len(card.kept) == mol.GetNumHeavyAtoms()


def test_drawings_leave_the_molecule_alone() -> None:
    mol = ligands()[0]
    before = Chem.MolToMolBlock(mol)
    assert drawing(mol, kept=(0, 1)).startswith("<svg")
    assert Chem.MolToMolBlock(mol) == before


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    good = write(tmp_path / "good.sdf", grown(2))
    empty = tmp_path / "empty.sdf"
    empty.write_text("")
    broken = tmp_path / "broken.sdf"
    broken.write_text(good.read_text() + "not a record\n$$$$\n")
    table = tmp_path / "short.csv"
    table.write_text("qed\n0.5\n")
    out = tmp_path / "out.html"
    for sdf, rows, reason in (
        (tmp_path / "none.sdf", None, "none.sdf: cannot be read"),
        (empty, None, "empty.sdf: holds no molecules"),
        (broken, None, "broken.sdf: record 3: not a readable SDF record; leave it out"),
        (good, table, "short.csv: 1 rows for 2 records of"),
        (good, [{}] * 3, "the table: 3 rows for 2 records of"),
        (good, tmp_path / "none.csv", "none.csv: no such file"),
    ):
        with pytest.raises(InputError) as caught:
            gallery(sdf, rows, out)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not out.exists()


# No card is laid out until the page is scrolled to its end, so that a frame drawn while it is still being
# read shows none. In virtual time hardly a second frame is drawn, so scrolling later would not be noticed.
# The other cards are then touched one by one.
HOLD = "<style id='hold'>.candidate { display: none }</style>"
PROBE = """<script>
const cards = () => [...document.querySelectorAll(".candidate")];
document.getElementById("hold").remove();
cards().at(-1).scrollIntoView();
addEventListener("load", () => setTimeout(() => {
  const value = (key) => cards().map((c) => JSON.parse(c.dataset.order)[key]);
  const press = (query) => document.querySelector(query).click();
  const ready = (card) => card.querySelector(".stage").dataset.ready;
  const report = { cards: cards().length, ranked: value("qed") };
  report.scrolled = [ready(cards().at(-1)), ready(cards()[0]) || "not yet"];
  report.most = 0;
  for (const card of cards()) {
    card.querySelector(".stage").dispatchEvent(new PointerEvent("pointerenter"));
    report.most = Math.max(report.most, document.querySelectorAll("canvas").length);
    if (ready(card) !== "1") report.dead = card.dataset.molecule;
  }
  report.stills = document.querySelectorAll(".stage img").length;
  report.ready = cards().filter(ready).length;
  press("[data-sort='qed']"); report.down = value("qed");
  press("[data-sort='qed']"); report.up = value("qed");
  press("[data-sort='strain']"); report.strain = value("strain");
  press("[data-sort='']"); report.again = value("qed");
  press("[data-hide]");
  report.hidden = cards().filter((c) => c.offsetParent === null).length;
  report.count = document.querySelector(".count").textContent;
  report.width = document.documentElement.scrollWidth <= innerWidth;
  document.title = JSON.stringify(report);
}, 3000));</script>"""


def test_many_candidates_in_a_browser(tmp_path: Path) -> None:
    """Views come up on scrolling and never more than twelve at once; sorting and hiding do what they say."""
    program = browser()
    mols = grown(16)
    rows = [
        {"qed": (7 * i % 16) / 16, "strain": "" if i == 3 else 40 - i, "alerts": "PAINS: x" if i % 4 else ""}
        for i in range(16)
    ]
    path = tmp_path / "c.html"
    gallery(write(tmp_path / "c.sdf", mols), rows, path, scaffold=read_scaffold("*c1ccncc1"))
    page = path.read_text(encoding="utf-8")
    assert page.count("</head>") == page.count("</body>") == 1
    page = page.replace("</head>", HOLD + "</head>").replace("</body>", PROBE + "</body>")
    path.write_text(page, encoding="utf-8")
    command = [
        program,
        "--headless=new",
        "--no-sandbox",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--ignore-gpu-blocklist",
        "--window-size=1200,800",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=8000",
        "--dump-dom",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title is not None, done.stderr[-1500:]
    report = json.loads(title[1])
    ranked = [row["qed"] for row in rows]
    assert report["cards"] == 16
    assert report["ranked"] == report["again"] == pytest.approx(ranked)
    assert report["down"] == pytest.approx(sorted(ranked, reverse=True))
    assert report["up"] == pytest.approx(sorted(ranked))
    # JSON has no undefined: the one without a value comes out as null, and last.
    assert report["strain"] == [*sorted(40 - i for i in range(16) if i != 3), None]
    assert report["scrolled"] == ["1", "not yet"]
    assert "dead" not in report
    assert report["most"] == report["ready"] == 12
    assert report["stills"] == 4
    assert report["hidden"] == 12
    assert report["count"] == "4 shown"
    assert report["width"]
