"""Particle filters: their resampling, a filter written out, Kalman filters, and the objective."""

import gc
import math
import weakref

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from pyro.infer import SVI
from pyro.infer.autoguide import AutoNormal

from tests.kalman import generate
from tests.linear_gaussian import (
    FAMILIES as LINEAR,
)
from tests.linear_gaussian import (
    ExactPosterior,
    InformationFilter,
    chain_of,
    exact_guide,
    exact_likelihoods,
    linear_model,
)
from tests.tiny import VOCABULARY, all_parameters, padded, tiny_batch, tiny_pair
from zf_pyro import (
    Context,
    Guide,
    InputError,
    PriorPosterior,
    SequenceBatch,
    ZForcingFIVO,
    ZForcingIWAE,
    estimate_filter_bound,
    filter_particles,
    importance_weights,
)
from zf_pyro.bounds import filter_bounds, standard_error
from zf_pyro.filtering import ParticleFilter, log_estimate
from zf_pyro.fivo import particle_filtering
from zf_pyro.noise import Beforehand, noise
from zf_pyro.parts import FAMILIES
from zf_pyro.resampling import rearranged, systematic
from zf_pyro.scopes import local_parameters
from zf_pyro.steps import Steps
from zf_pyro.stepwise import masked_sum
from zf_pyro.terms import BACKWARD, skip_terms

OPTIONS = [
    *({"family": family} for family in FAMILIES),
    *({"guide": "residual"}, {"guide": "flow", "prior": "flow"}, {"guide": "filtering", "prior": "mixture"}),
    *({"family": "dmm", "guide": "prior"}, {"family": "vrnn", "num_layers": 2}, {"emission_skip": True}),
]
PROPERTY = settings(deadline=None, max_examples=60)


@pytest.fixture(autouse=True)
def _local():
    with local_parameters(), pyro.validation_enabled():
        yield


# Resampling.

weight = st.floats(0.0, 1.0, allow_subnormal=False).map(lambda x: x if x > 1e-6 else 0.0)


@st.composite
def columns(draw):
    """Normalised weights (K, B), some of them zero."""
    k, b = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    rows = [[draw(weight) for _ in range(k)] for _ in range(b)]
    weights = torch.tensor([row if sum(row) else [1.0] * k for row in rows], dtype=torch.float64).t()
    return weights / weights.sum(0)


def counts_of(chosen):
    """How often each particle is drawn, (K, B)."""
    return torch.stack([column.bincount(minlength=len(chosen)) for column in chosen.unbind(1)], 1)


@PROPERTY
@given(columns(), st.floats(0, 1, exclude_max=True, allow_subnormal=False))
def test_a_particle_is_drawn_as_often_as_its_weight_says(weights, uniform):
    k, b = weights.shape
    chosen = systematic(weights, torch.full((b,), uniform, dtype=torch.float64))
    counts = counts_of(chosen)
    assert chosen.shape == (k, b)
    assert (counts.sum(0) == k).all()
    assert (counts >= (k * weights - 1e-9).floor()).all()
    assert (counts <= (k * weights + 1e-9).ceil()).all()
    assert (chosen.diff(dim=0) >= 0).all()


@PROPERTY
@given(columns())
def test_on_average_it_is_drawn_as_its_weight_says(weights):
    """Over N evenly spaced u the places are K N evenly spaced points, of which a weight w covers K N w, within one."""
    k, b = weights.shape
    counts = [counts_of(systematic(weights, torch.full((b,), (i + 0.5) / 100))).double() for i in range(100)]
    assert (torch.stack(counts).mean(0) - k * weights).abs().max() <= 1 / 100 + 1e-9


@PROPERTY
@given(columns(), st.data())
def test_each_sequence_has_its_own_number(weights, data):
    uniforms = torch.tensor(
        [data.draw(st.floats(0, 0.999, allow_subnormal=False)) for _ in weights[0]], dtype=torch.float64
    )
    together = systematic(weights, uniforms)
    for b in range(len(uniforms)):
        alone = systematic(weights[:, b : b + 1], uniforms[b : b + 1])
        assert torch.equal(together[:, b : b + 1], alone)


