"""``scoregen demo`` end to end with the shipped models and samples."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rdkit import Chem

from scoregen.errors import InputError
from scoregen.molecules.design.fragments import read_scaffold
from scoregen.report.demo import CANDIDATES, DATA, SCAFFOLD, run_demo, sample_files, short


def test_the_demo_makes_everything(tmp_path: Path) -> None:
    stages = []
    result = run_demo(tmp_path / "demo", n=2, on_done=lambda done, total: stages.append((done, total)))
    folder = tmp_path / "demo"
    assert sorted(path.name for path in folder.iterdir()) == [
        "candidates.csv",
        "candidates.sdf",
        "conformers.sdf",
        "index.html",
        "speech-griffin-lim.wav",
        "speech-recording.wav",
        "speech-vocoder.wav",
        "speech.mel.npy",
    ]
    assert result["failures"] == []
    assert stages == [(done, 4) for done in range(5)]
    mols = list(Chem.SDMolSupplier(str(folder / "conformers.sdf"), removeHs=False))
    assert len(mols) == result["records"] == 10
    _, recording = sample_files(DATA)
    frames = soundfile.info(recording).frames
    for kind in ("recording", "vocoder", "griffin-lim"):
        assert soundfile.info(folder / f"speech-{kind}.wav").frames == frames
    assert np.load(folder / "speech.mel.npy").ndim == 2
    page = (folder / "index.html").read_text(encoding="utf-8")
    new = list(Chem.SDMolSupplier(str(folder / "candidates.sdf"), removeHs=False))
    assert len(new) == result["candidates"] == CANDIDATES
    assert all(read_scaffold(SCAFFOLD).contained(mol) for mol in new)
    for mol in mols + new:
        assert mol.GetProp("_Name") in page
    assert page.count("<audio") == 3
    assert "src='http" not in page
    assert json.dumps(result["seconds"])


def test_missing_samples_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the demo from a clone"):
        run_demo(tmp_path / "demo", data=tmp_path)


def test_short_names() -> None:
    assert short("conformer-small") == "conformer-small"
    assert short("/a/b/run/best") == "run/best"
    assert short("owner/name") == "name"
