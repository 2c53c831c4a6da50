"""One timing of section ``speed`` in its own process: a task as JSON in, figures as one line of JSON out."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import BRICS, AllChem, Mol
from suite.processes import peak_mb

from scoregen.molecules.design.novelty import key
from scoregen.molecules.design.validity import as_generated, problem

PRODUCTS = 50
"""Products of recombination that are looked at for each one wanted, before the rest is given up."""


def main() -> None:
    """Do the task."""
    task = json.loads(sys.argv[1])
    with rdBase.BlockLogs():
        print(json.dumps({"model": _model, "peer": _peer}[task["kind"]](task)))


def _model(task: dict[str, Any]) -> dict[str, Any]:
    """Draws of a model, nothing drawn again, after a small one to warm up."""
    import torch

    from scoregen.hub import from_pretrained
    from scoregen.molecules.conformers import ConformerGenerator
    from scoregen.molecules.design.generator import CandidateGenerator
    from scoregen.molecules.design.request import Request
    from scoregen.molecules.design.shapes import shape

    torch.set_num_threads(task["threads"])
    model = from_pretrained(task["model"], "candidates", task["device"])
    info = {**model.info, "sizes": task["sizes"]}
    generator = CandidateGenerator(model.denoiser, model.config, model.name, info)
    generator.draw(Request(steps=2, seed=task["seed"] + 1), 0, 2)
    loaded = peak_mb()
    request = Request(n=task["count"], steps=task["steps"], seed=task["seed"])
    start, start_cpu = time.perf_counter(), time.process_time()
    mols = generator.draw(request, 0, task["count"])
    valid = [mol for mol in mols if problem(mol) is None]
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    for mol in valid:
        Chem.SanitizeMol(mol)
    figures = {"parameters": sum(p.numel() for p in generator.denoiser.parameters())}
    figures |= _figures(valid, len(mols), seconds, cpu)
    figures |= {"loaded_mb": loaded, "peak_mb": peak_mb()}
    if task["device"].startswith("cuda"):
        figures["gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    conformers = ConformerGenerator.from_pretrained(task["conformers"], task["device"])
    shape([Chem.MolFromSmiles("CCO")], conformers, seed=0)
    work = lambda chosen: [not isinstance(s, str) for s in shape(chosen, conformers, seed=task["seed"])]  # noqa: E731
    return figures | _shapes(valid[: task["shapes"]], work)


def _peer(task: dict[str, Any]) -> dict[str, Any]:
    """Fragments of molecules put together; what is too small, too large or invalid counts as drawn."""
    smiles = json.loads(Path(task["molecules"]).read_text())
    low, high = task["limits"]
    random.seed(task["seed"])  # RDKit's BRICS draws from here
    start = time.perf_counter()
    pieces: set[str] = set()
    for text in smiles:
        pieces.update(BRICS.BRICSDecompose(Chem.MolFromSmiles(text)))
    fragments = [Chem.MolFromSmiles(piece) for piece in sorted(pieces) if "*" in piece]
    prepared = time.perf_counter() - start
    loaded = peak_mb()
    valid: list[Mol] = []
    looked = sized = 0
    start, start_cpu = time.perf_counter(), time.process_time()
    # A molecule of more than two or three pieces is mostly too large; depth 3 reaches up to four.
    for product in BRICS.BRICSBuild(fragments, scrambleReagents=True, maxDepth=3):
        if looked == PRODUCTS * task["count"] or sized == task["count"]:
            break
        looked += 1
        if not low <= product.GetNumHeavyAtoms() <= high:
            continue
        sized += 1
        if (mol := _sound(product)) is not None:
            valid.append(mol)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    found = _figures(valid, sized, seconds, cpu)
    found |= {"fragments": len(fragments), "prepared_seconds": prepared, "products": looked}
    found |= {"loaded_mb": loaded, "peak_mb": peak_mb()}

    def embedded(chosen: Sequence[Mol]) -> list[bool]:
        return [_embedded(mol, task["seed"]) for mol in chosen]

    return found | _shapes(valid[: task["shapes"]], embedded)


def _sound(mol: Mol) -> Mol | None:
    """A product, sanitised, if it passes the check that ours must pass."""
    try:
        Chem.SanitizeMol(mol)
        return mol if problem(as_generated(mol)) is None else None
    except ValueError:
        return None


def _embedded(mol: Mol, seed: int) -> bool:
    """ETKDGv3 and MMFF94s."""
    full = Chem.AddHs(mol)
    settings = AllChem.ETKDGv3()
    settings.randomSeed = seed
    if AllChem.EmbedMolecule(full, settings) != 0:
        return False
    return bool(AllChem.MMFFOptimizeMolecule(full, mmffVariant="MMFF94s") >= 0)


def _figures(valid: Sequence[Mol], drawn: int, seconds: float, cpu: float) -> dict[str, Any]:
    count = len(valid)
    return {
        "drawn": drawn,
        "valid": count,
        "validity": count / drawn if drawn else None,
        "unique": len({key(mol) for mol in valid}) / count if count else None,
        "seconds": seconds,
        "seconds_per_valid": seconds / count if count else None,
        "cpu_seconds_per_valid": cpu / count if count else None,
    }


def _shapes(valid: Sequence[Mol], work: Callable[[Sequence[Mol]], list[bool]]) -> dict[str, Any]:
    """Seconds for each molecule that got a shape, failures paid for."""
    if not valid:
        return {}
    start = time.perf_counter()
    made = sum(work(valid))
    seconds = time.perf_counter() - start
    per = seconds / made if made else None
    return {"shapes_asked": len(valid), "shapes": made, "seconds_per_shape": per, "peak_3d_mb": peak_mb()}


if __name__ == "__main__":
    main()
