"""How near are generated conformers to GFN2-xTB ensembles of held-out QM9 molecules?

The published protocol: for a molecule with R reference conformers generate 2R; symmetric heavy-atom RMSD;
coverage and average minimum RMSD (AMR), recall and precision, mean over molecules. The input of every method
is the SMILES of the record (stereo included), never its coordinates.

    python benchmarks/conformers.py --data PACK_FOLDER --limit 200 --model conformer-small --json out.json

The folder holds ``qm9_xtb_ensembles.sdf.gz`` and ``qm9_xtb_benchmark_ids.txt`` (see data/README.md).
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, write_json
from rdkit.Chem import Mol, rdDistGeom, rdForceFieldHelpers

from scoregen.errors import InputError, ScoregenError
from scoregen.molecules.chem import standardise
from scoregen.molecules.metrics import EnsembleScores, ensemble_scores, rmsd_matrix, summarise
from scoregen.molecules.sdf import parse_block, properties, read_blocks
from scoregen.molecules.stereo import stereo_matches

THRESHOLDS = (0.5, 0.1)
PACK, IDS = "qm9_xtb_ensembles.sdf.gz", "qm9_xtb_benchmark_ids.txt"


@dataclass(frozen=True)
class Ensemble:
    """A benchmark molecule: its SMILES, graph with hydrogens and reference positions ``(R, N, 3)``, Å."""

    name: str
    smiles: str
    mol: Mol
    positions: np.ndarray


# A method makes n conformers of a SMILES: the graph with hydrogens and positions (n', N, 3), Å.
Method = Callable[[str, int], tuple[Mol, np.ndarray]]


def main() -> None:
    """Run the benchmark."""
    args = _arguments()
    try:
        ensembles = list(itertools.islice(read_ensembles(args.data), args.limit))
        methods = _methods(args)
        rows = []
        for name, method in methods.items():
            rows.append(evaluate(name, method, ensembles))
            _progress(f"{name}: AMR-R {rows[-1]['amr_r']} Å, {rows[-1]['seconds']:.1f} s\n")
    except ScoregenError as error:
        sys.exit(f"error: {error}")
    base = rows[0]["seconds"]
    for row in rows:
        row["time_ratio"] = row["seconds"] / base
    report(rows, len(ensembles), sum(len(e.positions) for e in ensembles))
    if args.json:
        settings = {key: getattr(args, key) for key in ("limit", "model", "steps", "sigma", "seed")}
        write_json(args.json, {"benchmark": "conformers", "data": PACK, "settings": settings, "rows": rows})


def read_ensembles(folder: Path) -> Iterator[Ensemble]:
    """Reference ensembles of the benchmark ids, in file order."""
    for name in (PACK, IDS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; give the folder with --data or SCOREGEN_DATA")
    ids = set((folder / IDS).read_text().split())
    for title, group in itertools.groupby(read_blocks(folder / PACK), key=lambda block: block.title):
        if title not in ids:
            continue
        blocks = list(group)
        mols = [parse_block(block) for block in blocks]
        positions = np.stack([mol.GetConformer().GetPositions() for mol in mols])
        yield Ensemble(title, properties(blocks[0])["smiles"], mols[0], positions)


def evaluate(name: str, method: Method, ensembles: list[Ensemble]) -> dict[str, Any]:
    """Scores of one method; time is that of generation alone, scoring excluded."""
    scores: list[EnsembleScores | None] = []
    seconds, wanted, made, wrong = 0.0, 0, 0, 0
    for k, ensemble in enumerate(ensembles):
        _progress(f"{name}: {k}/{len(ensembles)}")
        n = 2 * len(ensemble.positions)
        start = time.perf_counter()
        try:
            mol, positions = method(ensemble.smiles, n)
        except InputError:
            mol, positions = ensemble.mol, np.zeros((0, ensemble.mol.GetNumAtoms(), 3))
        seconds += time.perf_counter() - start
        wanted, made = wanted + n, made + len(positions)
        wrong += sum(not stereo_matches(mol, xyz) for xyz in positions)
        if len(positions):
            distances = rmsd_matrix(ensemble.mol, ensemble.positions, mol, positions)
            scores.append(ensemble_scores(distances, THRESHOLDS))
        else:
            scores.append(None)
    summary = summarise(scores, THRESHOLDS)
    counts = {"requested": wanted, "generated": made, "wrong_stereo": wrong}
    return {
        "method": name,
        **summary,
        **counts,
        "seconds": seconds,
        "ms_per_conformer": 1e3 * seconds / wanted,
    }


def report(rows: list[dict[str, Any]], molecules: int, references: int) -> None:
    """Print the table."""
    columns = {
        "method": "method",
        "amr_r": "AMR-R Å",
        "cov_r_0.5": "COV-R 0.5",
        "cov_r_0.1": "COV-R 0.1",
        "amr_p": "AMR-P Å",
        "cov_p_0.5": "COV-P 0.5",
        "cov_p_0.1": "COV-P 0.1",
        "failures": "failures",
        "generated": "conformers",
        "wrong_stereo": "wrong stereo",
        "seconds": "seconds",
        "time_ratio": "× ETKDG",
    }
    title = f"{molecules} molecules, {references} references, 2 generated per reference, heavy-atom RMSD"
    print_table(title, list(columns.values()), [[row[key] for key in columns] for row in rows])


def etkdg(smiles: str, n: int, *, seed: int, relax: bool) -> tuple[Mol, np.ndarray]:
    """RDKit ETKDGv3, optionally followed by MMFF94s minimisation, on one thread."""
    mol = standardise(smiles)
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed = (0xF00D + seed) % 2**31  # not 0: RDKit then makes n copies of one conformer
    settings.numThreads = 1
    rdDistGeom.EmbedMultipleConfs(mol, n, settings)
    shown = Mol(mol)  # MMFF rewrites the aromaticity of the molecule it works on: give it a copy
    if relax and shown.GetNumConformers() and rdForceFieldHelpers.MMFFHasAllMoleculeParams(shown):
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
            shown, numThreads=1, maxIters=2000, mmffVariant="MMFF94s"
        )
    positions = [conformer.GetPositions() for conformer in shown.GetConformers()]
    return mol, np.reshape(positions, (-1, mol.GetNumAtoms(), 3))


def _methods(args: argparse.Namespace) -> dict[str, Method]:
    seed = args.seed
    methods: dict[str, Method] = {
        "ETKDGv3": lambda smiles, n: etkdg(smiles, n, seed=seed, relax=False),
        "ETKDGv3 + MMFF94s": lambda smiles, n: etkdg(smiles, n, seed=seed, relax=True),
    }
    if args.model != "none":
        from scoregen.molecules.conformers import ConformerGenerator

        generator = ConformerGenerator.from_pretrained(args.model)
        label = Path(args.model).name
        for init in args.init:
            for relax in args.relax:
                name = f"{label}, {init}" + (f" + {relax}" if relax != "none" else "")
                methods[name] = _model_method(generator, args, init, relax)
    return methods


def _model_method(generator: Any, args: argparse.Namespace, init: str, relax: str) -> Method:
    options: dict[str, Any] = {"init": init, "relax": relax}
    if args.steps is not None:
        options["steps"] = args.steps
    if args.sigma is not None and init != "noise":
        options["sigma"] = args.sigma

    def run(smiles: str, n: int) -> tuple[Mol, np.ndarray]:
        mols = generator.generate(smiles, n=n, seed=args.seed, **options)
        if not mols:
            raise InputError(f"{smiles}: nothing generated")
        conformers = [conformer.GetPositions() for mol in mols for conformer in mol.GetConformers()]
        return mols[0], np.stack(conformers)

    return run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SCOREGEN_DATA", "data/molecules")))
    parser.add_argument("--limit", type=int, default=200, help="molecules (default 200)")
    parser.add_argument(
        "--model", default="conformer-small", help="name or folder; 'none' for baselines only"
    )
    parser.add_argument("--init", nargs="*", default=["noise", "etkdg"], choices=["noise", "etkdg", "mix"])
    parser.add_argument("--relax", nargs="*", default=["none", "mmff"], choices=["none", "mmff"])
    parser.add_argument("--steps", type=int, help="network calls (default: the model's)")
    parser.add_argument("--sigma", type=float, help="starting noise of init etkdg (default: the model's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write results here")
    return parser.parse_args()


def _progress(text: str) -> None:
    if sys.stderr.isatty() or text.endswith("\n"):
        sys.stderr.write(f"\r\033[K{text}" if sys.stderr.isatty() else text)
        sys.stderr.flush()


if __name__ == "__main__":
    main()
