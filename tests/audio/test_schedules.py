"""The search for schedules of few steps: its grid, its rules, and a network whose best schedule is known."""

from __future__ import annotations

import itertools
import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scoregen.audio.config import VocoderModelConfig, build_denoiser
from scoregen.audio.schedules import (
    PAPER_BASE_6,
    betas_at,
    even_betas,
    is_rising,
    log_mel_error,
    powers,
    read_mels,
    schedule_error,
    search_grid,
    search_schedule,
    store_schedule,
    with_schedule,
)
from scoregen.audio.vocoder import Vocoder
from scoregen.core import Noise
from scoregen.errors import InputError
from scoregen.hub import Model, from_pretrained, save_pretrained

from .helpers import CLIPS, SPEC, mel_of, small_vocoder, speech

DEVIATION = 0.1
SMALL = {"factors": [4, 4], "patch": 16, "frame": 4, "up": [4, 4], "down": [4, 4], "whiten": False}


@lru_cache
def vocoder(ideal: bool = False) -> Vocoder:
    """A small random WaveGrad; or the ideal denoiser of white Gaussian waveforms of deviation 0.1."""
    values = {"network": SMALL, "chain": {"steps": 50, "last": 0.3}, "prior": {"kind": "identity"}}
    config = VocoderModelConfig.model_validate(values)
    torch.manual_seed(0)
    denoiser = build_denoiser(config).eval().requires_grad_(False)
    denoiser.network.last.weight.normal_(0, 0.02)
    if ideal:

        def forward(x: Tensor, level: Tensor, space: object, cond: object) -> Tensor:
            """E[n | x] of x = α x₀ + σ n."""
            ratio = (8 * level).exp()[:, None]  # σ²/α²
            sigma = (ratio / (1 + ratio)).sqrt()
            return sigma * x / (sigma**2 + (1 - sigma**2) * DEVIATION**2)

        denoiser.network.forward = forward
    return Vocoder(Model("ideal" if ideal else "small-chain", "audio", config, denoiser))


def deviation_of(betas: tuple[float, ...]) -> float:
    """Deviation of what algorithm 2 makes with the ideal denoiser: every step is linear."""
    bars = np.cumprod(1 - np.array(betas))
    variance = 1 - bars[-1]
    for k in range(len(betas) - 1, -1, -1):
        eps = math.sqrt(1 - bars[k]) / (1 - bars[k] + bars[k] * DEVIATION**2)
        factor = (1 - betas[k] / math.sqrt(1 - bars[k]) * eps) / math.sqrt(1 - betas[k])
        variance *= factor**2
        if k:
            variance += (1 - bars[k - 1]) / (1 - bars[k]) * betas[k]
    return math.sqrt(variance)


@lru_cache
def hiss(frames: int = 60) -> Tensor:
    """Mel of a white waveform, at the level that the vocoder does not change."""
    white = Noise(3, torch.tensor([4])).white(
        vocoder().config.make_prior().space(torch.zeros(1, 80, frames)), 0
    )
    return mel_of((white[0] * DEVIATION).numpy())


def test_the_grid_of_six_steps_is_the_papers() -> None:
    assert betas_at((1,) * 6) == PAPER_BASE_6
    assert betas_at((1, 2, 3, 4, 5, 9)) == (1e-6, 2e-5, 3e-4, 4e-3, 5e-2, 9e-1)
    assert is_rising(betas_at((9, 1, 9, 1, 9, 1)))
    assert powers(1) == (0.1,)
    assert powers(3) == pytest.approx((1e-6, 10**-3.5, 1e-1))


@given(st.integers(1, 30), st.integers(1, 60), st.integers(0, 5))
@settings(deadline=None, max_examples=15)
def test_what_is_tried_rises_and_stays_within_the_budget(steps: int, budget: int, seed: int) -> None:
    tried: list[tuple[float, ...]] = []

    def error(betas: tuple[float, ...]) -> float:
        tried.append(betas)
        return sum(betas)

    table = search_grid(error, steps, budget=budget, seed=seed)
    assert len(tried) == len(set(tried)) == len(table) <= budget
    assert all(is_rising(betas) and len(betas) == steps and betas[0] > 0 and betas[-1] < 1 for betas in tried)
    assert [row.error for row in table] == sorted(row.error for row in table)


