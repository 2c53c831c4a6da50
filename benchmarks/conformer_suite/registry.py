"""The sections in order: their defaults, what runs them and what prints them."""

from __future__ import annotations

from suite.runner import Section

from . import bound, ensembles, geometry, likelihood, speed, steps, stereo
from .options import Options
from .workbench import Workbench

REGISTRY: dict[str, Section[Workbench, Options]] = {
    "qm9": Section(ensembles.QM9, ensembles.run_qm9, ensembles.show),
    "druglike": Section(ensembles.DRUGLIKE, ensembles.run_druglike, ensembles.show),
    "pdb": Section(bound.DEFAULTS, bound.run, bound.show),
    "geometry": Section(geometry.DEFAULTS, geometry.run, geometry.show),
    "stereo": Section(stereo.DEFAULTS, stereo.run, stereo.show),
    "steps": Section(steps.DEFAULTS, steps.run, steps.show),
    "speed": Section(speed.DEFAULTS, speed.run, speed.show),
    "likelihood": Section(likelihood.DEFAULTS, likelihood.run, likelihood.show),
}
