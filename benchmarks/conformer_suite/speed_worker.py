"""One timing of section ``speed`` in its own process: a task as JSON in, figures as one line of JSON out."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from suite.processes import peak_mb


def main() -> None:
    """Warm up on ethanol, then time the task."""
    task = json.loads(sys.argv[1])
    generate = _model(task) if "model" in task else _peer(task)
    generate("CCO", 1)
    loaded = peak_mb()
    start, start_cpu = time.perf_counter(), time.process_time()
    made = generate(task["smiles"], task["n"])
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    if not made:
        sys.exit("no conformer")
    figures = {"n": made, "seconds": seconds, "per_second": made / seconds, "cpu_seconds": cpu}
    print(json.dumps({**figures, "loaded_mb": loaded, "peak_mb": peak_mb(), **_gpu(task)}))


def _peer(task: dict[str, Any]) -> Any:
    from .methods import etkdg

    def generate(smiles: str, n: int) -> int:
        return len(etkdg(smiles, n, seed=task["seed"], relax=task["relax"], threads=task["threads"])[1])

    return generate


def _model(task: dict[str, Any]) -> Any:
    import torch

    from scoregen.molecules.conformers import ConformerGenerator

    torch.set_num_threads(task["threads"])
    generator = ConformerGenerator.from_pretrained(task["model"], task["device"])

    def generate(smiles: str, n: int) -> int:
        settings = {key: task[key] for key in ("seed", "init", "relax", "steps", "draws") if key in task}
        return len(generator.generate(smiles, n=n, **settings))

    return generate


def _gpu(task: dict[str, Any]) -> dict[str, float]:
    if not str(task["device"]).startswith("cuda") or "model" not in task:
        return {}
    import torch

    return {"gpu_peak_mb": torch.cuda.max_memory_allocated() / 2**20}


if __name__ == "__main__":
    main()
