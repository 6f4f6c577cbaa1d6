"""Conditionals, transition, encoder and schedules, one by one."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from zf_pyro import BackwardEncoder, Bernoulli, Categorical, Conditional, Context, DiagonalGaussian, LSTMTransition
from zf_pyro.conditionals import ClippedLeakyReLU
from zf_pyro.encoders import reverse_by_length


def test_activation_at_known_points():
    x = torch.tensor([-30.0, -9.0, -3.0, 0.0, 1.0, 3.0, 4.0])
    assert ClippedLeakyReLU()(x).tolist() == pytest.approx([-3.0, -3.0, -1.0, 0.0, 1.0, 3.0, 3.0])


def test_gaussian_parameters_are_clamped_and_the_scale_is_half_the_log_variance():
    part = DiagonalGaussian({"hidden": 2}, 3)
    nn.init.zeros_(part.network.weight)
    part.network.bias.data = torch.tensor([100.0, -100.0, 1.0, 2.0, 50.0, -50.0])
    law = part(Context(hidden=torch.zeros(4, 2))).base_dist
    assert law.loc[0].tolist() == pytest.approx([8.0, -8.0, 1.0])
    assert law.scale[0].tolist() == pytest.approx([math.exp(1.0), math.exp(4.0), math.exp(-4.0)])
    bounded = DiagonalGaussian({"hidden": 2}, 3, mean="tanh")
    assert bounded(Context(hidden=1e4 * torch.ones(4, 2))).base_dist.loc.abs().max() <= 1


@pytest.mark.parametrize("shape", [(4,), (5, 4), (3, 5, 4)])
@pytest.mark.parametrize("hidden", [None, 6])
def test_heads_work_on_any_leading_shape(shape, hidden):
    context = Context(hidden=torch.randn(*shape, 2), encoding=torch.randn(4, 3))
    sizes = {"hidden": 2, "encoding": 3}
    gaussian = DiagonalGaussian(sizes, 7, hidden=hidden)(context)
    assert (gaussian.batch_shape, gaussian.event_shape) == (shape, (7,))
    words = Categorical(sizes, 9, hidden=hidden)(context)
    assert (words.batch_shape, words.event_shape) == (shape, ())
    assert torch.allclose(words.probs.sum(-1), torch.ones(shape))


def test_a_field_that_is_not_there_is_named():
    part = DiagonalGaussian({"hidden": 2, "latent": 3}, 3)
    with pytest.raises(ValueError, match="DiagonalGaussian reads 'latent'"):
        part(Context(hidden=torch.zeros(4, 2)))
    with pytest.raises(ValueError, match="no field 'hiden'"):
        Conditional("hiden")


def test_the_transition_is_an_lstm():
    """With z beside the input and no layer on it, the same as PyTorch's cell with the same weights."""
    torch.manual_seed(0)
    ours = LSTMTransition(3, 2, 4)
    cell = nn.LSTMCell(5, 4)
    cell.weight_ih.data = torch.cat([ours.from_input.weight, ours.from_latent.weight], 1)
    cell.weight_hh.data = ours.recurrent.weight.data
    ours.from_input.bias.data = torch.randn(16)
    cell.bias_ih.data, cell.bias_hh.data = ours.from_input.bias.data, torch.zeros(16)
    state = ours.initial(6)
    expected = state.hidden, state.cell
    for _ in range(3):
        u, z = torch.randn(6, 3), torch.randn(6, 2)
        context = ours.predict(state, ours.prepare(u))
        assert context.hidden is state.hidden
        state, feature = ours.update(state, context, z)
        expected = cell(torch.cat([u, z], 1), expected)
        assert torch.allclose(feature, expected[0], atol=1e-6)
        assert torch.allclose(state.cell, expected[1], atol=1e-6)


def test_the_transition_takes_particles_in_front():
    torch.manual_seed(0)
    transition = LSTMTransition(3, 2, 4, latent_hidden=5)
    u, z = torch.randn(6, 3), torch.randn(7, 6, 2)
    state = transition.initial(6)
    folded, _ = transition.update(state, transition.predict(state, transition.prepare(u)), z)
    assert folded.hidden.shape == (7, 6, 4)
    for k in range(7):
        single, _ = transition.update(state, transition.predict(state, transition.prepare(u)), z[k])
        assert torch.allclose(folded.hidden[k], single.hidden, atol=1e-6)