def test_a_particle_without_weight_is_never_drawn():
    weights = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64).t()
    assert systematic(weights, torch.zeros(2, dtype=torch.float64)).t().tolist() == [[1, 1, 2, 2], [3, 3, 3, 3]]


def test_states_of_any_nest_follow_their_particles():
    one = torch.arange(6.0).reshape(3, 2, 1)
    shared = torch.ones(2, 4)
    chosen = torch.tensor([[2, 0], [2, 1], [0, 1]])
    left, (right, same, expanded) = rearranged((one, (10 * one, shared, shared.expand(3, 2, 4))), chosen)
    assert left[..., 0].tolist() == [[4, 1], [4, 3], [0, 3]]
    assert torch.equal(right, 10 * left)
    assert same is shared
    assert expanded.stride(0) == 0


@PROPERTY
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10**6))
def test_the_estimate_is_a_product_of_mean_weights_of_segments(k, t, b, seed):
    generator = torch.Generator().manual_seed(seed)
    increments = torch.randn(k, t, b, generator=generator, dtype=torch.float64)
    resampled = torch.rand(t, b, generator=generator) < 0.4
    resampled[-1] = False
    found = log_estimate(increments, resampled)
    for n in range(b):
        total, weights = 0.0, torch.zeros(k, dtype=torch.float64)
        for step in range(t):
            weights = weights + increments[:, step, n]
            if resampled[step, n] or step == t - 1:
                total += weights.exp().mean().log().item()
                weights = torch.zeros(k, dtype=torch.float64)
        assert found[n].item() == pytest.approx(total, abs=1e-11)


# The filter.


def chosen_by_hand(weights, uniform):
    """Systematic resampling of one sequence, place by place."""
    found, edge, j = [], weights[0].item(), 0
    for i in range(len(weights)):
        while edge <= (uniform + i) / len(weights) and j < len(weights) - 1:
            j += 1
            edge += weights[j].item()
        found.append(j)
    return found


def filtered_by_hand(model, guide, batch, k, threshold, standard):
    """log Z, resamplings: every particle of every sequence on its own, by the parts of the step form."""
    transition, lengths = model.transition, batch.lengths.tolist()
    encoding = guide.encode(batch)
    states = [[transition.initial(1) for _ in range(k)] for _ in lengths]
    logs, totals = torch.zeros(len(lengths), k, dtype=torch.float64), [0.0] * len(lengths)
    resamplings = [0] * len(lengths)
    for t in range(batch.num_steps):
        normals = standard(torch.empty(k, len(lengths), 3, dtype=torch.float64))
        for b, n in enumerate(lengths):
            embedded = model.embed_inputs(batch, None)[t, b : b + 1]
            for i in range(k):
                context = transition.predict(states[b][i], transition.prepare(embedded))
                prior = model.prior(context)
                read = context._replace(
                    encoding=None if encoding is None else encoding[t, b : b + 1],
                    prior=prior if "prior" in guide.posterior.reads else None,
                )
                law = guide.posterior(read)
                z = law.base_dist.loc + law.base_dist.scale * normals[i, b]
                states[b][i], feature = transition.update(states[b][i], context, z)
                emitted = model.emission(context._replace(feature=feature)).log_prob(batch.targets[t, b : b + 1])
                if t < n:
                    logs[b, i] += (emitted + prior.log_prob(z) - law.log_prob(z)).item()
        weights = logs.softmax(1)
        due = [t + 1 < n and 1 / w.square().sum() < threshold * k for w, n in zip(weights, lengths, strict=True)]
        uniforms = torch.rand(len(lengths), dtype=torch.float64) if any(due) else None
        for b in [b for b in range(len(lengths)) if due[b]]:
            totals[b] += logs[b].exp().mean().log().item()
            states[b] = [states[b][i] for i in chosen_by_hand(weights[b], uniforms[b].item())]
            logs[b], resamplings[b] = 0.0, resamplings[b] + 1
    return torch.tensor(totals, dtype=torch.float64) + logs.exp().mean(1).log(), resamplings


