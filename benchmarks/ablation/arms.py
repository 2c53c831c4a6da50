"""The arms: what each changes in the baseline, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .process import flow, vp, vp_velocity
from .recipe import SIZE, Recipe, unaligned
from .tensors import TensorTransformer
from .views import isotropic, without_stereo_pairs, without_triples


@dataclass(frozen=True)
class Arm:
    """A recipe to train.

    Args:
        change: what differs from the baseline, for the table.
        recipe: the recipe.
        seed: of weights, batches and noise.
        comparable: whether the errors by level are in the baseline's metric.
    """

    change: str
    recipe: Recipe
    seed: int = 0
    comparable: bool = True


BASE = Recipe()

ARMS: dict[str, Arm] = {
    "baseline": Arm("the shipped recipe, smaller", BASE),
    "e3nn-l2": Arm(
        "features up to l = 2 (e3nn)",
        replace(BASE, build=TensorTransformer, network=SIZE.model_copy(update={"width": 88, "vectors": 16})),
    ),
    "baseline-seed-1": Arm("the shipped recipe, another seed", BASE, seed=1),
    "isotropic": Arm(
        "isotropic instead of harmonic noise",
        replace(BASE, see=isotropic, sigma_data=None),
        comparable=False,
    ),
    "unaligned": Arm("target not aligned (no Kabsch)", replace(BASE, target=unaligned)),
    "no-self-conditioning": Arm(
        "no self-conditioning",
        replace(BASE, network=SIZE.model_copy(update={"self_condition": False})),
    ),
    "no-triples": Arm("no triple products at stereocentres", replace(BASE, see=without_triples)),
    "no-stereo-pairs": Arm("no pseudo-edges for E/Z", replace(BASE, see=without_stereo_pairs)),
    "vp": Arm("VP, ε predicted", replace(BASE, process=vp)),
    "flow": Arm("rectified flow, velocity predicted", replace(BASE, process=flow)),
    "multi-resolution": Arm("each molecule at four noise levels of a batch", replace(BASE, copies=4)),
    "wide": Arm(
        "wider, 3 layers of 128",
        replace(BASE, network=SIZE.model_copy(update={"width": 128, "vectors": 32, "pair": 64, "layers": 3})),
    ),
    "deep": Arm(
        "deeper, 6 layers of 72",
        replace(BASE, network=SIZE.model_copy(update={"width": 72, "vectors": 16, "pair": 32, "layers": 6})),
    ),
    "theory": Arm(
        "told the level of theory", replace(BASE, network=SIZE.model_copy(update={"theory": True}))
    ),
    "vp-v": Arm("VP, v predicted", replace(BASE, process=vp_velocity)),
}
