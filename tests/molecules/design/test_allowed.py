"""What kept atoms allow holds what is true and little else."""

import numpy as np
import pytest

from scoregen.molecules.chem import standardise
from scoregen.molecules.design.allowed import allowed_orders, allowed_tokens
from scoregen.molecules.design.encode import encode
from scoregen.molecules.design.fragments import read_scaffold
from scoregen.molecules.design.shaping import allowances, walked
from scoregen.molecules.design.tokens import INDEX, NUM_ORDERS, NUM_TOKENS, TOKENS, Token


def test_tokens_of_kept_atoms_differ_in_hydrogens_alone():
    token = np.array([INDEX[Token("N", 0, 1)], INDEX[Token("C", 0, 2)], INDEX[Token("O", -1, 0)]])
    kept = np.array([True, False, True])
    allowed = allowed_tokens(token, kept, np.array([0, 0, 0]), np.array([1, 0, 0]))
    assert [str(TOKENS[i]) for i in np.flatnonzero(allowed[0])] == ["N", "NH1"]
    assert allowed[1].sum() == NUM_TOKENS
    assert [str(TOKENS[i]) for i in np.flatnonzero(allowed[2])] == ["O-1"]


def test_orders_between_kept_atoms_are_settled():
    # Atoms 0-1 kept and bonded twice, 0 closed; 2 is new.
    allowed = allowed_orders(
        np.array([2, 0, 0]), np.array([True, True, False]), np.array([True, False, False])
    )
    assert allowed[0].tolist() == [False, False, True, False]
    assert allowed[1].tolist() == [True, False, False, False]
    assert allowed[2].sum() == NUM_ORDERS


@pytest.mark.parametrize("smiles", ["*c1ccncc1", "CC(=O)N*", "c1ccccc1", "O=C1NC(=O)C(*)(*)N1"])
def test_a_scaffold_may_become_what_it_was_cut_from(smiles):
    scaffold = read_scaffold(smiles)
    grown = standardise(smiles.replace("*", "C"))
    arrays = encode(grown, positions=False)
    size = len(arrays["token"])
    walk, _ = walked(scaffold)
    kept, tokens, orders = allowances(scaffold, size)
    assert kept.sum() == scaffold.size
    match = grown.GetSubstructMatches(scaffold.mol, uniquify=False)
    # The grown molecule with the scaffold's atoms first, in some match, is among what is allowed.
    fits = []
    for found in match:
        first = [found[i] for i in walk]
        order = [*first, *(i for i in range(size) if i not in found)]
        place = {old: new for new, old in enumerate(order)}
        token = arrays["token"][order].astype(int)
        matrix = np.zeros((size, size), int)
        for (i, j), value in zip(arrays["bond"].tolist(), arrays["order"].tolist(), strict=True):
            matrix[place[i], place[j]] = matrix[place[j], place[i]] = value
        flat = matrix[np.triu_indices(size, 1)]
        fits.append(tokens[np.arange(size), token].all() and orders[np.arange(len(flat)), flat].all())
    assert any(fits)
