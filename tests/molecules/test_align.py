import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from scoregen.core.space import RaggedSpace
from scoregen.molecules.align import kabsch
from scoregen.molecules.graph import collate
from tests.molecules.helpers import SMILES, data_for


def test_recovers_a_known_rotation_in_the_harmonic_metric():
    graphs = collate([data_for(s) for s in SMILES])
    space = graphs.space(torch.float64)
    pos = graphs.pos.double()
    rotation = o3.rand_matrix(dtype=torch.float64)
    torch.testing.assert_close(kabsch(pos @ rotation.T, pos, space), space.project(pos), atol=1e-5, rtol=0)


def test_agrees_with_scipy_in_the_plain_metric():
    torch.manual_seed(0)
    mobile, target = torch.randn(2, 12, 3, dtype=torch.float64)
    space = RaggedSpace(torch.zeros(12, dtype=torch.int64), 1, center=True, dtype=torch.float64)
    expected, _ = Rotation.align_vectors(space.project(target).numpy(), space.project(mobile).numpy())
    got = kabsch(mobile, target, space)
    torch.testing.assert_close(got, torch.from_numpy(expected.apply(space.project(mobile).numpy())))


def test_never_reflects():
    torch.manual_seed(1)
    mobile = torch.randn(9, 3, dtype=torch.float64)
    space = RaggedSpace(torch.zeros(9, dtype=torch.int64), 1, center=True, dtype=torch.float64)
    got = kabsch(mobile, -mobile, space)
    before = torch.linalg.det(space.project(mobile)[:3])
    assert torch.sign(torch.linalg.det(got[:3])) == torch.sign(before)