@pytest.mark.parametrize(
    "options",
    [*({"family": family} for family in FAMILIES if family != "rnn"), {"guide": "residual"}, {"num_layers": 2}],
    ids=str,
)
def test_it_is_the_filter_written_out(options):
    model, guide = tiny_pair(**options)
    batch = tiny_batch((6, 2, 4))
    torch.manual_seed(4)
    with torch.no_grad(), noise(3) as stream:
        expected, resamplings = filtered_by_hand(model, guide, batch, 4, 0.9, stream.standard)
    torch.manual_seed(4)
    with noise(3) as stream:
        found = filter_particles(model, guide, batch, 4, threshold=0.9, standard=stream.standard)
    assert sum(resamplings) > 2
    assert found.resampled.sum(0).tolist() == resamplings
    assert torch.allclose(found.log_likelihood, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_without_resampling_it_is_the_importance_weighted_bound(options):
    model, guide = tiny_pair(**options)
    batch = tiny_batch()
    torch.manual_seed(0)
    with noise(3):
        weights = importance_weights(model, guide, batch, 7).log_weights
    torch.manual_seed(0)
    with noise(3) as stream:
        found = filter_particles(model, guide, batch, 7, threshold=0, standard=stream.standard)
    assert found.log_likelihood.dtype == torch.float64
    assert not found.resampled.any()
    expected = weights.logsumexp(0) - math.log(7)
    assert torch.allclose(found.log_likelihood, expected, rtol=0, atol=1e-10)
    sizes = weights.logsumexp(0).mul(2).sub((2 * weights).logsumexp(0)).exp()
    assert torch.allclose(found.effective_sizes[-1], sizes, rtol=1e-9)


def test_padding_changes_nothing_and_ended_sequences_are_left_alone():
    model, guide = tiny_pair()
    words = [tiny_batch((n,), seed=n).targets[:, 0] for n in (5, 1, 3)]
    found = []
    for steps in (5, 9):
        batch = padded(words, steps)
        filler = torch.full_like(batch.targets, VOCABULARY - 1)
        batch.targets[:] = batch.targets.where(batch.mask, filler if steps == 9 else 0)
        torch.manual_seed(1)
        with noise(1) as stream:
            found.append(filter_particles(model, guide, batch, 6, threshold=0.95, standard=stream.standard))
    short, long = found
    assert torch.allclose(short.log_likelihood, long.log_likelihood, rtol=1e-12)
    assert torch.allclose(short.effective_sizes, long.effective_sizes[:5], rtol=1e-12)
    assert torch.equal(short.resampled, long.resampled[:5])
    assert not long.resampled[5:].any()
    assert not (long.resampled & ~batch.mask.roll(-1, 0)).any()
    assert long.resampled.sum() > 3


@pytest.mark.parametrize("rows", [1, 12, 256])
def test_sequences_come_in_chunks_and_a_plain_network_is_exact(rows):
    model, guide = tiny_pair(family="rnn")
    batch = tiny_batch((5, 2, 4, 1, 3))
    exact = importance_weights(model, guide, batch, 1).log_weights[0]
    found = filter_particles(model, guide, batch, 6, max_rows=rows)
    assert torch.allclose(found.log_likelihood, exact, rtol=1e-12)
    assert found.effective_sizes.shape == found.resampled.shape == (5, 5)


class Counting(torch.nn.Module):
    """A transition that counts which of its features are still there."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.features, self.most = inner, [], 0

    def __getattr__(self, name):
        return super().__getattr__(name) if name in ("inner",) else getattr(super().__getattr__("inner"), name)

    def update(self, *args):
        state, feature = self.inner.update(*args)
        self.features.append(weakref.ref(feature))
        self.most = max(self.most, sum(each() is not None for each in self.features))
        return state, feature


def test_only_a_few_steps_are_held_at_a_time():
    model, guide = tiny_pair()
    model.transition = Counting(model.transition)
    filter_particles(model, guide, tiny_batch((30, 20)), 3, threshold=0.9)
    assert len(model.transition.features) == 30
    assert 1 <= model.transition.most <= 3


def test_what_cannot_be_filtered_is_refused_in_a_line():
    model, guide = tiny_pair()
    other, _ = tiny_pair(seed=1)
    for proposal, number in ((guide, 0), (AutoNormal(model), 3), (lambda batch: None, 3)):
        with pytest.raises(InputError) as caught:
            filter_particles(model, proposal, tiny_batch(), number)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"needs for it a .*Guide made for this model"):
        filter_particles(other, guide, tiny_batch(), 3)
    with pytest.raises(InputError, match="no sequence to evaluate"):
        estimate_filter_bound(model, guide, [], 3)


def test_the_bound_of_a_set_of_batches_comes_from_its_seed():
    model, guide = tiny_pair()
    batches = [tiny_batch(), tiny_batch((3, 3), seed=1)]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (estimate_filter_bound(model, guide, batches, 5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(before, torch.get_rng_state())
    found = filter_bounds(model, guide, batches, 5, seed=1)
    bound, times = found.fivo_bound, found.resamplings
    assert bound.shape == times.shape == (5,)
    assert first == (bound.mean().item(), standard_error(bound), times.mean().item())


def test_the_bound_of_a_sequence_does_not_depend_on_its_batch():
    """Of sizes that are multiples of four no bit changes (`zf_pyro.tiles`)."""
    model, guide = tiny_pair(dtype=torch.float32, embedding_size=8, hidden_size=16, latent_size=4, mlp_size=12)
    lengths = torch.randint(1, 12, (40,)).tolist()
    words = [torch.randint(4, 20, (n,)) for n in lengths]
    whole = filter_bounds(model, guide, [padded(words, 12)], 8)
    assert whole.resamplings.any()
    order = torch.randperm(40).tolist()
    mixed = [padded([words[i] for i in order[b : b + 7]], 12) for b in range(0, 40, 7)]
    for found, expected in zip(filter_bounds(model, guide, mixed, 8), whole, strict=True):
        assert torch.equal(found, expected[order])
    plain = filter_particles(model, guide, padded(words, 12), 8).log_likelihood
    assert (whole.fivo_bound - plain).mean().abs() < 4 * standard_error(whole.fivo_bound - plain)


@pytest.mark.parametrize(("particles", "sequences"), [(3, 32), (25, 10), (300, 1)])
def test_many_particles_are_of_few_sequences(particles, sequences, monkeypatch):
    """All particles of a sequence meet at every step, so that the memory is bounded by the sequences."""
    model, guide = tiny_pair()
    shapes = []
    run = ParticleFilter.run
    monkeypatch.setattr(ParticleFilter, "run", lambda self: shapes.append(self.shape) or run(self))
    found = filter_bounds(model, guide, [tiny_batch((2,) * 12)], particles)
    assert set(shapes) == {(particles, sequences)}
    assert found.fivo_bound.isfinite().all()


# Against the exact likelihood.


class OneStepFilter(InformationFilter):
    """What x_t alone says of s_t; later steps say nothing."""

    def before(self, precision, linear, drift):
        return torch.zeros_like(precision), torch.zeros_like(linear)


def lasting_model(family):
    """A linear-Gaussian model whose states last: else the steps are nearly independent, and the two bounds the same."""
    model = linear_model(family)
    if family in ("srnn", "dmm"):
        model.prior.map.weight.data[:, :2] = torch.tensor([[0.9, 0.2], [-0.2, 0.9]])
    return model


def proposal(name, model, family):
    """p(z_t | s_{t-1}), p(z_t | s_{t-1}, x_t), or p(z_t | s_{t-1}, x_t .. x_n)."""
    if name == "prior":
        return Guide(model, None, PriorPosterior())
    if name == "smoothing":
        return exact_guide(model, family)
    chain, reads = chain_of(family, model), ("hidden",) if family == "srnn" else ()
    return Guide(model, OneStepFilter(chain), ExactPosterior(chain), encoder_reads=reads)


def whole(model, num_sequences, num_steps):
    """Sequences of the model itself, all of one length."""
    start = SequenceBatch.start(torch.zeros(num_sequences, 2, dtype=torch.float64), num_steps)
    with torch.no_grad():
        targets = model(start)
    return SequenceBatch(torch.cat([start.inputs, targets[:-1]]), targets, start.mask)


def importance_bound(model, guide, batch, k):
    weights = importance_weights(model, guide, batch, k, max_rows=10_000).log_weights
    return weights.logsumexp(0) - math.log(k)


@pytest.mark.parametrize("name", ["prior", "filtering", "smoothing"])
@pytest.mark.parametrize("family", LINEAR)
def test_the_estimate_of_the_likelihood_is_unbiased_and_its_logarithm_below(family, name):
    """8 steps at most, 20 copies of 8 sequences, four seeds."""
    model = lasting_model(family)
    torch.manual_seed(1)
    batch = generate(model, 8, 8).repeat_particles(20)
    exact, guide = exact_likelihoods(model, family, batch), proposal(name, model, family)
    errors, times = [], 0
    for seed in range(4):
        torch.manual_seed(seed)
        found = filter_particles(model, guide, batch, 30, threshold=0.9, max_rows=10_000)
        errors.append(found.log_likelihood - exact)
        times += found.resampled.sum().item()
        assert errors[-1].mean() <= 4 * standard_error(errors[-1])
    error = torch.cat(errors)
    assert abs(error.exp().mean() - 1) < 4 * standard_error(error.exp())
    assert times > 100


@pytest.mark.parametrize("name", ["prior", "filtering"])
@pytest.mark.parametrize("family", LINEAR)
def test_over_many_steps_it_is_above_the_importance_weighted_bound(family, name):
    """Both below the exact likelihood; the difference on 50 steps, over 16 sequences and three seeds."""
    model = lasting_model(family)
    torch.manual_seed(2)
    batch = whole(model, 16, 50)
    exact, guide = exact_likelihoods(model, family, batch), proposal(name, model, family)
    gains = []
    for seed in range(3):
        torch.manual_seed(seed)
        found = filter_particles(model, guide, batch, 10, max_rows=10_000).log_likelihood
        bound = importance_bound(model, guide, batch, 10)
        for each in (found, bound):
            assert (each - exact).mean() <= 4 * standard_error(each - exact)
        gains.append(found - bound)
    gain = torch.cat(gains)
    assert gain.mean() > 4 * standard_error(gain)


@pytest.mark.parametrize("family", LINEAR)
def test_under_the_exact_posterior_resampling_only_costs(family):
    """Every importance weight is the likelihood, while the weights on the way are not even."""
    model = lasting_model(family)
    torch.manual_seed(2)
    batch = whole(model, 16, 50)
    exact, guide = exact_likelihoods(model, family, batch), proposal("smoothing", model, family)
    assert (importance_bound(model, guide, batch, 10) - exact).abs().max() < 1e-9
    error = filter_particles(model, guide, batch, 10, max_rows=10_000).log_likelihood - exact
    assert error.mean() <= 4 * standard_error(error)


# The objective.


def gradients(objective, model, guide, batch=None, seed=1):
    for parameter in all_parameters(model, guide).values():
        parameter.grad = None
    torch.manual_seed(seed)
    loss = objective.loss_and_grads(model, guide, tiny_batch() if batch is None else batch, form="path")
    return loss, {name: p.grad for name, p in all_parameters(model, guide).items() if p.grad is not None}


@pytest.mark.parametrize("gamma", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_without_resampling_it_is_the_importance_weighted_objective(options, gamma):
    model, guide = tiny_pair(**options, input_dropout=0.3)
    alpha = 0.3 if guide.auxiliary is not None else 0.0
    beta = 0.7 if guide.backward is not None else 0.0
    theirs = ZForcingIWAE(alpha, beta, gamma, count=3, num_particles=4)
    ours = ZForcingFIVO(alpha, beta, gamma, count=3, num_particles=4, threshold=0)
    expected, wanted = gradients(theirs, model, guide)
    loss, found = gradients(ours, model, guide)
    assert loss == pytest.approx(expected, rel=1e-12)
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-9, atol=1e-9), name
    assert not any(gradient.any() for name, gradient in found.items() if name not in wanted)
    for term, other in zip(ours.last_terms, theirs.last_terms, strict=True):
        assert (term is None) == (other is None)
        assert term is None or term.item() == pytest.approx(other.item(), rel=1e-11)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_its_value_is_the_evaluators_and_its_gradient_that_of_the_particles_which_it_drew(options):
    """By finite differences along a random direction, on the same draws."""
    model, guide = tiny_pair(**options)
    batch = tiny_batch((6, 2, 4))
    objective = ZForcingFIVO(num_particles=4, threshold=0.9)
    loss, found = gradients(objective, model, guide, batch)
    torch.manual_seed(1)
    same = filter_particles(model, guide, batch, 4, threshold=0.9, standard=Beforehand(6))
    assert -loss == pytest.approx(same.log_likelihood.sum().item(), rel=1e-12)
    assert same.resampled.any() == (options != {"family": "rnn"})
    parameters = all_parameters(model, guide)
    torch.manual_seed(0)
    directions = {name: torch.randn_like(parameter) for name, parameter in parameters.items()}
    losses = []
    for step in (-1e-5, 2e-5):
        for name, parameter in parameters.items():
            parameter.data += step * directions[name]
        torch.manual_seed(1)
        losses.append(objective.loss(model, guide, batch, form="path"))
    slope = sum((gradient * directions[name]).sum().item() for name, gradient in found.items())
    assert slope == pytest.approx((losses[1] - losses[0]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.4, 0.0])
def test_annealed_weights_decide_what_is_drawn_anew(gamma):
    model, guide = tiny_pair()
    batch = tiny_batch((6, 2, 4))
    torch.manual_seed(1)
    loss = ZForcingFIVO(gamma=gamma, num_particles=4, threshold=0.97).loss(model, guide, batch, form="path")
    kept = {}
    for weight in (gamma, 1.0):
        torch.manual_seed(1)
        law, standard = guide.path_law(batch), Beforehand(6)
        with torch.no_grad():
            found = list(ParticleFilter(law, 4, threshold=0.97, gamma=weight, standard=standard).run())
        kept[weight] = [torch.stack(each, -2) for each in zip(*(m[-3:] for m in found), strict=True)]
    increments, _, resampled = kept[gamma]
    assert not torch.equal(resampled, kept[1.0][2])
    assert -loss == pytest.approx(log_estimate(increments, resampled).sum().item(), rel=1e-12)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "rnn"])
def test_every_parameter_gets_a_finite_gradient(family):
    model, guide = tiny_pair(family=family, input_dropout=0.2, learn_initial_state=True)
    alpha, beta = (0.3, 0.7) if guide.backward is not None else (0.3 * (guide.auxiliary is not None), 0.0)
    _, found = gradients(ZForcingFIVO(alpha, beta, 0.8, num_particles=4, threshold=0.9), model, guide)
    assert found.keys() == all_parameters(model, guide).keys()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in found.values())


@pytest.mark.parametrize("reads", ["latent", "latent+hidden"])
def test_the_added_terms_are_means_over_the_particles_as_they_were_drawn(reads):
    model, guide = tiny_pair(auxiliary_reads=reads)
    batch, objective = tiny_batch((6, 2, 4)), ZForcingFIVO(0.3, 0.7, num_particles=4, threshold=0.9)
    torch.manual_seed(1)
    loss = objective.loss(model, guide, batch, form="path")
    torch.manual_seed(1)
    with torch.no_grad(), skip_terms(BACKWARD), particle_filtering(0.9, 1.0) as drawn:
        trace = poutine.trace(objective.in_plate(guide)).get_trace(batch, form="path")
    path, target = drawn.path, guide.encoder.backward_state(guide.encode(batch))
    assert drawn.resampled.any()
    assert path.value is trace.nodes["z"]["value"]
    total = 0.0
    for t, context in enumerate(path.steps.contexts):
        law = guide.auxiliary(context._replace(latent=path.value[..., t, :]))
        total += (law.log_prob(target[t]).mean(0) * batch.mask[t]).sum().item()
    terms = objective.last_terms
    assert terms.auxiliary.item() == pytest.approx(total, rel=1e-11)
    words = guide.backward(Context(encoding=target)).log_prob(batch.inputs)
    assert terms.backward.item() == pytest.approx(masked_sum(words[1:], batch.mask[1:]).sum().item(), rel=1e-11)
    torch.manual_seed(1)
    bound = filter_particles(model, guide, batch, 4, threshold=0.9, standard=Beforehand(6)).log_likelihood.sum()
    assert -loss == pytest.approx((bound + 0.3 * terms.auxiliary + 0.7 * terms.backward).item(), rel=1e-11)


def test_what_a_filter_drew_dies_with_the_traces(monkeypatch):
    model, guide = tiny_pair()
    states = []
    real = Steps.__init__

    def remember(self, *args):
        real(self, *args)
        states.append(weakref.ref(self))

    monkeypatch.setattr(Steps, "__init__", remember)
    gc.collect()
    gc.disable()
    try:
        loss = ZForcingFIVO(0.3, 0.7, num_particles=3)(model, guide)(tiny_batch(), form="path")
        assert loss.requires_grad
        assert states
        assert not [each for each in states if each() is not None]
    finally:
        gc.enable()


def test_svi_trains_by_it():
    pyro.clear_param_store()
    model, guide = tiny_pair(input_dropout=0.2)
    before = {name: p.detach().clone() for name, p in all_parameters(model, guide).items()}
    objective = ZForcingFIVO(0.1, 0.1, num_particles=3)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), objective)
    losses = [svi.step(tiny_batch((5, 4, 3, 5, 2, 5)), form="path") for _ in range(20)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert [n for n, p in all_parameters(model, guide).items() if torch.equal(p, before[n])] == []
    assert objective.step == 20


def test_programs_that_it_cannot_filter_are_refused():
    model, guide = tiny_pair()
    other, _ = tiny_pair(seed=1)
    objective, batch = ZForcingFIVO(num_particles=3), tiny_batch()

    def more(*args, **options):
        pyro.sample("scale", dist.Normal(0.0, 1.0))
        return guide(*args, **options)

    for pair, form, reason in (
        ((model, guide), "step", "a guide that draws its path step by step, form='path'"),
        ((other, guide), "path", "a guide that was made for this very model"),
        ((model, more), "path", "knows the sites z and x alone, and there is 'scale'"),
    ):
        with pyro.validation_enabled(False), torch.no_grad(), pytest.raises(ValueError, match=reason):
            objective(*pair)(batch, form=form) if pair[1] is guide else objective.loss(*pair, batch, form=form)
    guide.posterior = tiny_pair(prior="mixture")[0].prior
    with torch.no_grad(), pytest.raises(NotImplementedError, match="reparametrised latent variables, and 'z' is not"):
        objective(model, guide)(batch, form="path")
