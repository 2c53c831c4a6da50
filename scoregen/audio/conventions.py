"""The presets as a table for people: ``scoregen mel --list`` and ``docs/mel.md``."""

from __future__ import annotations

from .mel import PRESETS, MelSpec
from .presets import PRESET_DATA

_LOGS = {"ln": "ln", "log10": "log10", "db01": "dB → [0, 1]"}


def facts(spec: MelSpec) -> dict[str, str]:
    """One convention in words, by column."""
    window = f"{spec.n_fft}" if spec.n_fft == spec.win_length else f"{spec.win_length} of {spec.n_fft}"
    magnitude = f"√(p + {spec.power_floor:g})" if spec.power_floor else "√p"
    log = _LOGS[spec.log]
    if spec.log != "db01":
        log += f" {'≥' if spec.guard == 'clamp' else '+'} {spec.floor:g}"
    if isinstance(spec.mean, tuple) or isinstance(spec.std, tuple):
        log += ", z-normed by band"
    elif (spec.mean, spec.std) != (0, 1):
        log += f", mean {spec.mean:.7g}, std {spec.std:.7g}"
    return {
        "preset": spec.name,
        "Hz": str(spec.sample_rate),
        "bands": str(spec.n_mels),
        "hop": str(spec.hop),
        "window": window + (", symmetric" if spec.window == "symmetric" else ""),
        "range (Hz)": f"{spec.f_min:g}–{spec.f_max:g}",
        "filters": f"{spec.scale}{', area' if spec.area_norm else ''}",
        "frames": ("centred" if spec.centre else "between") + (", zeros" if spec.padding == "zero" else ""),
        "magnitude": magnitude + (" / ‖w‖" if spec.window_norm else ""),
        "values": log,
    }


def table() -> list[dict[str, str]]:
    """Every preset: :func:`facts`, what it ``fits``, and the ``origin`` of its definition."""
    return [
        {**facts(spec), "fits": PRESET_DATA[name].fits, "origin": PRESET_DATA[name].origin}
        for name, spec in PRESETS.items()
    ]


def listing() -> str:
    """The table as text in columns, what each preset fits below its line."""
    rows = [facts(spec) for spec in PRESETS.values()]
    columns = list(rows[0])
    widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}
    lines = ["  ".join(c.ljust(widths[c]) for c in columns).rstrip()]
    for row in rows:
        lines.append("  ".join(row[c].ljust(widths[c]) for c in columns).rstrip())
        lines.append(f"    {PRESET_DATA[row['preset']].fits}")
    return "\n".join(lines)
