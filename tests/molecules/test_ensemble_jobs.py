"""Many molecules: parallel, killed, resumed, and through the command line."""

import csv
import gzip
import json
import signal
import subprocess
import sys
import time
from collections import defaultdict

import pytest

from scoregen.cli import main
from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles
from scoregen.molecules.ensemble_jobs import SHARD, make_ensembles
from scoregen.molecules.minima import EnsembleSettings
from scoregen.molecules.sdf import parse_block, properties, read_blocks
from scoregen.molecules.shards import finish, finished, shard_folder
from scoregen.training.cache import Cache

QUICK = EnsembleSettings("mmff", candidates=2)
TAILS = ("O", "N", "C(=O)N", "C=CC", "OC", "S", "C#N", "Cl")
SMILES = [f"{'C' * n}{tail}" for n in range(1, 5) for tail in TAILS]


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "library.smi"
    path.write_text("".join(f"{smiles} mol{i}\n" for i, smiles in enumerate(SMILES)))
    return path


@pytest.fixture
def scoregen(monkeypatch, capsys):
    def run(*args):
        monkeypatch.setattr(sys, "argv", ["scoregen", *map(str, args)])
        with pytest.raises(SystemExit) as caught:
            main()
            raise SystemExit(0)
        return int(caught.value.code or 0), capsys.readouterr()

    return run


def test_file_with_a_bad_line_becomes_ensembles_and_then_a_cache(tmp_path, scoregen):
    smiles, out, errors = tmp_path / "in.smi", tmp_path / "made.sdf.gz", tmp_path / "bad.csv"
    smiles.write_text("C[C@H](N)C(=O)O alanine\nC(C oops\nCC(O)CN\n[Na+].[Cl-] salt\n")
    command = ("prepare", "molecules", smiles, "--ensembles", "--level", "mmff", "-o", out)
    code, streams = scoregen(*command, "--errors", errors, "--json")
    content = json.loads(streams.out)
    assert code == 1 and content["inputs"] == 4 and content["molecules"] == 2
    assert "failed: C(C (line 2): not a valid SMILES" in streams.err
    with open(errors, newline="") as stream:
        rows = list(csv.reader(stream))
    assert [row[:2] for row in rows] == [["input", "line"], ["C(C", "2"], ["[Na+].[Cl-]", "4"]]
    ensembles = defaultdict(list)
    for block in read_blocks(out):
        ensembles[block.title].append((parse_block(block), properties(block)))
    assert list(ensembles) == ["alanine", "CC(O)CN"]
    for records in ensembles.values():
        items = [item for _, item in records]
        assert [item["conformer"] for item in items] == [str(k) for k in range(len(items))]
        assert sum(float(item["boltzmann_weight_298K"]) for item in items) == pytest.approx(1, abs=1e-4)
        assert float(items[0]["relative_energy_kcal_mol"]) == 0
        assert {item["level"] for item in items} == {"mmff"}
        assert {item["smiles"] for item in items} == {canonical_smiles(mol) for mol, _ in records}
    assert scoregen("prepare", "molecules", out, "-o", tmp_path / "cache")[0] == 0
    assert len(Cache(tmp_path / "cache", "molecules")) == content["records"]


def test_wrong_usage_is_refused_before_any_work(tmp_path, scoregen):
    smiles = tmp_path / "in.smi"
    smiles.write_text("C(C\n")
    ensembles = ("prepare", "molecules", smiles, "--ensembles", "--level", "mmff", "-o")
    cases = {
        "must end in .sdf": (*ensembles, tmp_path / "cache"),
        "--level": (*ensembles[:4], "--level", "dft", "-o", tmp_path / "x.sdf"),
        "--workers": (*ensembles, tmp_path / "x.sdf", "--workers", 0),
        "--holdout": (*ensembles, tmp_path / "x.sdf", "--holdout", smiles),
        "is for molecules": ("prepare", "audio", smiles, "--ensembles", "-o", tmp_path / "x.sdf"),
        "none of 1 inputs": (*ensembles, tmp_path / "x.sdf"),
    }
    for message, command in cases.items():
        code, streams = scoregen(*command)
        assert code == 2 and message in streams.err, message
    assert [path.name for path in tmp_path.iterdir()] == ["in.smi"]


