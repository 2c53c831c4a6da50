"""What a section is asked: its defaults, then flags of the command line, then ``--set``."""

from __future__ import annotations

from dataclasses import dataclass

from scoregen.errors import InputError, require
from scoregen.molecules.design.request import SELECTION
from scoregen.molecules.design.targets import parse_target


@dataclass(frozen=True)
class Options:
    """Settings of one section; a section ignores those that mean nothing to it.

    Args:
        models: labels of the models it runs on; none: those whose name has the section's name in it, or all.
        count: draws of a model, of section ``speed`` in each process.
        steps: network calls of a draw; None for what ``scoregen design`` does unasked.
        more_steps, more_count: other numbers of calls that are tried, and draws at each.
        bridge: of sections ``qm9`` and ``druglike``, see :class:`scoregen.molecules.design.request.Request`;
            ``inf`` is never, None what the model does unasked.
        seed: of every random choice.
        pose, pose_limit: level of PoseBusters' checks (``mol``, ``mol_fast``), and molecules checked.
        strain, strain_limit: method of relaxation (``gfn2``, ``mmff``), and molecules relaxed.
        properties, quantiles: what section ``steering`` asks for: these quantiles of the training molecules.
        targets: asked for instead, such as ``qed=0.9`` or ``logp=2..3``.
        guidance: weights of what is asked for.
        particles: draws that compete in what is asked for; 1 for none.
        tasks, draws: tasks of each kind (in section ``shape`` references), and draws for each.
        size: heavy atoms of a task's candidates: ``original`` or ``free``.
        threads: of section ``speed``, each number in its own process.
        fragments: molecules whose fragments section ``speed``'s peer puts together.
        timeout: seconds for one process, or for one calculation of strain.
    """

    models: tuple[str, ...] = ()
    count: int = 1000
    steps: int | None = None
    more_steps: tuple[int, ...] = ()
    more_count: int = 1000
    bridge: float | None = None
    seed: int = 0
    pose: str = "mol"
    pose_limit: int = 200
    strain: str = "gfn2"
    strain_limit: int = 200
    properties: tuple[str, ...] = ("qed", "logp", "tpsa", "mw")
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    targets: tuple[str, ...] = ()
    guidance: tuple[float, ...] = (1.0,)
    particles: tuple[int, ...] = (1, SELECTION.particles)
    tasks: int = 100
    draws: int = 10
    size: str = "original"
    threads: tuple[int, ...] = (1, 2)
    fragments: int = 1000
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        for text in self.targets:
            parse_target(text)
        counts = (self.count, self.more_count, self.tasks, self.draws, self.fragments, *self.threads)
        calls = (*self.more_steps, *(() if self.steps is None else (self.steps,)))
        require(
            [
                (min(counts) >= 1, "count, more_count, tasks, draws, fragments and threads: at least 1"),
                (all(k >= 2 for k in calls), f"steps {calls}: at least 2"),
                (min(self.pose_limit, self.strain_limit) >= 0, "limits: at least 0"),
                (all(0 <= q <= 1 for q in self.quantiles), f"quantiles {self.quantiles}: between 0 and 1"),
                (all(k >= 1 for k in self.particles), f"particles {self.particles}: at least 1"),
                (self.size in ("original", "free"), f"size '{self.size}': original or free"),
            ]
        )
        if self.timeout <= 0:
            raise InputError("timeout must be positive")
