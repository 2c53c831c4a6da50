"""A pose imposed on estimates: exact, proper, and blind to frames."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from scoregen.molecules.design.imposed import imposed
from scoregen.molecules.design.sampler import Draw, Schedule, draw_candidates, stated
from tests.molecules.design.helpers import small_model

RNG = np.random.default_rng(0)
POSE = RNG.normal(size=(4, 3)) * 2


def given(pose, size):
    """A draw whose first atoms have places."""
    whole = np.full((size, 3), np.nan)
    whole[: len(pose)] = pose
    return Draw(size, 1, kept=np.arange(size) < len(pose), pose=whole)


def distances(x):
    return np.linalg.norm(x[:, None] - x[None], axis=-1)


def put(estimate, *draws, bonds=()):
    """With bonds between these pairs of atoms of the first molecule."""
    condition = stated(draws)
    pair = condition.layout.pair.tolist()
    none = torch.tensor([1.0 - (b == 0 and (i, j) in bonds) for b, i, j in pair])
    fields = {"coordinates": torch.from_numpy(estimate.astype(np.float32)), "bonds": none[:, None]}
    return imposed(fields, condition)["coordinates"].numpy()


def chirality(x):
    """Signed volume of the first four points."""
    return np.linalg.det(x[1:4] - x[0])


def test_given_atoms_get_their_distances_and_handedness():
    estimate = RNG.normal(size=(7, 3))
    for pose in (POSE, POSE * [1, 1, -1]):
        result = put(estimate, given(pose, 7))
        np.testing.assert_allclose(distances(result[:4]), distances(pose), atol=1e-5)
        assert np.sign(chirality(result)) == np.sign(chirality(pose))
        np.testing.assert_allclose(result.mean(0), 0, atol=1e-6)


def test_new_atoms_follow_along_bonds():
    """What hangs on one given atom moves with it; what lies between two moves half with each."""
    estimate = RNG.normal(size=(8, 3))
    bonds = {(0, 4), (4, 5), (1, 6), (2, 6)}
    result = put(estimate, given(POSE, 8), bonds=bonds)
    shift = result - estimate
    np.testing.assert_allclose(shift[4], shift[0], atol=2e-2)
    np.testing.assert_allclose(shift[5], shift[0], atol=2e-2)
    np.testing.assert_allclose(shift[6], (shift[1] + shift[2]) / 2, atol=2e-2)
    np.testing.assert_allclose(shift[7], shift[:7].mean(0), atol=1e-5)  # bonded to nothing


def test_an_estimate_that_has_the_pose_stays():
    estimate = RNG.normal(size=(6, 3))
    estimate -= estimate.mean(0)
    turn = Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix()
    pose = estimate[:4] @ turn.T + [5, 6, 7]
    np.testing.assert_allclose(put(estimate, given(pose, 6)), estimate, atol=1e-5)


def test_frames_do_not_matter():
    estimate = RNG.normal(size=(6, 3))
    turn = Rotation.from_rotvec([1.0, 0.4, -0.7]).as_matrix()
    plain = put(estimate, given(POSE, 6))
    np.testing.assert_allclose(put(estimate, given(POSE @ turn.T - 9, 6)), plain, atol=1e-5)
    np.testing.assert_allclose(put(estimate @ turn.T, given(POSE, 6)), plain @ turn.T, atol=1e-5)


def test_molecules_of_a_batch_do_not_touch_each_other():
    estimate = RNG.normal(size=(16, 3))
    free = Draw(5, 2)
    together = put(estimate, given(POSE, 7), free, given(POSE[:1], 4))
    np.testing.assert_allclose(together[:7], put(estimate[:7], given(POSE, 7)), atol=1e-5)
    np.testing.assert_allclose(together[7:12], estimate[7:12] - estimate[7:12].mean(0), atol=1e-5)
    # One place alone says nothing.
    np.testing.assert_allclose(together[12:], estimate[12:] - estimate[12:].mean(0), atol=1e-5)


def test_what_is_drawn_has_the_pose():
    model = small_model(coordinates=True)
    drawn = draw_candidates(model, [given(POSE, 8), Draw(6, 3)], Schedule(steps=5), 0, coordinates=True)
    np.testing.assert_allclose(distances(drawn[0]["x"][:4]), distances(POSE), atol=1e-4)
    alone = draw_candidates(model, [Draw(6, 3)], Schedule(steps=5), 0, coordinates=True)
    np.testing.assert_allclose(drawn[1]["x"], alone[0]["x"], atol=1e-4)
