"""Modalities are found by name, shipped or from another package."""

from types import SimpleNamespace

import pytest

from scoregen import modality
from scoregen.errors import InputError
from scoregen.modality import get_modality, modalities

from .training.toy import TOY


def test_the_shipped_ones_are_known_without_importing_them() -> None:
    assert {"molecules", "audio"} <= set(modalities())


@pytest.mark.parametrize("name", ["molecules", "audio"])
def test_the_shipped_ones_load(name: str) -> None:
    found = get_modality(name)
    assert found.name == name
    assert found.build(found.model_config()) is not None


def test_another_package_may_add_one(monkeypatch) -> None:
    point = SimpleNamespace(name="toy", load=lambda: TOY)
    monkeypatch.setattr(modality, "entry_points", lambda group: [point] if group == modality.GROUP else [])
    assert get_modality("toy") is TOY
    assert "toy" in modalities()


def test_an_entry_point_must_be_a_modality(monkeypatch) -> None:
    monkeypatch.setattr(modality, "entry_points", lambda group: [SimpleNamespace(name="broken", load=object)])
    with pytest.raises(InputError, match="'broken' is not a scoregen Modality"):
        get_modality("broken")


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown modality 'video'; known: .*audio.*molecules"):
        get_modality("video")