def test_a_grid_that_fits_is_searched_whole() -> None:
    table = search_grid(lambda betas: abs(math.log(betas[0] * betas[1] / 42e-7)), 2, budget=81)
    assert len(table) == 81
    assert table[0].betas in ((6e-6, 0.7), (7e-6, 0.6))


def test_refinement_finds_what_random_points_miss() -> None:
    wanted = (3, 8, 2, 5, 7, 4)

    def error(betas: tuple[float, ...]) -> float:
        return sum(math.log(b / w) ** 2 for b, w in zip(betas, betas_at(wanted), strict=True))

    table = search_grid(error, 6, budget=150)
    assert table[0].betas == betas_at(wanted)
    assert search_grid(error, 6, budget=150) == table
    few = search_grid(error, 6, budget=20)
    assert table[0].error < few[0].error


def test_starts_are_tried_and_diverging_schedules_come_last() -> None:
    def error(betas: tuple[float, ...]) -> float:
        return 0.0 if betas == (0.123, 0.456) else math.inf

    table = search_grid(error, 2, budget=20, starts=[(0.123, 0.456)])
    assert table[0].betas == (0.123, 0.456)
    assert table[-1].error == math.inf
    with pytest.raises(InputError, match="finite"):
        search_grid(lambda _: math.inf, 2, budget=5)


def test_without_a_search_evenly_spaced_levels_are_used() -> None:
    made, mel = vocoder(), mel_of(speech(0))[:, :20]
    betas = even_betas(made.config.chain, 4)
    assert is_rising(betas)
    plain = made.synthesize(mel, steps=4)
    np.testing.assert_allclose(with_schedule(made, betas).synthesize(mel, steps=4), plain, atol=1e-4)
    assert even_betas(made.config.chain, 50) == pytest.approx(made.config.chain.process().betas)


def test_the_error_is_zero_for_the_right_waveform_and_grows_with_the_level() -> None:
    wave = torch.from_numpy(speech(0))
    mel = SPEC(wave)
    assert log_mel_error(SPEC, wave, mel) < 1e-8
    # Above the floor of the convention a factor is a constant in every cell.
    hiss = 0.1 * torch.randn(40 * 256, generator=torch.Generator().manual_seed(0))
    assert log_mel_error(SPEC, hiss * 2, SPEC(hiss)) == pytest.approx(math.log(2) ** 2, rel=1e-3)


def test_the_better_of_two_schedules_is_found_with_a_network_that_is_known() -> None:
    made, mel = vocoder(ideal=True), hiss()
    good, bad = (0.01, 0.05, 0.8), (1e-6, 1e-5, 0.3)
    assert abs(math.log(deviation_of(good) / DEVIATION)) < 0.6
    assert abs(math.log(deviation_of(bad) / DEVIATION)) > 1
    for pair in ((good, bad), (bad, good)):
        _, table = search_schedule(made, [mel], 3, budget=3, starts=pair)
        errors = {row.betas: row.error for row in table}
        assert errors[good] < errors[bad]


def test_the_whole_grid_is_ranked_as_theory_says() -> None:
    made = vocoder(ideal=True)
    betas, table = search_schedule(made, [hiss()], 2, budget=82)
    grid = [betas_at(point) for point in itertools.product(range(1, 10), repeat=2)]
    assert {row.betas for row in table} == {*grid, even_betas(made.config.chain, 2)}
    # The error is that of independent draws plus the squared logarithm of the ratio of their deviations.
    missed = [math.log(deviation_of(row.betas) / DEVIATION) ** 2 for row in table]
    errors = [row.error for row in table]
    assert np.corrcoef(missed, errors)[0, 1] > 0.98
    assert math.log(deviation_of(betas) / DEVIATION) ** 2 < min(missed) + 0.02


