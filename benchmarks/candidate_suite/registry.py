"""The sections in order: their defaults, what runs them and what prints them."""

from __future__ import annotations

from suite.runner import Section

from . import badinput, druglike, likeness, qm9, speed, steering, tasks
from .options import Options
from .workbench import Workbench

REGISTRY: dict[str, Section[Workbench, Options]] = {
    "qm9": Section(qm9.DEFAULTS, qm9.run, qm9.show),
    "druglike": Section(druglike.DEFAULTS, druglike.run, druglike.show),
    "steering": Section(steering.DEFAULTS, steering.run, steering.show),
    "shape": Section(likeness.DEFAULTS, likeness.run, likeness.show),
    "tasks": Section(tasks.DEFAULTS, tasks.run, tasks.show),
    "speed": Section(speed.DEFAULTS, speed.run, speed.show),
    "badinput": Section(badinput.DEFAULTS, badinput.run, badinput.show),
}
