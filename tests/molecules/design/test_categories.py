"""The posterior of noisy categories, against Bayes' rule worked out by hand."""

import torch

from scoregen.molecules.design.categories import BONDS_PER_ATOM, NEVER, evidence, order_prior, restricted
from scoregen.molecules.design.state import Condition, Layout


def test_evidence_gives_the_posterior_of_bayes():
    torch.manual_seed(0)
    x, sigma = torch.randn(7, 4, dtype=torch.float64), torch.rand(7, dtype=torch.float64) + 0.2
    prior = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    found = (evidence(x, sigma) + prior.log()).softmax(-1)
    law = torch.distributions.Normal(torch.eye(4, dtype=torch.float64)[None], sigma[:, None, None])
    likelihood = law.log_prob(x[:, None]).sum(-1).exp()
    expected = prior * likelihood / (prior * likelihood).sum(-1, keepdim=True)
    torch.testing.assert_close(found, expected)


def test_prior_expects_the_bonds_of_an_organic_molecule():
    condition = Condition.free(Layout.of([9, 20, 2]))
    bonded = 1 - order_prior(condition).exp()[:, 0]
    torch.testing.assert_close(order_prior(condition).exp().sum(1), torch.ones(len(bonded)))
    expected = torch.zeros(3).index_add(0, condition.layout.pair[:, 0], bonded)
    torch.testing.assert_close(expected, torch.tensor([9 * BONDS_PER_ATOM, 20 * BONDS_PER_ATOM, 0.9]))


def test_what_is_not_allowed_has_no_chance():
    allowed = torch.tensor([[True, False, True]])
    logits = restricted(torch.tensor([[0.0, 50.0, 0.0]]), allowed)
    assert logits[0, 1] == NEVER
    torch.testing.assert_close(logits.softmax(-1), torch.tensor([[0.5, 0.0, 0.5]]))
    assert restricted(logits, None) is logits
