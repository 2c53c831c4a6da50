import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers

from scoregen.errors import InputError
from scoregen.molecules.features import featurise
from scoregen.molecules.prepare import molecule_key, prepare_molecules
from scoregen.molecules.stereo import dihedral_cosines, signed_volumes
from scoregen.molecules.vocabulary import CIS
from scoregen.training.cache import Cache

from .samples import DATA, PACKS, embedded, pack, positions

SOURCES = [DATA / name for name in PACKS]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    out = tmp_path_factory.mktemp("prepared") / "cache"
    prepare_molecules(SOURCES, out, dev_fraction=0.3)
    return Cache(out, "molecules")


def test_every_record_arrives_unchanged(cache: Cache) -> None:
    mols = [mol for name in PACKS for mol in pack(name)]
    assert len(cache) == len(mols) == cache.info["records"] and cache.info["skipped"] == {}
    for i, mol in enumerate(mols):
        record, expected = cache[i], featurise(mol)
        assert set(record) == {*expected, "x"}
        for name, value in expected.items():
            assert record[name].dtype == value.dtype and (record[name] == value).all()
        x = positions(mol)
        assert record["x"].dtype == np.float32 and np.allclose(record["x"], x - x.mean(0), atol=1e-5)
        assert cache.facts[i]["name"] == mol.GetProp("_Name")
        assert Chem.CanonSmiles(cache.facts[i]["smiles"]) == cache.facts[i]["smiles"]


def test_stated_stereo_agrees_with_the_stored_coordinates(cache: Cache) -> None:
    centres = 0
    for i in range(len(cache)):
        record = cache[i]
        centres += len(record["chiral"])
        assert (signed_volumes(record["chiral"], record["x"]) > 0.1).all()
        signs = np.where(record["cistrans"][:, 4] == CIS, 1.0, -1.0)
        assert (dihedral_cosines(record["cistrans"], record["x"]) * signs > 0.3).all()
    assert centres > 100


