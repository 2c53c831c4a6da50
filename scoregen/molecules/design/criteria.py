"""What to rank candidates by, and which end of it is the better one."""

from __future__ import annotations

from typing import NamedTuple

from scoregen.errors import InputError

from .descriptors import DESCRIPTORS

BETTER = {
    **dict.fromkeys(("qed", "fsp3", "shape", "score"), "high"),
    **dict.fromkeys(("sa", "misses", "strain_kcal_mol", "strain_per_atom", "rotatable_bonds"), "low"),
}
"""Which end of a value is the better one, where that goes without saying."""


class Criterion(NamedTuple):
    """A value to rank by, and the better end of it: ``high`` or ``low``."""

    name: str
    end: str

    @property
    def sign(self) -> int:
        """1 where more is better, else −1."""
        return 1 if self.end == "high" else -1


def check_descriptor(name: str) -> None:
    """Raise where a name is none of :data:`~scoregen.molecules.design.descriptors.DESCRIPTORS`.

    Raises:
        InputError: it is not.
    """
    if name not in DESCRIPTORS:
        raise InputError(f"--rank {name}: unknown descriptor; there are {', '.join(DESCRIPTORS)}")


def parse_criterion(text: str) -> Criterion:
    """A criterion from ``qed``, ``sa:low`` or ``my_value:high``.

    Raises:
        InputError: an end that is none, or a value whose better end has to be said.
    """
    name, _, end = (part.strip() for part in text.partition(":"))
    end = end or BETTER.get(name, "")
    if end not in ("high", "low") or not name:
        raise InputError(
            f"--rank '{text}': say which end is better, {name or 'NAME'}:high or {name or 'NAME'}:low"
        )
    return Criterion(name, end)