def test_preparing_all_steps_is_preparing_each():
    transition = LSTMTransition(3, 2, 4)
    u, z, h = torch.randn(5, 6, 3), torch.randn(5, 6, 2), torch.randn(5, 6, 4)
    prepared = list(transition.over_steps(u, transition.known(u)))
    assert len(prepared) == 5
    for t, each in enumerate(prepared):
        alone = transition.prepare(u[t])
        assert torch.equal(each.input, alone.input)
        assert torch.allclose(each.gates(z[t], h[t]), alone.gates(z[t], h[t]), atol=1e-6)


def test_recurrent_weights_start_as_orthogonal_blocks():
    for weight in (LSTMTransition(3, 2, 4).recurrent.weight, BackwardEncoder(3, 4).lstm.weight_hh_l0):
        for block in weight.split(4):
            assert torch.allclose(block @ block.T, torch.eye(4), atol=1e-5)
    uniform = LSTMTransition(3, 2, 4, recurrent_init="uniform").recurrent.weight
    assert uniform.abs().max() <= 0.5
    assert not torch.allclose(uniform[:4] @ uniform[:4].T, torch.eye(4), atol=1e-2)


def test_the_initial_state_is_zero_and_may_be_learned():
    assert not any(part.any() for part in LSTMTransition(3, 2, 4).initial(5))
    learned = LSTMTransition(3, 2, 4, learn_initial_state=True)
    learned.initial_state.data = torch.randn(2, 4)
    assert torch.equal(learned.initial(5).cell, learned.initial_state[1].expand(5, 4))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_reversal_by_length(lengths):
    sequences = torch.arange(6 * len(lengths)).reshape(6, len(lengths), 1)
    reverse = reverse_by_length(sequences, torch.tensor(lengths))
    for b, n in enumerate(lengths):
        assert torch.equal(reverse[:n, b], sequences[:n, b].flip(0))
        assert torch.equal(reverse[n:, b], sequences[n:, b])
    assert torch.equal(reverse_by_length(reverse, torch.tensor(lengths)), sequences)


def test_the_encoder_has_seen_the_present_and_the_future_and_no_padding():
    torch.manual_seed(0)
    encoder = BackwardEncoder(3, 4)
    x = torch.randn(6, 2, 3)
    lengths = torch.tensor([6, 4])
    states = encoder(x, lengths)

    def changed(t, b):
        """The steps of sequence b whose state depends on x_t."""
        other = x.clone()
        other[t, b] += 1.0
        difference = (encoder(other, lengths)[:, b] - states[:, b]).abs().sum(-1)
        return (difference[: lengths[b]] > 1e-7).tolist()

    assert changed(2, 0) == [True, True, True, False, False, False]
    assert changed(3, 1) == [True, True, True, True]
    assert changed(5, 1) == [False, False, False, False]


@pytest.mark.parametrize("hidden", [None, 6])
def test_the_law_of_bits(hidden):
    """Each of D bits has its own probability, sigmoid(score); those of all 2^D values sum to one."""
    torch.manual_seed(0)
    part = Bernoulli({"feature": 2, "input": 3}, 4, hidden=hidden).double()
    context = Context(feature=torch.randn(5, 3, 2).double(), input=torch.randn(3, 3).double())
    law = part(context)
    assert (law.batch_shape, law.event_shape) == ((5, 3), (4,))
    scores = part.network(torch.cat([context.feature, context.input.expand(5, 3, 3)], -1))
    values = torch.tensor(list(product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    total = torch.zeros(5, 3, dtype=torch.float64)
    for value in values:
        probability = torch.ones(5, 3, dtype=torch.float64)
        for bit, score in zip(value.tolist(), scores.unbind(-1), strict=True):
            one = 1 / (1 + torch.exp(-score))
            probability *= one if bit else 1 - one
        assert torch.allclose(law.log_prob(value).exp(), probability, rtol=1e-12)
        total += law.log_prob(value).exp()
    assert torch.allclose(total, torch.ones_like(total), rtol=1e-12)


def test_known_bits_have_known_probabilities():
    part = Bernoulli({"feature": 1}, 2)
    nn.init.zeros_(part.network.weight)
    part.network.bias.data = torch.tensor([math.log(3.0), -200.0])
    law = part(Context(feature=torch.zeros(1, 1)))
    expected = {(0.0, 0.0): math.log(1 / 4), (1.0, 0.0): math.log(3 / 4), (1.0, 1.0): math.log(3 / 4) - 200}
    for value, log_probability in expected.items():
        assert law.log_prob(torch.tensor(value)).item() == pytest.approx(log_probability, rel=1e-5)
    assert law.sample((50,)).unique().tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="support"):
        Bernoulli({"feature": 1}, 2)(Context(feature=torch.zeros(1, 1))).log_prob(torch.tensor([0.5, 0.0]))
