"""Diagnostics of log-weights, on weights whose answers are known."""

import math
import tracemalloc
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zf_pyro.diagnostics import bootstrap_errors, bound_by, curve, effective_sample_sizes, pareto_shapes
from zf_pyro.evaluation import weight_details
from zf_pyro.figures import of_weights, weights_told

SIZES = st.floats(-50, 50, allow_subnormal=False)


def test_the_curve_of_known_weights():
    weights = torch.tensor([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0], [7.0, 2.0], [9.0, 2.0], [11.0, 2.0]]).double().log()
    found = curve(weights)
    assert list(found) == [1, 5, 6]
    assert torch.allclose(found[1], weights.mean(0))
    assert found[5].tolist() == pytest.approx([math.log(5.0), math.log(2.0)])  # the first five: the sixth has no group
    assert found[6].tolist() == pytest.approx([math.log(6.0), math.log(2.0)])
    pairs = [math.log(2.0), math.log(6.0), math.log(10.0)]
    assert bound_by(weights, 2)[0].item() == pytest.approx(sum(pairs) / 3)


@settings(deadline=None)
@given(st.lists(st.lists(SIZES, min_size=30, max_size=30), min_size=1, max_size=3))
def test_a_curve_rises_over_groups_that_hold_each_other(rows):
    weights = torch.tensor(rows, dtype=torch.float64).T
    found = [bound_by(weights, k) for k in (1, 5, 15, 30)]
    for fewer, more in pairwise(found):
        assert (fewer <= more + 1e-9).all()


@settings(deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=40))
def test_effective_sample_sizes_lie_between_one_and_all(row):
    weights = torch.tensor(row, dtype=torch.float64).unsqueeze(1)
    (found,) = effective_sample_sizes(weights).tolist()
    assert 1 - 1e-9 <= found <= len(row) * (1 + 1e-9)
    exact = weights.exp().sum() ** 2 / weights.exp().square().sum()
    assert found == pytest.approx(exact.item(), rel=1e-9)


def test_equal_weights_are_all_effective_and_have_no_tail():
    weights = torch.full((200, 2), -3.0, dtype=torch.float64)
    assert effective_sample_sizes(weights).tolist() == pytest.approx([200.0] * 2)
    assert pareto_shapes(weights).tolist() == [-math.inf] * 2


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9, 1.5])
def test_the_shape_of_a_pareto_tail_is_found(shape):
    """Weights u^-shape have a tail of that shape, whatever they are multiplied by."""
    torch.manual_seed(0)
    uniform = torch.rand(20_000, 4, dtype=torch.float64)
    found = pareto_shapes(-shape * uniform.log() - 1000.0)
    assert found.mean().item() == pytest.approx(shape, abs=0.1)


@pytest.mark.parametrize("spread", [5.0, 300.0, 1000.0, 1e5])
def test_one_weight_far_above_all_others_is_not_trusted(spread):
    """Over long sequences exp(log w - max log w) is zero but for a few particles."""
    torch.manual_seed(0)
    assert (pareto_shapes(spread * torch.randn(100, 8, dtype=torch.float64)) > 0.7).all()
    weights = torch.full((100, 2), -math.inf, dtype=torch.float64)
    weights[0, 0] = 0.0
    assert pareto_shapes(weights).tolist() == [math.inf] * 2


def test_weights_that_are_equal_but_for_rounding_have_no_tail():
    torch.manual_seed(0)
    assert pareto_shapes(-800 + 1e-13 * torch.randn(200, 5, dtype=torch.float64)).tolist() == [-math.inf] * 5


@settings(deadline=None)
@given(st.lists(st.sampled_from([-1e300, -2000.0, -700.0, -600.0, -1.0, -1e-9, 0.0, 0.5]), min_size=100, max_size=100))
def test_every_tail_has_a_shape(row):
    (found,) = pareto_shapes(torch.tensor(row, dtype=torch.float64).unsqueeze(1)).tolist()
    assert not math.isnan(found)


def test_it_is_said_of_how_many_sequences_the_weights_are_not_to_be_trusted():
    log_weights = torch.zeros(100, 4, dtype=torch.float64)
    log_weights[0, 1] = 9.0
    found = of_weights(weight_details(log_weights))
    assert found["pareto_k_above"] == 0.25
    assert found["effective_sample_size"] == pytest.approx((300 + (99 + math.e**9) ** 2 / (99 + math.e**18)) / 4)
    (warned,) = (line for line in weights_told(found | {"num_particles": 100}, "piece") if "trusted" in line)
    assert "of 25% of the pieces" in warned
    trusted = of_weights(weight_details(log_weights[:, [0, 2, 3]]))
    assert not any("trusted" in line for line in weights_told(trusted | {"num_particles": 100}, "piece"))


def test_a_tail_of_few_weights_is_not_judged():
    with pytest.raises(ValueError, match="the tail of 99 weights is too short"):
        pareto_shapes(torch.randn(99, 2))


def test_bootstrap_errors_are_those_of_the_means():
    torch.manual_seed(0)
    lengths = torch.randint(5, 20, (400,))
    scores = -2.0 * lengths + torch.randn(400)
    a_sequence, a_step = bootstrap_errors(scores, lengths)
    assert a_sequence == pytest.approx(scores.std().item() / 20, rel=0.1)
    residuals = scores + 2.0 * lengths  # of a ratio of sums: the errors of its linearisation
    assert a_step == pytest.approx(residuals.std().item() / 20 / lengths.double().mean().item(), rel=0.1)
    assert bootstrap_errors(scores, lengths) == (a_sequence, a_step)


def test_bootstrap_draws_are_not_held_together():
    scores, lengths = torch.randn(20_000), torch.ones(20_000)
    tracemalloc.start()
    bootstrap_errors(scores, lengths)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50 * 20_000 * 8
