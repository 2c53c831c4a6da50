"""From what is asked for to draws: sizes, values of properties, and what kept atoms allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from rdkit.Chem import Mol
from scipy.stats import truncnorm

from scoregen.errors import InputError
from scoregen.molecules.chem import canonical_smiles, has_3d, standardise
from scoregen.molecules.inputs import read_inputs
from scoregen.molecules.stereo import with_positions

from .allowed import allowed_orders, allowed_tokens
from .encode import encode, in_smiles_order
from .kept import Link, Scaffold
from .ordering import depth_first, reordered
from .shapes import lowest_minimum
from .state import pair_orders
from .targets import DOMAINS, Target
from .tokens import PROPERTIES, PROPERTY_SCALES


def draw_sizes(
    sizes: Mapping[int, float],
    limits: tuple[int, int] | None,
    least: int,
    count: int,
    rng: np.random.Generator,
    likely: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Heavy atoms of ``count`` candidates, ``(count,)``.

    Args:
        sizes: how often each size occurs in training.
        limits: fewest and most atoms, or None; within them sizes are as in training, or even where training
            has none.
        least: what is kept needs so many.
        count: how many to draw.
        rng: the only source of chance.
        likely: how well sizes go with what else is asked, by which they are weighted.

    Raises:
        InputError: no size is left.
    """
    low, high = limits or (min(sizes), max(sizes))
    low = max(low, least)
    if low > high:
        raise InputError(
            f"--atoms {limits[0]}-{limits[1]}: what is kept needs at least {least} heavy atoms"
            if limits
            else f"the scaffold needs {least} heavy atoms; this model makes at most {high}"
        )
    choices = np.arange(low, high + 1)
    weights = np.array([float(sizes.get(int(n), 0.0)) for n in choices])
    if not weights.sum():
        weights = np.ones(len(choices))
    if likely is not None:
        fitting = likely(choices)
        weights = weights * fitting if (weights * fitting).sum() else fitting
    return rng.choice(choices, count, p=weights / weights.sum())


def sizes_of_mass(mass: float, mean: float, std: float) -> Callable[[np.ndarray], np.ndarray]:
    """How well sizes go with a ``mass``: of training, n heavy atoms weigh ``n (mean ± std)`` g/mol."""

    def likely(sizes: np.ndarray) -> np.ndarray:
        distance = (mass / sizes - mean) / std
        # Relative to the best, so that a mass beyond all sizes still finds the nearest.
        found: np.ndarray = np.exp(-0.5 * (distance**2 - (distance**2).min()))
        return found

    return likely


def draw_values(targets: Sequence[Target], count: int, rng: np.random.Generator) -> np.ndarray:
    """Scaled values to tell the model, ``(count, len(PROPERTIES))`` float32, NaN where nothing is asked.

    A value is told as it is; of an interval, as far as molecules can have it, values are drawn from the
    normal distribution that the scales of the properties stand for.
    """
    told = np.full((count, len(PROPERTIES)), np.nan, np.float32)
    for target in targets:
        place = PROPERTIES.index(target.name)
        centre, width = PROPERTY_SCALES[place]
        domain = DOMAINS[target.name]
        low = (max(target.low, domain.low) - centre) / width
        high = (min(target.high, domain.high) - centre) / width
        if low == high:
            told[:, place] = low
        else:
            told[:, place] = np.clip(truncnorm.rvs(low, high, size=count, random_state=rng), low, high)
    return told


@lru_cache(maxsize=16)
def walked(scaffold: Scaffold) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The order in which a candidate holds the scaffold's atoms, ``(n,)``, and their arrays in that order.

    Kept for a while, as every draw asks; not to be written to.
    """
    arrays = encode(scaffold.mol, positions=False)
    walk = depth_first(arrays["bond"], np.ones(len(arrays["token"]), bool))
    return walk, reordered(arrays, walk)


def allowances(scaffold: Scaffold, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a candidate of ``size`` heavy atoms may be: kept atoms first (see :func:`walked`), then new ones.

    Returns:
        ``kept`` bool ``(N,)``; allowed tokens ``(N, T)`` and orders ``(N(N−1)/2, 4)``. Anchors of a link must
        lose a hydrogen, open atoms of a scaffold may.
    """
    walk, arrays = walked(scaffold)
    given = len(walk)
    most, opened = np.zeros(size, np.int64), np.zeros(size, np.int64)
    most[:given] = [scaffold.mol.GetAtomWithIdx(int(i)).GetTotalNumHs() for i in walk]
    opened[:given] = [scaffold.open.get(int(i), 0) for i in walk]
    least = most - opened
    if isinstance(scaffold, Link):
        most = most - (opened > 0)
    kept = np.arange(size) < given
    token = np.zeros(size, np.int64)
    token[:given] = arrays["token"]
    orders = pair_orders({**arrays, "token": token})
    closed = kept & (opened == 0)
    tokens, allowed = allowed_tokens(token, kept, least, most), allowed_orders(orders, kept, closed)
    return kept, tokens, allowed


def pose_of(scaffold: Scaffold, size: int) -> np.ndarray | None:
    """Where the first atoms of a candidate of ``size`` heavy atoms belong, ``(N, 3)`` Å, NaN for new ones."""
    if scaffold.positions is None:
        return None
    pose = np.full((size, 3), np.nan)
    pose[: scaffold.size] = np.asarray(scaffold.positions)[walked(scaffold)[0]]
    return pose


def seed_state(mol: Mol, positions: bool = False) -> dict[str, np.ndarray]:
    """Arrays (:mod:`~scoregen.molecules.design.encode`) of a molecule to vary, as its SMILES numbers it.

    Args:
        mol: sanitised.
        positions: with coordinates: its own, or those of an MMFF94s minimum where it has none.

    Raises:
        InputError: coordinates are wanted, and no geometry can be made.
    """
    if positions and not has_3d(mol):
        whole = standardise(mol)
        places = lowest_minimum(whole, seed=0, count=1)
        if places is None:
            raise InputError(f"no geometry can be made of {canonical_smiles(mol)}; vary one with coordinates")
        mol = with_positions(whole, places)
    return in_smiles_order(mol, positions=positions)


def read_seed(text: str) -> Mol:
    """The molecule to vary, from a SMILES or from the first record of a file.

    Raises:
        InputError: it cannot be read or has an atom that no token describes.
    """
    entry = next(iter(read_inputs([text])), None)
    if entry is None:
        raise InputError(f"--similar {text}: holds no molecule")
    if entry.mol is None:
        raise InputError(f"--similar {text}: {entry.error}")
    try:
        encode(entry.mol, positions=False)
    except InputError as error:
        raise InputError(f"--similar {text}: {error}") from None
    if entry.mol.GetNumHeavyAtoms() < 2:
        raise InputError(f"--similar {text}: fewer than two heavy atoms")
    return entry.mol
