"""Conversion between mel conventions: exact where it is made, refused with the reasons elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio.convert import convert, differences
from scoregen.audio.mel import PRESETS, MelSpec
from scoregen.errors import InputError

from .helpers import SPEC, speech

BANDS = 6
PLAIN = replace(PRESETS["tacotron2-22k"], name="plain", n_mels=BANDS)


def numbers(low: float, high: float) -> st.SearchStrategy[float | tuple[float, ...]]:
    one = st.floats(low, high, allow_nan=False)
    return st.one_of(one, st.lists(one, min_size=BANDS, max_size=BANDS).map(tuple))


@st.composite
def conventions(draw: st.DrawFn) -> MelSpec:
    return replace(
        PLAIN,
        name="drawn",
        log=draw(st.sampled_from(["ln", "log10", "db01"])),
        guard=draw(st.sampled_from(["clamp", "add"])),
        floor=draw(st.sampled_from([1e-4, 1e-5, 1e-10])),
        mean=draw(numbers(-8, 8)),
        std=draw(numbers(0.1, 10)),
    )


def definition(linear: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Values of linear magnitudes ``(bands, F)``, with numpy and float64."""
    guarded = np.maximum(linear, spec.floor) if spec.guard == "clamp" else linear + spec.floor
    if spec.log == "ln":
        values = np.log(guarded)
    elif spec.log == "log10":
        values = np.log10(guarded)
    else:
        values = np.clip((20 * np.log10(guarded) + 80) / 100, 0, 1)
    mean, std = (np.asarray(v).reshape(-1, 1) for v in (spec.mean, spec.std))
    return (values - mean) / std