def test_split_is_by_molecule_and_repeatable(cache: Cache, tmp_path: Path) -> None:
    splits: dict[str, set[str]] = {}
    for facts in cache.facts:
        splits.setdefault(molecule_key(Chem.MolFromSmiles(facts["smiles"])), set()).add(facts["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {next(iter(found)) for found in splits.values()} == {"train", "dev"}
    # The other samples were chosen among the molecules whose hash says "dev" at 5 %.
    chosen = {f["source"] for f in cache.facts if f["split"] == "train"}
    assert chosen == {"qm9_xtb_sample"}
    share = np.mean([facts["split"] == "dev" for facts in cache.facts if facts["source"] in chosen])
    assert 0.1 < share < 0.5
    # Another order and another company of sources: the same split for the same molecule.
    alone = prepare_molecules(SOURCES[1:2], tmp_path / "alone", dev_fraction=0.3)
    again = {facts["name"]: facts["split"] for facts in Cache(alone.path).facts}
    first = {
        facts["name"]: facts["split"] for facts in cache.facts if facts["source"] == "cascade_dft_sample"
    }
    assert again == first


def test_stereoisomers_and_conformers_share_a_split(tmp_path: Path) -> None:
    blocks = []
    for base in ("CC(O)C(N)C(F)Cl", "CC(F)C(O)CBr", "CC(Cl)C(=O)C(C)N", "OC(C)C(C)C#N"):
        isomers = list(EnumerateStereoisomers(Chem.MolFromSmiles(base)))
        for isomer in isomers:
            mol, geometries = embedded(Chem.MolToSmiles(isomer), 2)
            placed = Chem.Mol(mol)
            for x in geometries:
                placed.RemoveAllConformers()
                conformer = Chem.Conformer(len(x))
                conformer.SetPositions(np.ascontiguousarray(x))
                placed.AddConformer(conformer)
                blocks.append(base + Chem.MolToMolBlock(placed) + "$$$$\n")
    path = tmp_path / "isomers.sdf"
    path.write_text("".join(blocks))
    prepare_molecules([path], tmp_path / "cache", dev_fraction=0.5)
    facts = Cache(tmp_path / "cache").facts
    by_name = {name: {f["split"] for f in facts if f["name"] == name} for name in {f["name"] for f in facts}}
    assert len(facts) == len(blocks) and all(len(splits) == 1 for splits in by_name.values())
    assert len({f["smiles"] for f in facts}) > 12


def test_held_out_molecules_are_never_trained_on(tmp_path: Path) -> None:
    ids = [mol.GetProp("_Name") for mol in pack(PACKS[0])]
    held = set(ids[:1] + ids[10:11])
    listing = tmp_path / "ids.txt"
    listing.write_text("# held out\n" + "\n".join(sorted(held)) + "\n")
    # The same molecules under other titles in a second source.
    renamed = tmp_path / "renamed.sdf"
    bodies = [Chem.MolToMolBlock(mol).partition("\n")[2] for mol in pack(PACKS[0])]
    renamed.write_text("".join(f"other {k}\n{body}$$$$\n" for k, body in enumerate(bodies)))
    done = prepare_molecules([renamed, SOURCES[0]], tmp_path / "cache", holdout_ids=listing)
    facts = Cache(done.path).facts
    keys = {f["name"]: molecule_key(Chem.MolFromSmiles(f["smiles"])) for f in facts}
    forbidden = {keys[name] for name in held}
    for f in facts:
        assert (f["split"] == "benchmark") == (keys[f["name"]] in forbidden)
    assert done.splits["benchmark"] == 2 * sum(name in held for name in ids)
    # An SDF holds out its molecules too.
    done = prepare_molecules(SOURCES[:1], tmp_path / "cache", holdout_ids=[SOURCES[0]])
    assert done.splits == {"benchmark": len(ids)}
    listing.write_text("no_such_title\n")
    with pytest.raises(InputError, match="no_such_title"):
        prepare_molecules(SOURCES[:1], tmp_path / "cache", holdout_ids=listing)


def test_bad_records_are_skipped_and_counted(tmp_path: Path) -> None:
    good = pack(PACKS[0])[0]
    moved = Chem.Mol(good)
    moved.GetConformer().SetAtomPosition(0, (50.0, 0.0, 0.0))
    flat = Chem.Mol(good)
    for i, (x, y, z) in enumerate(positions(good).tolist()):
        flat.GetConformer().SetAtomPosition(i, (x, y, 0.3 * z))
    bare = Chem.RemoveHs(good)
    drawn = Chem.MolFromSmiles("CCO")
    blocks = [Chem.MolToMolBlock(mol) for mol in (good, moved, flat, bare, drawn)] + ["rubbish\n"]
    path = tmp_path / "mixed.sdf.gz"
    path.write_bytes(gzip.compress("".join(block + "$$$$\n" for block in blocks).encode()))
    done = prepare_molecules([path], tmp_path / "cache")
    assert done.records == 1 and sum(done.skipped.values()) == 5
    assert done.skipped["hydrogens without coordinates"] == 1 and done.skipped["no 3D coordinates"] == 1
    assert done.skipped["not a readable SDF record"] == 1
    assert done.skipped["overlapping atoms or broken bonds"] >= 1
    assert Cache(tmp_path / "cache").info["skipped"] == dict(done.skipped)
    assert Cache(tmp_path / "cache").facts[0]["source"] == "mixed"


def test_wrong_sources_leave_no_cache(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sdf"
    empty.write_text("")
    for sources, message in (
        ([tmp_path / "none.sdf"], "no such file"),
        ([DATA / "drugs.smi"], "not an SDF"),
        ([], "no sources"),
        ([empty], "no usable record"),
    ):
        with pytest.raises(InputError, match=message):
            prepare_molecules(sources, tmp_path / "cache")
    whole = gzip.compress(SOURCES[0].read_bytes())
    cut = tmp_path / "cut.sdf.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.sdf\.gz: cannot be read"):
        prepare_molecules([cut], tmp_path / "cache")
    with pytest.raises(InputError, match="dev_fraction"):
        prepare_molecules(SOURCES, tmp_path / "cache", dev_fraction=1.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.sdf.gz", "empty.sdf"]


def test_limit_and_progress(tmp_path: Path) -> None:
    seen: list[int] = []
    done = prepare_molecules(SOURCES, tmp_path / "cache", max_records=5, progress=seen.append)
    assert done.records == 15 and seen[-1] == 15
    assert dict(done.sources) == {name.removesuffix(".sdf"): 5 for name in PACKS}


def test_a_cache_is_read_without_rdkit(cache: Cache) -> None:
    code = (
        "import sys; sys.modules['rdkit'] = None; sys.modules['soundfile'] = None\n"
        "from scoregen.training.cache import Cache\n"
        f"print(len(Cache({str(cache.path)!r}, 'molecules')[0]['z']))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(result.stdout) == pack(PACKS[0])[0].GetNumAtoms()
