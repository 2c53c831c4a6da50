"""The sections in order: their defaults, what runs them and what prints them."""

from __future__ import annotations

from suite.runner import Section

from . import badinput, phases, quality, restore, speed, streaming
from .options import Options
from .workbench import Workbench

REGISTRY: dict[str, Section[Workbench, Options]] = {
    "quality": Section(quality.DEFAULTS, quality.run, quality.show),
    "phases": Section(phases.DEFAULTS, phases.run, phases.show),
    "speed": Section(speed.DEFAULTS, speed.run, speed.show),
    "streaming": Section(streaming.DEFAULTS, streaming.run, streaming.show),
    "restore": Section(restore.DEFAULTS, restore.run, restore.show),
    "badinput": Section(badinput.DEFAULTS, badinput.run, badinput.show),
}
