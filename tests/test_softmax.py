"""The softmax against Pyro's own categorical law."""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from zf_pyro.softmax import Softmax


def pair(*shape, seed=0):
    torch.manual_seed(seed)
    scores = 3 * torch.randn(*shape, 7, dtype=torch.float64)
    return Softmax(scores), dist.Categorical(logits=scores)


@pytest.mark.parametrize("shape", [(), (4,), (5, 4)])
def test_it_is_the_categorical_law(shape):
    ours, theirs = pair(*shape)
    assert ours.batch_shape == theirs.batch_shape == shape
    assert ours.event_shape == ()
    for value in (theirs.sample(), theirs.sample((3,)), torch.tensor(6)):
        assert torch.allclose(ours.log_prob(value), theirs.log_prob(value), rtol=1e-12)
    for part in ("logits", "probs"):
        assert torch.allclose(getattr(ours, part), getattr(theirs, part), rtol=1e-12)
    assert torch.allclose(ours.entropy(), theirs.entropy())
    assert torch.allclose(kl_divergence(ours, pair(*shape, seed=1)[0]), kl_divergence(theirs, pair(*shape, seed=1)[1]))
    for expand in (True, False):
        support = ours.enumerate_support(expand=expand)
        assert torch.equal(support, theirs.enumerate_support(expand=expand))
        assert torch.allclose(ours.log_prob(support).exp().sum(0), torch.ones(shape, dtype=torch.float64))


def test_gradients_are_those_of_the_categorical_law():
    scores = torch.randn(5, 4, 7, dtype=torch.float64, requires_grad=True)
    value = torch.randint(7, (5, 4))
    (ours,) = torch.autograd.grad(Softmax(scores).log_prob(value).sin().sum(), scores)
    (theirs,) = torch.autograd.grad(dist.Categorical(logits=scores).log_prob(value).sin().sum(), scores)
    assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-14)


def test_draws_follow_the_probabilities():
    law, _ = pair(2)
    torch.manual_seed(1)
    draws = law.sample((20_000,))
    frequencies = torch.stack([(draws == k).double().mean(0) for k in range(7)], -1)
    assert torch.allclose(frequencies, law.probs, atol=0.02)


def test_classes_that_are_not_there_are_refused():
    law, _ = pair(2)
    for value in (7, -1, -100):
        with pytest.raises(IndexError):
            law.log_prob(torch.tensor([value, 1]))


def test_it_expands():
    law, _ = pair(4)
    wide = law.expand((3, 4))
    value = wide.sample()
    assert value.shape == (3, 4)
    assert torch.equal(wide.log_prob(value)[1], law.log_prob(value[1]))