@settings(max_examples=150, deadline=None)
@given(conventions(), conventions(), st.integers(0, 2**32 - 1))
def test_there_and_back_above_the_floors(source: MelSpec, target: MelSpec, seed: int) -> None:
    # Between 2e-4, above every floor and the foot of the decibels, and 9, below their ceiling.
    linear = np.exp(np.random.default_rng(seed).uniform(np.log(2e-4), np.log(9), (BANDS, 7)))
    mel = torch.from_numpy(definition(linear, source))
    there = convert(mel, source, target)
    assert there.dtype == mel.dtype
    np.testing.assert_allclose(there, definition(linear, target), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(convert(there, target, source), mel, rtol=1e-8, atol=1e-8)
    single = convert(mel.float(), source, target)
    assert single.dtype == torch.float32


@settings(max_examples=60, deadline=None)
@given(conventions(), conventions(), st.integers(0, 2**32 - 1))
def test_values_below_the_floor_are_right_or_refused(source: MelSpec, target: MelSpec, seed: int) -> None:
    linear = np.exp(np.random.default_rng(seed).uniform(np.log(1e-12), np.log(100), (BANDS, 7)))
    linear = np.minimum(linear, 30.0)
    mel = torch.from_numpy(definition(linear, source))
    want = definition(linear, target)
    try:
        got = convert(mel, source, target)
    except InputError as error:
        assert "floor" in str(error) or "ceiling" in str(error)
        assert differences(source, target)
    else:
        # Adding 1e-4 to a magnitude of 1e-12 leaves eight of float64's sixteen digits.
        np.testing.assert_allclose(got, want, atol=1e-3)
    if not differences(source, target):
        convert(mel, source, target)


def test_real_conventions() -> None:
    wave = torch.from_numpy(speech(0))
    for a, b in (
        ("hifigan-22k", "matcha-ljspeech-22k"),
        ("matcha-ljspeech-22k", "hifigan-22k"),
        ("vocos-24k", "f5tts-24k"),
        ("hifigan-22k", "hifigan-22k"),
    ):
        source, target = PRESETS[a], PRESETS[b]
        assert differences(source, target) == []
        torch.testing.assert_close(convert(source(wave), source, target), target(wave), atol=2e-6, rtol=0)
    # Another name for the same convention changes no bit.
    mel = SPEC(wave)
    copy = convert(mel, SPEC, replace(SPEC, name="mine"))
    assert torch.equal(copy, mel)
    assert copy is not mel


def test_a_z_normed_mel_is_un_normed_to_the_bit_nearly() -> None:
    mel = SPEC(torch.from_numpy(speech(0)))
    normed = SPEC.normed(np.linspace(-8, -4, 80).tolist(), np.linspace(1, 3, 80).tolist())
    back = convert(convert(mel, SPEC, normed), normed, SPEC)
    assert float((back - mel).abs().max()) <= 2e-6
    # A batch axis is kept.
    assert torch.equal(convert(mel[None], SPEC, normed)[0], convert(mel, SPEC, normed))


def test_a_lower_floor_is_refused_only_where_something_lies_at_the_floor() -> None:
    f5, vocos = PRESETS["f5tts-24k"], PRESETS["vocos-24k"]
    wave = torch.from_numpy(speech(0))
    assert differences(f5, vocos) == ["floor 1e-05 above 1e-07"]
    loud = f5(wave).clamp(min=-11.0)
    torch.testing.assert_close(convert(loud, f5, vocos), loud)
    loud[3, :2] = f5.lowest
    with pytest.raises(InputError, match=r"floor 1e-05 above 1e-07, and 2 of \d+ values lie there"):
        convert(loud, f5, vocos)


@pytest.mark.parametrize(
    ("source", "target", "reasons"),
    [
        ("bigvgan-24k", "hifigan-22k", ["sample rate 24000 ≠ 22050 Hz", "bands 100 ≠ 80"]),
        ("pwg-22k", "hifigan-22k", ["lowest frequency 80 ≠ 0 Hz", "highest frequency 7600 ≠ 8000 Hz"]),
        ("tacotron2-22k", "hifigan-22k", ["frames centred ≠ uncentred", "power floor 0 ≠ 1e-09"]),
        ("vocos-24k", "bigvgan-24k", ["filter scale htk ≠ slaney", "filters without ≠ with area norm"]),
        ("wavegrad-24k", "pwg-24k", ["bands 128 ≠ 80", "spectrum with ≠ without window norm"]),
        ("cosyvoice2-24k", "bigvgan-24k", ["FFT size 1920 ≠ 1024", "hop 480 ≠ 256"]),
        ("nemo-22k", "tacotron2-22k", ["window symmetric ≠ periodic", "padding zero ≠ reflect"]),
    ],
)
def test_refusals_name_every_reason_and_the_remedy(source: str, target: str, reasons: list[str]) -> None:
    a, b = PRESETS[source], PRESETS[target]
    mel = a(torch.from_numpy(speech(0)[:20_000]))
    with pytest.raises(InputError) as caught:
        convert(mel, a, b, "song.npy")
    text = str(caught.value)
    for reason in reasons:
        assert reason in differences(a, b)
        assert reason in text
    assert text.startswith("song.npy: ")
    assert text.endswith(f"scoregen mel --preset {target}")
    assert "\n" not in text


def test_no_two_presets_are_called_equal_that_differ() -> None:
    """Where no difference is named, the conversion of real speech is the other convention's mel."""
    wave = torch.from_numpy(speech(0)[:20_000])
    free = {(a, b) for a in PRESETS for b in PRESETS if a != b and not differences(PRESETS[a], PRESETS[b])}
    assert ("hifigan-22k", "matcha-ljspeech-22k") in free
    for a, b in free:
        converted = convert(PRESETS[a](wave), PRESETS[a], PRESETS[b])
        torch.testing.assert_close(converted, PRESETS[b](wave), atol=1e-5, rtol=0)


def test_what_is_no_mel_of_the_source_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        convert(torch.zeros(79, 5), SPEC, SPEC)
    with pytest.raises(InputError, match="NaN"):
        convert(torch.full((80, 5), torch.nan), SPEC, SPEC)


def test_the_remedy_for_a_convention_without_preset_is_its_model() -> None:
    with pytest.raises(InputError, match="--model MODEL"):
        convert(SPEC(torch.from_numpy(speech(0))), SPEC, replace(SPEC, name="mine", hop=200))