def test_the_search_repeats_and_schedules_share_their_noise() -> None:
    made, mels = vocoder(), [mel_of(speech(i))[:, 20:44] for i in (0, 1)]
    first = search_schedule(made, mels, 2, budget=4, seed=2)
    again = search_schedule(made, mels, 2, budget=4, seed=2)
    assert first == again
    assert len(first[1]) == 4
    # A schedule alone gets the error that it has in the table.
    best = first[1][0]
    assert schedule_error(made, best.betas, mels, seed=2) == best.error
    assert schedule_error(made, best.betas, mels, seed=3) != best.error


def test_progress_and_what_the_model_holds() -> None:
    seen: list[tuple[int, int]] = []
    held = (1e-4, 1e-2, 0.5)
    _, table = search_schedule(
        with_schedule(vocoder(), held),
        [mel_of(speech(0))[:, :24]],
        3,
        budget=4,
        on_done=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert held in {row.betas for row in table}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "--steps 0"),
        ({"steps": 51}, "50 steps"),
        ({"budget": 0}, "--budget 0"),
        ({"mels": []}, "no clips"),
        ({"mels": [torch.full((80, 40), SPEC.lowest)]}, "silent"),
        ({"mels": [mel_of(speech(0))[:, :5]]}, "too short"),
        ({"vocoder": small_vocoder()}, "no chain"),
    ],
)
def test_what_cannot_be_searched_is_refused(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"vocoder": vocoder(), "mels": [mel_of(speech(0))[:, :24]], "steps": 2}
    values |= {"budget": 2, **change}
    with pytest.raises(InputError, match=message):
        search_schedule(**values)  # type: ignore[arg-type]


def test_clips_are_read_at_the_training_level(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", mel_of(speech(1))[:, :50].numpy())
    (tmp_path / "text.wav").write_text("not a recording")
    mels, failed = read_mels([CLIPS[0], tmp_path / "m.npy", tmp_path / "text.wav"], vocoder())
    assert [mel.shape[1] for mel in mels] == [min(256, len(speech(0)) // 256), 50]
    whole = SPEC(torch.from_numpy(speech(0)))
    first = (len(speech(0)) // 256 - mels[0].shape[1]) // 2
    # The last frames see what whole hops cut off.
    middle = whole[:, first : first + mels[0].shape[1]]
    torch.testing.assert_close(mels[0][:, :-3], middle[:, :-3], atol=1e-3, rtol=0)
    assert [name for name, _ in failed] == [str(tmp_path / "text.wav")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = vocoder()
    save_pretrained(
        tmp_path / "model", "audio", made.config.model_dump(mode="json"), made.denoiser.state_dict()
    )
    return tmp_path / "model"


def test_a_stored_schedule_serves_its_number_of_steps(folder: Path) -> None:
    betas, mel = (1e-4, 1e-2, 0.5), mel_of(speech(0))[:, :20]
    before = sorted(path.name for path in folder.iterdir())
    store_schedule(folder, (0.3, 0.4))
    store_schedule(folder, betas)
    store_schedule(folder, (0.1, 0.2))
    loaded = Vocoder(from_pretrained(folder))
    assert loaded.config.chain.schedules == {2: (0.1, 0.2), 3: betas}
    expected = with_schedule(vocoder(), betas).synthesize(mel, steps=3)
    np.testing.assert_array_equal(loaded.synthesize(mel, steps=3), expected)
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("betas", [(0.1, 1.2), (0.0,)])
def test_a_bad_schedule_leaves_the_model_as_it_was(folder: Path, betas: tuple[float, ...]) -> None:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(InputError, match="schedule of"):
        store_schedule(folder, betas)
    assert (folder / "config.json").read_bytes() == before


def test_a_schedule_of_another_length_than_it_says_is_refused(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["model"]["chain"]["schedules"] = {"6": [0.1, 0.2]}
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="6 steps needs 6"):
        from_pretrained(folder)


def test_a_guided_model_holds_no_schedules(tmp_path: Path) -> None:
    guided = small_vocoder()
    save_pretrained(
        tmp_path / "g", "audio", guided.config.model_dump(mode="json"), guided.denoiser.state_dict()
    )
    with pytest.raises(InputError, match="chain"):
        store_schedule(tmp_path / "g", (0.1,))
