"""Bounds against an exact likelihood, and what must not change them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine

from tests.kalman import exact_log_likelihood, generate, linear_pair, train_guide
from tests.test_objectives import Exploding
from tests.tiny import padded, tiny_batch, tiny_pair
from zf_pyro import DiagonalGaussian, Guide, InputError, ZForcingELBO, estimate_bound, importance_weights
from zf_pyro.bounds import Bound, standard_error
from zf_pyro.noise import noise
from zf_pyro.scopes import local_parameters
from zf_pyro.weights import sequence_weights


@pytest.fixture(scope="module")
def trained():
    """A linear-Gaussian model, a guide fitted to it, fresh sequences, and their exact log-likelihoods."""
    model, guide = linear_pair()
    train_guide(model, guide)
    torch.manual_seed(1)
    batch = generate(model, 40, 4)
    return model, guide, batch, exact_log_likelihood(model, batch)


def bounds_of(log_weights):
    """ELBO and importance-weighted bound of every sequence."""
    k = len(log_weights)
    return log_weights.mean(0), log_weights.logsumexp(0) - torch.tensor(float(k)).log()


def test_the_filter_agrees_with_the_joint_gaussian():
    """The exact likelihood itself, against the dense covariance of all observations."""
    model, _ = linear_pair()
    batch = generate(model, 4, 4)
    transition, prior, emission = model.transition, model.prior, model.emission
    step = transition.decay + transition.gain @ prior.weight
    rows = [
        [
            (emission.weight @ torch.linalg.matrix_power(step, t - s) @ transition.gain * prior.scale)
            for s in range(t + 1)
        ]
        for t in range(4)
    ]
    zeros = torch.zeros(2, 2, dtype=torch.float64)
    mixing = torch.cat([torch.cat(row + [zeros] * (4 - len(row)), 1) for row in rows])
    covariance = mixing @ mixing.T + emission.scale**2 * torch.eye(8, dtype=torch.float64)
    joint = torch.distributions.MultivariateNormal(torch.zeros(8, dtype=torch.float64), covariance)
    assert joint.log_prob(batch.targets[:, 0].reshape(-1)).item() == pytest.approx(
        exact_log_likelihood(model, batch)[0].item(), rel=1e-10
    )


@pytest.mark.parametrize("num_particles", [2, 10, 50])
def test_elbo_is_below_the_bound_and_both_below_the_likelihood(trained, num_particles):
    model, guide, batch, exact = trained
    torch.manual_seed(0)
    repeats = [bounds_of(importance_weights(model, guide, batch, num_particles).log_weights) for _ in range(30)]
    elbo, bound = (torch.stack(parts).mean(1) for parts in zip(*repeats, strict=True))  # (repeats,)
    assert (elbo <= bound).all()
    assert bound.mean() <= exact.mean() + 4 * standard_error(bound)
    assert elbo.mean() < bound.mean()


def test_more_particles_tighten_the_bound(trained):
    model, guide, batch, _ = trained
    torch.manual_seed(0)
    log_weights = importance_weights(model, guide, batch, 4000).log_weights
    by_particles = [bounds_of(log_weights.reshape(k, -1, batch.num_sequences))[1].mean() for k in (1, 4, 40)]
    assert by_particles[0] < by_particles[1] < by_particles[2]


def test_ten_thousand_particles_reach_the_likelihood(trained):
    model, guide, batch, exact = trained
    torch.manual_seed(0)
    _, bound = bounds_of(importance_weights(model, guide, batch, 10_000, max_rows=20_000).log_weights)
    assert abs((bound - exact).mean()) < 0.01


def test_the_mean_weight_estimates_the_likelihood_without_bias(trained):
    model, guide, batch, exact = trained
    torch.manual_seed(2)
    ratio = (importance_weights(model, guide, batch, 2000).log_weights - exact).exp()
    error = ratio.std(0) / 2000**0.5
    assert ((ratio.mean(0) - 1).abs() < 5 * error).all()


def test_an_untrained_guide_still_gives_bounds():
    model, guide = linear_pair()
    torch.manual_seed(1)
    batch = generate(model, 64, 4)
    exact = exact_log_likelihood(model, batch)
    elbo, bound = bounds_of(importance_weights(model, guide, batch, 500).log_weights)
    assert (elbo <= bound).all()
    gap = exact - bound
    assert gap.mean() > -4 * standard_error(gap)
    assert gap.mean() < 0.25 * (exact - elbo).mean()


def test_kl_is_the_difference_of_reconstruction_and_elbo(trained):
    model, guide, batch, _ = trained
    torch.manual_seed(0)
    weights = importance_weights(model, guide, batch, 500)
    assert weights.log_ratios.shape == weights.log_weights.shape == (500, 40)
    objective = ZForcingELBO(count=40, num_particles=500, vectorize_particles=True)
    with local_parameters():
        objective.loss(model, guide, batch)
    kl = objective.last_terms.kl.item() / 40
    error = standard_error(weights.log_ratios.mean(1))
    assert weights.log_ratios.mean().item() == pytest.approx(kl, abs=5 * error)


@pytest.mark.parametrize("padding", [1, 4])
def test_padding_changes_no_bound(padding):
    model, guide = tiny_pair()
    words = [torch.randint(4, 20, (n,)) for n in (5, 2, 4)]
    results = []
    for steps in (5, 5 + padding):
        with noise(0):
            results.append(importance_weights(model, guide, padded(words, steps), 6))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 19), st.integers(1, 4))
def test_what_stands_in_the_padding_changes_no_bound(lengths, junk, num_particles):
    model, guide = tiny_pair()
    batch = tiny_batch(tuple(lengths), num_steps=7)
    dirty = replace(
        batch,
        inputs=torch.where(batch.mask, batch.inputs, junk),
        targets=torch.where(batch.mask, batch.targets, junk),
    )
    results = []
    for each in (batch, dirty):
        torch.manual_seed(0)
        results.append(importance_weights(model, guide, each, num_particles).log_weights)
    assert torch.allclose(*results, rtol=1e-12)


def test_evaluation_does_not_run_the_terms_of_training():
    model, guide = tiny_pair(input_dropout=0.5)
    expected = estimate_bound(model, guide, [tiny_batch()], 4)
    guide.auxiliary, guide.backward = Exploding("latent"), Exploding("encoding")
    assert estimate_bound(model, guide, [tiny_batch()], 4) == expected
    bare = Guide(model, guide.encoder, guide.posterior, name="bare")
    assert estimate_bound(model, bare, [tiny_batch()], 4) == expected
    assert model.training
    assert guide.training


def test_chunks_do_not_change_the_law():
    model, guide = tiny_pair()
    batch = tiny_batch()
    whole = importance_weights(model, guide, batch, 3000, max_rows=10_000).log_weights
    parts = importance_weights(model, guide, batch, 3000, max_rows=500).log_weights
    assert whole.shape == parts.shape == (3000, 3)
    error = (whole.var(0) / 3000 + parts.var(0) / 3000).sqrt()
    assert ((whole.mean(0) - parts.mean(0)).abs() < 5 * error).all()


def test_the_encoder_runs_once_however_many_chunks():
    model, guide = tiny_pair()
    calls = []
    guide.encoder.register_forward_hook(lambda *_: calls.append(1))
    importance_weights(model, guide, tiny_batch(), 50, max_rows=9)
    assert len(calls) == 1


def test_long_sequences_are_scored_in_smaller_chunks(monkeypatch):
    model, guide = tiny_pair()
    batch = tiny_batch()  # 3 sequences of at most 5 steps
    monkeypatch.setattr("zf_pyro.weights.MAX_STEPS", 2 * 3 * 5)
    rows = []
    model.prior.register_forward_hook(lambda module, args, law: rows.append(law.batch_shape))
    weights = importance_weights(model, guide, batch, 7)
    assert weights.log_weights.shape == (7, 3)
    assert [shape[0] for shape in rows] == [2, 2, 2, 1]
    monkeypatch.undo()
    rows.clear()
    importance_weights(model, guide, batch, 7, max_rows=9)
    assert [shape[0] for shape in rows] == [3, 3, 1]


def test_the_estimate_depends_on_its_seed_alone_and_leaves_the_random_state():
    model, guide = tiny_pair()
    batches = [tiny_batch(), tiny_batch((3, 3), seed=1)]
    torch.manual_seed(7)
    first = estimate_bound(model, guide, batches, 5, seed=1)
    after = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(after, torch.rand(1))
    assert estimate_bound(model, guide, batches, 5, seed=1) == first
    assert estimate_bound(model, guide, batches, 5, seed=2) != first


def test_evaluation_drops_no_input():
    with_dropout, without = tiny_pair(input_dropout=0.5), tiny_pair(input_dropout=0.0)
    with_dropout[0].train()
    expected = estimate_bound(*without, [tiny_batch()], 4)
    assert estimate_bound(*with_dropout, [tiny_batch()], 4) == expected


def test_standard_error_of_known_values():
    assert standard_error(torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx((5 / 3 / 4) ** 0.5)
    assert standard_error(torch.tensor([1.0])) == 0


def test_summary_of_a_set():
    model, guide = tiny_pair()
    batches = [tiny_batch((5, 2)), tiny_batch((4,))]
    bound = estimate_bound(model, guide, batches, 5)
    _, log_weights, log_ratios = sequence_weights(model, guide, batches, 5)
    elbo, iw_bound = bounds_of(log_weights)
    assert bound.elbo == pytest.approx(elbo.mean().item())
    assert bound.elbo_se == pytest.approx(standard_error(elbo))
    assert bound.iw_bound == pytest.approx(iw_bound.mean().item())
    assert bound.iw_bound_se == pytest.approx(standard_error(iw_bound))
    assert bound.kl == pytest.approx(log_ratios.mean().item())
    assert (bound.num_sequences, bound.num_steps, bound.num_particles) == (3, 11, 5)
    assert bound.elbo <= bound.iw_bound
    assert bound.perplexity(bound.iw_bound) == pytest.approx(
        torch.tensor(-bound.iw_bound * 3 / 11).exp().item(), rel=1e-6
    )


def test_perplexity_of_the_uniform_law_is_the_number_of_words():
    log_v = torch.tensor(20.0).log().item()
    bound = Bound(2, 10, -5 * log_v, 0.0, -5 * log_v, 0.0, 1, 0.0)
    assert bound.perplexity(bound.elbo) == pytest.approx(20.0)


def test_a_perplexity_beyond_the_machine_is_infinite():
    assert Bound(2, 10, -1e4, 0.0, -1e4, 0.0, 1, 0.0).perplexity(-1e4) == float("inf")


def test_steps_are_added_up_in_double_precision():
    """log w of many steps in single precision, against the same steps' scores added up in double precision."""
    model, guide = tiny_pair(dtype=torch.float32)
    model.prior, guide.posterior = (
        DiagonalGaussian(sizes, 3).float() for sizes in ({"hidden": 8}, {"hidden": 8, "encoding": 8})
    )
    batch = tiny_batch((2000,))
    with noise(0):
        found = importance_weights(model, guide, batch, 1).log_weights.item()
    with noise(0), torch.no_grad(), local_parameters():
        guide_trace = poutine.trace(guide.eval()).get_trace(batch, form="path")
        model_trace = poutine.trace(poutine.replay(model.eval(), trace=guide_trace)).get_trace(batch, form="path")
    expected = 0.0
    for trace, name, sign in ((guide_trace, "z", -1), (model_trace, "z", 1), (model_trace, "x", 1)):
        site = trace.nodes[name]
        expected += sign * sum(site["fn"].log_probs(site["value"]).flatten().tolist())
    assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("num_particles", [0, -3])
def test_no_particle_is_refused(num_particles):
    model, guide = tiny_pair()
    with pytest.raises(InputError, match="at least 1"):
        importance_weights(model, guide, tiny_batch(), num_particles)


def test_no_sequence_is_refused():
    with pytest.raises(InputError, match="no sequence"):
        estimate_bound(*tiny_pair(), [], 3)
