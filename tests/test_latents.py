"""KL by units of z, and which of them are active."""

import math

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.tiny import VOCABULARY, tiny_batch, tiny_pair
from zf_pyro import Categorical, Conditional, Guide, LSTMTransition, StandardNormal, StochasticRNN, ZForcingELBO
from zf_pyro.latents import ACTIVE, active_units, unit_divergences
from zf_pyro.scopes import evaluating
from zf_pyro.streams import Streams, stream_seed
from zf_pyro.tiles import singles


class Constant(Conditional):
    """N(mean, scale^2) at every step."""

    def __init__(self, mean, scale):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, context):
        return dist.Normal(self.mean, self.scale).to_event(1)


class Shifted(Conditional):
    """The prior of the step, its mean moved."""

    def __init__(self, shift):
        super().__init__("prior")
        self.shift = torch.tensor(shift, dtype=torch.float64)

    def forward(self, context):
        prior = context.prior.base_dist
        return dist.Normal(prior.loc + self.shift, prior.scale).to_event(1)


def fixed_pair(means, scales):
    """A model with the prior N(0, I) under a posterior that is the same at every step."""
    size = len(means)
    model = StochasticRNN(
        nn.Embedding(VOCABULARY, 4), LSTMTransition(4, size, 5), StandardNormal(size), Categorical({"feature": 5}, 20)
    )
    return model, Guide(model, None, Constant(means, scales))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(-3, 3, allow_subnormal=False), st.floats(0.1, 2)), min_size=1, max_size=4))
def test_the_divergence_of_each_unit_is_its_closed_form(units):
    means, scales = map(list, zip(*units, strict=True))
    found = unit_divergences(*fixed_pair(means, scales), [tiny_batch((5, 2), num_steps=7), tiny_batch((3,))])
    expected = [(m * m + s * s - 1) / 2 - math.log(s) for m, s in units]
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert active_units(found) == sum(kl > ACTIVE for kl in found.tolist())


@pytest.mark.parametrize("family", ["zforcing", "storn", "vrnn", "srnn", "dmm"])
def test_the_units_add_up_to_the_divergence_of_the_objective(family):
    model, guide = tiny_pair(family=family)
    batch, objective = tiny_batch((5, 2, 4), num_steps=6), ZForcingELBO()
    found = unit_divergences(model, guide, [batch], seed=3)
    seeds = [stream_seed(3, each.key) for each in singles([batch])]
    streams = Streams(seeds, batch.lengths.tolist(), batch.num_steps, torch.device("cpu"))
    with evaluating(model, guide), streams:
        objective.loss(model, guide, batch, form="path")
    assert found.shape == (3,)
    assert found.sum().item() * 11 == pytest.approx(objective.last_terms.kl.item(), rel=1e-10)


def test_a_unit_whose_posterior_is_the_prior_is_not_active():
    model, _ = tiny_pair()
    guide = Guide(model, None, Shifted([2.0, 0.0, -2.0]))
    found = unit_divergences(model, guide, [tiny_batch()])
    assert found[1] == 0
    assert (found[[0, 2]] > ACTIVE).all()
    assert active_units(found) == 2


def test_a_unit_counts_from_just_above_the_threshold():
    assert active_units(torch.tensor([0.0099, 0.0101, 0.0, 5.0])) == 2
    assert active_units(torch.tensor([0.5, math.nan])) is None
    assert active_units(None) is None


@pytest.mark.parametrize("options", [{"prior": "mixture"}, {"guide": "flow"}, {"prior": "flow"}], ids=str)
def test_without_a_closed_form_nothing_is_said(options):
    assert unit_divergences(*tiny_pair(**options), [tiny_batch()]) is None


def test_of_a_guide_of_ones_own_nothing_is_said():
    class Own(Guide):
        pass

    model, guide = tiny_pair()
    own = Own(model, guide.encoder, guide.posterior)
    assert unit_divergences(model, own, [tiny_batch()]) is None
    assert unit_divergences(model, lambda batch, form: None, [tiny_batch()]) is None


def test_a_model_without_latent_variables_has_no_active_units():
    found = unit_divergences(*tiny_pair(family="rnn"), [tiny_batch()])
    assert found.shape == (0,)
    assert active_units(found) == 0


def test_the_seed_alone_decides():
    model, guide = tiny_pair(input_dropout=0.5)
    model.train()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = unit_divergences(model, guide, [tiny_batch()], seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    torch.manual_seed(2)
    assert torch.equal(unit_divergences(model, guide, [tiny_batch()], seed=4), first)
    assert not torch.equal(unit_divergences(model, guide, [tiny_batch()], seed=5), first)
