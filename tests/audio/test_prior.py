from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoregen.audio.prior import Prior, lapped, unlapped
from scoregen.errors import InputError

from .helpers import CLIPS, SPEC, calibrated, mel_of, speech

KINDS = ("spectral", "energy", "identity")


@given(st.integers(1, 6), st.sampled_from([2, 4, 10, 300]))
@settings(deadline=None)
def test_lapped_transform_is_orthogonal(frames: int, block: int) -> None:
    x = torch.eye(frames * block, dtype=torch.float64)[: 3 * block]
    cells = lapped(x, block)
    torch.testing.assert_close(unlapped(cells), x, atol=1e-12, rtol=0)
    flat = cells.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(x), dtype=torch.float64), atol=1e-12, rtol=0)


def test_lapped_matches_the_mdct_formula() -> None:
    """An inner block: the sum over 2N windowed samples with MDCT phases, up to sign."""
    block = 16
    x = torch.randn(1, 5 * block, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    n, k = np.arange(2 * block), np.arange(block)
    window = np.sin(np.pi * (n + 0.5) / (2 * block))
    # The symmetric phase that makes the left half even and the right half odd around the block.
    basis = np.sqrt(2 / block) * np.cos(np.pi / block * (n[:, None] - block // 2 + 0.5) * (k + 0.5))
    first = 2 * block - block // 2
    want = (x[0, first : first + 2 * block].numpy() * window) @ basis
    np.testing.assert_allclose(lapped(x, block)[0, 2].numpy(), want, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_whiten_undoes_color_and_logdet_is_its_volume(kind: str) -> None:
    prior = calibrated(kind)
    mel = mel_of(speech(0))[None, :, 40:43].to(torch.float64)
    space = prior.space(mel)
    z = torch.randn(1, 3 * SPEC.hop, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.whiten(space.color(z)), z)
    columns = torch.cat([space.color(e[None]) for e in torch.eye(3 * SPEC.hop, dtype=torch.float64)])
    _, log = torch.linalg.slogdet(columns)
    torch.testing.assert_close(space.logdet()[0], 2 * log)


@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_speech_has_unit_deviation(kind: str) -> None:
    prior = calibrated(kind)
    white = [
        prior.space(mel_of(speech(i))[None]).whiten(torch.from_numpy(speech(i))[None])[0]
        for i in range(len(CLIPS))
    ]
    total = torch.cat([w[SPEC.hop : -SPEC.hop] for w in white])
    assert abs(float(total.std()) - 1) < 0.05


def test_spectral_prior_flattens_speech() -> None:
    """The point of it: whitened speech is as strong in the treble as in the bass; PriorGrad's is not."""
    spread = {}
    for kind in ("spectral", "energy"):
        power = torch.zeros(SPEC.hop)
        for i in range(len(CLIPS)):
            x = torch.from_numpy(speech(i))[None]
            power += (
                lapped(calibrated(kind).space(mel_of(speech(i))[None]).whiten(x), SPEC.hop)[0, 1:-1]
                .square()
                .sum(0)
            )
        bands = power[:180].reshape(30, 6).mean(1)
        spread[kind] = float(10 * (bands.max() / bands.min()).log10())
    assert spread["spectral"] < 6
    assert spread["energy"] > 20


def test_dict_round_trip_and_errors() -> None:
    prior = calibrated("spectral")
    again = Prior.from_dict(SPEC, prior.to_dict())
    np.testing.assert_allclose(again.gains, prior.gains, atol=1e-4)
    with pytest.raises(InputError, match="positive"):
        Prior(SPEC, gains=(1.0, 0.0))
    with pytest.raises(InputError, match="one gain"):
        Prior(SPEC, "energy", gains=(1.0, 1.0))
    with pytest.raises(InputError, match="not one of"):
        Prior(SPEC, "pink")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="silence"):
        Prior(SPEC).calibrated([np.zeros(22_050, np.float32)])
