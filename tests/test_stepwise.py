"""The laws of steps as one law of sequences, against Pyro's own wrappers."""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from zf_pyro.stepwise import Stepwise, stack_laws

REAL = torch.arange(4).unsqueeze(1) < torch.tensor([4, 2, 1])  # (T, B) = (4, 3)


def gaussian(seed, *particles):
    torch.manual_seed(seed)
    return dist.Normal(torch.randn(*particles, 4, 3, 2), torch.rand(*particles, 4, 3, 2) + 0.1).to_event(1)


def in_pyro(law):
    """The same law by transposed parameters, a mask and `to_event`."""
    base = law.base_dist
    swapped = dist.Normal(base.loc.transpose(-2, -3), base.scale.transpose(-2, -3)).to_event(1)
    return swapped.mask(REAL.T).to_event(1)


@pytest.mark.parametrize("particles", [(), (5,)])
def test_shapes_scores_and_divergence_are_pyros(particles):
    p, q = gaussian(0, *particles), gaussian(1, *particles)
    ours, theirs = Stepwise(p, REAL), in_pyro(p)
    assert ours.batch_shape == theirs.batch_shape == (*particles, 3)
    assert ours.event_shape == theirs.event_shape == (4, 2)
    value = ours.rsample()
    assert value.shape == theirs.shape()
    assert torch.allclose(ours.log_prob(value), theirs.log_prob(value))
    assert torch.allclose(ours.log_probs(value).sum(-2), theirs.log_prob(value))
    assert (ours.log_probs(value) != 0).equal(REAL.expand(*particles, 4, 3))
    assert torch.allclose(kl_divergence(ours, Stepwise(q, REAL)), kl_divergence(theirs, in_pyro(q)))


def test_draws_have_the_moments_of_the_steps():
    law = gaussian(0)
    draws = Stepwise(law, REAL).sample((20_000,))
    assert draws.shape == (20_000, 3, 4, 2)
    assert torch.allclose(draws.mean(0), law.mean.transpose(0, 1), atol=0.05)
    assert Stepwise(law, REAL).has_rsample
    assert not Stepwise(dist.Poisson(torch.ones(4, 3)), REAL).has_rsample


def test_expanding_repeats_the_law():
    law = Stepwise(gaussian(0), REAL)
    wide = law.expand((5, 3))
    value = wide.sample()
    assert value.shape == (5, 3, 4, 2)
    assert torch.allclose(wide.log_prob(value)[2], law.log_prob(value[2]))


def test_values_without_units_have_time_last():
    words = Stepwise(dist.Categorical(logits=torch.randn(4, 3, 7)), REAL)
    value = words.sample()
    assert value.shape == (3, 4)
    assert words.log_prob(value).shape == (3,)
    assert words.support.check(value).all()


def test_the_laws_of_steps_are_put_together_where_their_family_is_known():
    whole = gaussian(0, 5)
    steps = [
        dist.Normal(whole.base_dist.loc[:, t], whole.base_dist.scale[:, t]).to_event(1) for t in range(4)
    ]  # each of batch shape (5, 3)
    stacked = stack_laws(steps[0], steps)
    assert stacked.batch_shape == (5, 4, 3)
    assert stacked.event_shape == (2,)
    value = whole.sample()
    assert torch.equal(stacked.log_prob(value), whole.log_prob(value))
    others = [dist.Laplace(torch.zeros(3, 2), 1.0).to_event(1)] * 4
    assert stack_laws(others[0], others) is None
