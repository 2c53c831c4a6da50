"""What a section is asked: defaults of the section, then flags of the command line, then ``--set``."""

from __future__ import annotations

from dataclasses import dataclass

from scoregen.errors import InputError


@dataclass(frozen=True)
class Options:
    """Settings of one section; a section ignores those that mean nothing to it.

    Args:
        split: ``test`` (what is reported) or ``dev`` (what may be tuned on).
        limit: molecules, the first of the split; None takes all.
        count: conformers a molecule, where the references do not decide it.
        seed: of every random choice.
        init: starts of the model: ``noise``, ``etkdg``, ``mmff``, ``mix``, ``auto``.
        relax: what follows the model's draws: ``none``, ``mmff``, ``gfn2``.
        draws: geometries drawn for each conformer kept, by the model, and 0 for what the generator does
            unasked; above 1 its selection chooses among them, and the peers get a row with the same.
        theory: kind of geometry asked of the model; ``reference`` is that of the section's references, None
            leaves it to the generator.
        steps, sigma: of the model's draws; None leaves them to the generator.
        solver: integration rule of the model's draws; None leaves it to the generator.
        nfe, solvers: numbers of network calls and the rules of section ``steps``.
        threads: numbers of threads of section ``speed``.
        strain: molecules of section ``geometry`` whose strain is computed; 0 for none.
    """

    split: str = "test"
    limit: int | None = None
    count: int = 1
    seed: int = 0
    init: tuple[str, ...] = ("auto", "noise")
    relax: tuple[str, ...] = ("none",)
    draws: tuple[float, ...] = (1.0, 4.0)
    theory: str | None = None
    steps: int | None = None
    sigma: float | None = None
    solver: str | None = None
    nfe: tuple[int, ...] = (3, 5, 10, 20, 50)
    solvers: tuple[str, ...] = (
        *("dpmpp-2m", "vab-2", "vab-3", "unipc-3", "deis-3"),
        *("ipndm-4", "ddim", "sde-dpmpp-2m", "er-sde-2"),
    )
    threads: tuple[int, ...] = (1, 2)
    strain: int = 0

    def __post_init__(self) -> None:
        if self.split not in ("test", "dev"):
            raise InputError(f"split '{self.split}': test or dev")
        if any(draws < 1 and draws != 0 for draws in self.draws):
            raise InputError(f"draws {self.draws}: at least 1, or 0 for the generator's own")
