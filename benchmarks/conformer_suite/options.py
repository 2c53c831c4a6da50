"""What a section is asked: defaults of the section, then flags of the command line, then ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

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


def updated(options: Options, values: dict[str, Any]) -> Options:
    """Options with those of ``values`` that are not None."""
    return replace(options, **{key: value for key, value in values.items() if value is not None})


def overrides(texts: Sequence[str], sections: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``section.option=value[,value…]`` as typed values by section.

    Raises:
        InputError: another form, an unknown section or option, or a value of the wrong type.
    """
    kinds = {field.name: str(field.type) for field in fields(Options)}
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        section, _, name = place.partition(".")
        if not equals or section not in sections or name not in kinds:
            raise InputError(
                f"--set {text}: write SECTION.OPTION=VALUE; sections: {', '.join(sections)}; "
                f"options: {', '.join(kinds)}"
            )
        try:
            found.setdefault(section, {})[name] = _typed(value, kinds[name])
        except ValueError:
            raise InputError(f"--set {text}: '{value}' is not of type {kinds[name]}") from None
    return found


def _typed(value: str, kind: str) -> Any:
    plain = next(t for t in (int, float, str) if t.__name__ in kind)
    if kind.startswith("tuple"):
        return tuple(plain(item) for item in value.split(",") if item)
    return plain(value)