@pytest.mark.parametrize("kind", ["molecules", "audio"])
def test_options_of_ensembles_are_refused_without(kind, tmp_path, scoregen):
    """Even at their default values: whoever gives one expects it to do something."""
    values = {
        "--level": "gfn2",
        "--candidates": 3,
        "--window": 6,
        "--dedup": 0.1,
        "--seed": 0,
        "--time-limit": 600,
        "--workers": 1,
        "--errors": tmp_path / "e.csv",
    }
    command = ("prepare", kind, tmp_path, "-o", tmp_path / "x")
    for name, value in values.items():
        code, streams = scoregen(*command, name, value)
        assert code == 2 and streams.err.strip() == f"error: {name}: only with --ensembles"
    code, streams = scoregen(*command, "--workers", 2, "--time-limit", 5)
    assert code == 2 and "--time-limit, --workers: only with --ensembles" in streams.err
    assert not list(tmp_path.iterdir())


def test_workers_and_an_interruption_change_no_byte(library, tmp_path):
    """A job with two workers is killed after its first shard; the next run makes only what is missing."""
    whole, killed = tmp_path / "whole.sdf.gz", tmp_path / "killed.sdf.gz"
    summary = make_ensembles([str(library)], whole, QUICK)
    assert summary.molecules == len(SMILES) and not summary.failures and not summary.resumed
    run = [sys.executable, "-c", "from scoregen.cli import main; main()"]
    command = ["prepare", "molecules", library, "--ensembles", "-o", killed]
    options = ["--level", "mmff", "--candidates", "2", "--workers", "2"]
    job = subprocess.Popen(
        [*run, *map(str, command), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    folder = shard_folder(killed)
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.json")) and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    job.communicate(timeout=20)  # ends only when the workers, too, have let go of the pipe
    kept = len(list(folder.glob("*.json")))
    assert 1 <= kept < -(-len(SMILES) // SHARD) and not killed.exists()
    # Finished shards are SDF files that can be used at once.
    parts = b"".join(gzip.decompress(part.read_bytes()) for part in sorted(folder.glob("*.sdf.gz")))
    assert parts.count(b"$$$$") >= SHARD
    seen = []
    resumed = make_ensembles(
        [str(library)], killed, QUICK, on_done=lambda done, total: seen.append((done, total))
    )
    assert resumed.resumed >= kept * SHARD - SHARD and seen[0] == (resumed.resumed, len(SMILES))
    assert seen[-1] == (len(SMILES), len(SMILES))
    assert killed.read_bytes() == whole.read_bytes() and not folder.exists()


def test_shards_of_other_work_are_not_used(library, tmp_path, monkeypatch):
    out = tmp_path / "out.sdf"
    make_ensembles([str(library)], out, QUICK)
    first = out.read_bytes()
    monkeypatch.setattr("scoregen.molecules.ensemble_jobs.join", lambda shards, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_ensembles([str(library)], out, QUICK)
    monkeypatch.undo()
    assert out.read_bytes() == first
    other = EnsembleSettings("mmff", candidates=1)
    assert make_ensembles([str(library)], out, other).resumed == 0
    assert out.read_bytes() != first


def test_a_marker_counts_only_with_its_shard_and_its_work(tmp_path):
    shard = tmp_path / "000000.sdf"
    marker = finish(shard, "key", {"records": 3})
    assert finished(shard, "key") is None  # no shard
    shard.write_text("")
    assert finished(shard, "key") == marker == {"key": "key", "records": 3}
    assert finished(shard, "another") is None
    (tmp_path / "000000.sdf.json").write_text('{"key":')
    assert finished(shard, "key") is None


def test_what_rdkit_throws_fails_one_molecule_only(tmp_path, monkeypatch):
    def explode(mol, settings):
        raise RuntimeError("Pre-condition\nViolation")

    monkeypatch.setattr("scoregen.molecules.ensemble_jobs.find_minima", explode)
    with pytest.raises(InputError, match="none of 2 inputs"):
        make_ensembles(["CCO", "CCN"], tmp_path / "x.sdf", QUICK, errors=tmp_path / "e.csv")
    assert "CCN,2,RDKit: Pre-condition Violation" in (tmp_path / "e.csv").read_text()
