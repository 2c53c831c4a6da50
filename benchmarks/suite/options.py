"""``--set SECTION.OPTION=VALUE`` for any dataclass of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from scoregen.errors import InputError

T = TypeVar("T")


def updated(options: T, values: Mapping[str, Any]) -> T:
    """Options (a dataclass) with those of ``values`` that are not None."""
    given = {key: value for key, value in values.items() if value is not None}
    return replace(options, **given)  # type: ignore[type-var]


def planned(
    registry: Mapping[str, Any],
    sections: Sequence[str],
    flags: Mapping[str, Any],
    special: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Options of each section asked for: its defaults, then flags of all sections, then its own."""
    return {
        name: updated(updated(registry[name].defaults, flags), special.get(name, {}))
        for name in registry
        if name in sections
    }


def overrides(texts: Sequence[str], sections: Sequence[str], kind: type) -> dict[str, dict[str, Any]]:
    """``section.option=value[,value…]`` as typed values by section.

    Args:
        texts: as on the command line.
        sections: that exist.
        kind: dataclass of the options; fields of int, float, str, bool, optional, or tuples of these.

    Raises:
        InputError: another form, an unknown section or option, or a value of the wrong type.
    """
    kinds = {field.name: str(field.type) for field in fields(kind)}
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
    if "bool" in kind:
        if value not in ("true", "false"):
            raise ValueError(value)
        return value == "true"
    plain = next(t for t in (int, float, str) if t.__name__ in kind)
    if kind.startswith("tuple"):
        return tuple(plain(item) for item in value.split(",") if item)
    return plain(value)
