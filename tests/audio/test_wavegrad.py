from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scoregen.audio.config import build_denoiser
from scoregen.audio.wavegrad import FiLM, LevelEncoding, WaveGrad, WaveGradConfig
from scoregen.core import DenseSpace
from scoregen.errors import InputError

from .helpers import small_config


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 3),
)
@settings(deadline=None, max_examples=25)
def test_any_hop_that_factorises(factors: list[int], patch: int, frames: int, size: int) -> None:
    count = len(factors)
    config = WaveGradConfig(
        n_mels=5,
        factors=tuple(factors),
        patch=patch,
        frame=4,
        up=(4,) * count,
        down=(4,) * count,
        up_dilations=((1, 2, 1, 2),) * count,
    )
    hop = patch
    for factor in factors:
        hop *= factor
    assert config.hop == hop
    x = torch.randn(size, frames * hop)
    out = WaveGrad(config)(x, torch.zeros(size), DenseSpace(x.shape), torch.randn(size, 5, frames))
    assert out.shape == x.shape


def test_paper_sizes() -> None:
    """The defaults are WaveGrad's base model, about 15 million parameters."""
    network = WaveGrad(WaveGradConfig())
    assert [block.layers[0].out_channels for block in network.up] == [512, 512, 256, 128, 128]
    assert 14e6 < sum(p.numel() for p in network.parameters()) < 17e6


def network_and_inputs(frames: int = 12) -> tuple[WaveGrad, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    sizes = {"factors": (4, 2), "patch": 2, "frame": 6, "up": (6, 6), "down": (6, 6)}
    config = WaveGradConfig(n_mels=5, up_dilations=((1, 2, 4, 8),) * 2, **sizes)
    network = WaveGrad(config).double()
    torch.nn.init.normal_(network.last.weight)
    x = torch.randn(2, frames * 16, dtype=torch.float64)
    return network, x, torch.randn(2, 5, frames, dtype=torch.float64)


def test_starts_as_zero_and_answers_every_input() -> None:
    network, x, mel = network_and_inputs()
    space = DenseSpace(x.shape)
    level = torch.zeros(2, dtype=torch.float64)
    out = network(x, level, space, mel)
    assert not torch.allclose(out, network(x, level + 0.3, space, mel))
    assert not torch.allclose(out, network(x, level, space, mel + 0.1))
    assert not torch.allclose(out, network(x + 0.1, level, space, mel))
    assert not WaveGrad(network.config)(x.float(), level.float(), space, mel.float()).any()


def test_samples_of_a_batch_do_not_mix() -> None:
    network, x, mel = network_and_inputs()
    level = torch.tensor([0.1, -0.4], dtype=torch.float64)
    both = network(x, level, DenseSpace(x.shape), mel)
    for i in range(2):
        alone = network(x[i : i + 1], level[i : i + 1], DenseSpace((1, x.shape[1])), mel[i : i + 1])
        torch.testing.assert_close(alone[0], both[i])


def test_halo_bounds_the_reach() -> None:
    """Changing everything beyond the halo leaves a sample alone; changing its neighbours does not."""
    network, x, mel = network_and_inputs(frames=80)
    halo = network.halo()
    level = torch.zeros(2, dtype=torch.float64)
    before = network(x, level, DenseSpace(x.shape), mel)[:, 40 * 16]
    far_x, far_mel = x.clone(), mel.clone()
    far_x[:, : (40 - halo) * 16], far_x[:, (41 + halo) * 16 :] = 9.0, 9.0
    far_mel[..., : 40 - halo], far_mel[..., 41 + halo :] = 9.0, 9.0
    torch.testing.assert_close(network(far_x, level, DenseSpace(x.shape), far_mel)[:, 40 * 16], before)
    x[:, 40 * 16 + 3] += 1
    assert not torch.allclose(network(x, level, DenseSpace(x.shape), mel)[:, 40 * 16], before)


def test_film_and_level_encoding() -> None:
    code = LevelEncoding(6)(torch.tensor([0.0, 0.1]))
    assert code.shape == (2, 6, 1)
    torch.testing.assert_close(code[0, :, 0], torch.tensor([0.0, 0, 0, 1, 1, 1]))
    shift, scale = FiLM(6, 4)(torch.randn(2, 6, 10), torch.zeros(2))
    assert shift.shape == scale.shape == (2, 4, 10)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chain": {}, "network": {"factors": [4, 3]}}, "hop of 256"),
        ({"chain": {}, "network": {"factors": [4, 4, 2]}}, "equal lengths"),
        ({"mel": "nope"}, "nope"),
        ({"prior": {"gains": [0.0]}}, "positive"),
    ],
)
def test_configs_that_do_not_fit_are_refused(changes: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        config = small_config(**changes)
        build_denoiser(config)
        config.make_prior()


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="widht"):
        small_config(widht=3)
