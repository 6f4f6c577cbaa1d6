"""Families, transitions and laws against exact answers: Kalman filters, PyTorch's networks, hand-rolled loops."""

import math
from dataclasses import replace

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from tests.kalman import generate, train_guide
from tests.linear_gaussian import (
    DETERMINISTIC,
    FAMILIES,
    chain_of,
    exact_guide,
    exact_likelihoods,
    integral_of_quadratic,
    linear_model,
)
from zf_pyro import (
    BackwardEncoder,
    Context,
    CouplingFlow,
    DelayedTransition,
    DeterministicTransition,
    DiagonalGaussian,
    GatedTransition,
    GaussianMixture,
    GRUTransition,
    Guide,
    LayerNormLSTMTransition,
    LSTMTransition,
    MarkovTransition,
    PriorPosterior,
    SequenceBatch,
    StackedTransition,
    StochasticRNN,
    ZForcingELBO,
    estimate_bound,
    importance_weights,
    loops,
)
from zf_pyro.bounds import standard_error
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.noise import noise, reparametrised
from zf_pyro.scopes import local_parameters
from zf_pyro.transitions.base import expand_state

FORMS = ("step", "path")


@pytest.fixture(autouse=True)
def _local():
    with local_parameters():
        yield


def data_of(model, num_sequences=7, num_steps=5):
    """Sequences of the model itself, of different lengths, and numbers that mean nothing in their padding."""
    torch.manual_seed(1)
    batch = generate(model, num_sequences, num_steps)
    real = batch.mask.unsqueeze(-1)
    return replace(batch, inputs=batch.inputs.where(real, 3.0), targets=batch.targets.where(real, -5.0))


def alone(batch, number):
    """One sequence of a batch, without its padding."""
    steps, row = slice(batch.lengths[number].item()), slice(number, number + 1)
    return SequenceBatch(batch.inputs[steps, row], batch.targets[steps, row], batch.mask[steps, row])


def bounds_of(log_weights):
    """ELBO and importance-weighted bound of every sequence."""
    return log_weights.mean(0), log_weights.logsumexp(0) - math.log(len(log_weights))


def log_joint(model, batch, form):
    """log p(x, z) of a batch of one sequence, as a function of all of z, (T Z,)."""

    def function(z):
        z = z.unflatten(0, (batch.num_steps, 2))
        values = {"z": z.unsqueeze(0)} if form == "path" else {f"z_{t}": each[None] for t, each in enumerate(z, 1)}
        options = {"form": form} if form == "path" else {}
        return poutine.trace(poutine.condition(model, values)).get_trace(batch, **options).log_prob_sum()

    return function


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_filter_is_the_integral_of_the_programs_joint_density(family, form):
    model = linear_model(family)
    batch = data_of(model, 3, 3)
    exact = exact_likelihoods(model, family, batch)
    for number in range(3):
        single = alone(batch, number)
        integral = integral_of_quadratic(log_joint(model, single, form), 2 * single.num_steps)
        assert integral.item() == pytest.approx(exact[number].item(), rel=1e-11)


@pytest.mark.parametrize("family", ["zforcing", "storn", "dmm"])
def test_the_filter_is_the_joint_gaussian_of_all_observations(family):
    """Where x_t steers what follows linearly, x_1..x_T is an affine map of the noise."""
    model = linear_model(family)
    batch = data_of(model, 1, 4)
    chain = chain_of(family, model)

    def observations(noise):
        state, before, seen = chain.start, torch.zeros(2, dtype=torch.float64), []
        for of_latent, of_data in noise.reshape(4, 2, 2):
            side = before[: chain.prior_side.shape[1]]
            latent = chain.prior @ state + chain.prior_side @ side + chain.prior_bias + chain.prior_scale * of_latent
            state = chain.decay @ state + chain.gain @ latent + chain.steer @ side
            before = chain.observe @ state + chain.observe_side @ side + chain.observe_bias + chain.noise * of_data
            seen.append(before)
        return torch.cat(seen)

    zeros = torch.zeros(16, dtype=torch.float64)
    mixing = torch.autograd.functional.jacobian(observations, zeros)
    joint = torch.distributions.MultivariateNormal(observations(zeros), mixing @ mixing.T)
    exact = exact_likelihoods(model, family, batch)[0]
    assert joint.log_prob(batch.targets[:, 0].reshape(-1)).item() == pytest.approx(exact.item(), rel=1e-11)


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(request):
    """A linear-Gaussian model, a guide of this package fitted to it, fresh sequences and their exact likelihoods."""
    family = request.param
    model = linear_model(family)
    reads = ("hidden",) if family == "srnn" else ()
    encoder = BackwardEncoder(2 + (DETERMINISTIC if reads else 0), 12)
    sizes = {"latent": 2} if family in ("srnn", "dmm") else {"hidden": 2, "input": 2}
    posterior = DiagonalGaussian({**sizes, "encoding": 12}, 2)
    guide = Guide(model, encoder, posterior, encoder_reads=reads).double()
    train_guide(model, guide, 120, rate=0.03, num_sequences=32, num_steps=5, form="path")
    batch = data_of(model, 6, 5)
    return model, guide, batch, exact_likelihoods(model, family, batch)


def test_bounds_of_a_fitted_guide_rise_with_the_particles_to_the_exact_likelihood(fitted):
    model, guide, batch, exact = fitted
    torch.manual_seed(3)
    means = [-math.inf]
    for particles, repeats in ((1, 400), (10, 100), (5000, 6)):
        weights = importance_weights(model, guide, batch, particles * repeats, max_rows=20_000).log_weights
        elbo, bound = zip(*map(bounds_of, weights.split(particles)), strict=True)
        elbo, bound = torch.stack(elbo), torch.stack(bound)
        assert (elbo <= bound + 1e-12).all()
        gap = (exact - bound).mean(1)
        assert gap.mean() > -4 * standard_error(gap)
        assert bound.mean() > means[-1]
        means.append(bound.mean())
    assert abs(gap.mean()) < 0.02


def test_the_mean_weight_of_a_fitted_guide_is_the_likelihood(fitted):
    model, guide, batch, exact = fitted
    torch.manual_seed(4)
    ratio = (importance_weights(model, guide, batch, 10_000, max_rows=20_000).log_weights - exact).exp()
    assert ratio.std() > 0.1
    assert ((ratio.mean(0) - 1).abs() < 5 * ratio.std(0) / 100).all()


@pytest.mark.parametrize("num_particles", [1, 7])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("full_prior", [False, True], ids=["independent", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_the_exact_posterior_is_the_likelihood(family, full_prior, form, num_particles):
    model = linear_model(family, full_prior)
    batch = data_of(model)
    exact = exact_likelihoods(model, family, batch)
    for rows in (8, 256):
        weights = importance_weights(model, exact_guide(model, family), batch, num_particles, rows, form).log_weights
        assert weights.shape == (num_particles, 7)
        assert (weights - exact).abs().max() < 1e-9
        elbo, bound = bounds_of(weights)
        assert (elbo - exact).abs().max() < 1e-9
        assert (bound - exact).abs().max() < 1e-9


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_pyros_own_objective_under_the_exact_posterior_is_the_likelihood_draw_by_draw(family, form, vectorize):
    model = linear_model(family)
    batch = data_of(model)
    exact = exact_likelihoods(model, family, batch).sum().item()
    objective = Trace_ELBO(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=1)
    options = {"form": form} if form == "path" else {}
    assert objective.loss(model, exact_guide(model, family), batch, **options) == pytest.approx(-exact, abs=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_objective_without_a_closed_form_is_exact_draw_by_draw(family, form):
    model = linear_model(family)
    batch = data_of(model)
    exact = exact_likelihoods(model, family, batch).sum().item()
    loss = ZForcingELBO().loss(model, exact_guide(model, family), batch, form=form)
    assert loss == pytest.approx(-exact, abs=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", ["zforcing", "srnn", "dmm"])
def test_the_objective_in_closed_form_is_exact_in_the_mean(family, form):
    model = linear_model(family, full_prior=True)
    batch = data_of(model)
    exact = exact_likelihoods(model, family, batch).sum()
    guide = exact_guide(model, family)
    torch.manual_seed(5)
    objective = ZForcingELBO(num_particles=50, vectorize_particles=True)
    losses = torch.tensor([objective.loss(model, guide, batch, form=form) for _ in range(30)], dtype=torch.float64)
    assert losses.std() > 0.1
    assert abs(losses.mean() + exact) < 4 * standard_error(losses)
    assert standard_error(losses) < 0.3


BITS = 3


def bits_of(lengths=(5, 2, 4), padding=0):
    """Sequences of bits, and numbers that mean nothing in their padding."""
    generator = torch.Generator().manual_seed(0)
    steps = max(lengths)
    bits = torch.randint(0, 2, (steps, len(lengths), BITS), generator=generator).double()
    mask = torch.arange(steps + padding).unsqueeze(1) < torch.tensor(lengths)
    more = torch.ones(padding, len(lengths), BITS, dtype=torch.float64)
    inputs = torch.cat([torch.zeros_like(bits[:1]), bits[:-1], more])
    real = mask.unsqueeze(-1)
    return SequenceBatch(inputs.where(real, 1.0), torch.cat([bits, more]).where(real, 1.0), mask)


def perturbed(*modules):
    """The modules in double precision, their weights away from what they start as."""
    for module in modules:
        for parameter in module.double().parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return modules


def pair_of(**options):
    torch.manual_seed(0)
    sizes = {"embedding_size": 4, "hidden_size": 6, "latent_size": 2, "mlp_size": 5, "input_dropout": 0.0}
    return perturbed(*build(ModelConfig(**sizes, **options), Observation("bernoulli", BITS)))


class PlainNetwork(nn.Module):
    """An embedding, one of PyTorch's networks and a linear head, the weights those of a model of the rnn family."""

    def __init__(self, model, kind, num_layers):
        super().__init__()
        self.embedding, self.head = nn.Linear(BITS, 4), nn.Linear(6, BITS)
        self.network = kind(4, 6, num_layers)
        pairs = (
            (self.embedding, model.embedding),
            (self.head, model.emission.network),
            (self.network, model.transition.network),
        )
        for ours, theirs in pairs:
            ours.double().load_state_dict(theirs.state_dict())

    def forward(self, batch):
        """log p(x) of each sequence, (B,), one sequence after the other."""
        return torch.stack([self.score(batch.inputs[:n, b], batch.targets[:n, b]) for b, n in enumerate(batch.lengths)])

    def score(self, inputs, targets):
        scores = self.head(self.network(self.embedding(inputs))[0])
        return -nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="sum")


NETWORKS = {"lstm": nn.LSTM, "gru": nn.GRU}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_bound_of_the_rnn_is_the_likelihood_of_pytorchs_network(kind, num_layers, form):
    model, guide = pair_of(family="rnn", transition=kind, num_layers=num_layers)
    batch = bits_of(padding=2)
    expected = PlainNetwork(model, NETWORKS[kind], num_layers)(batch).detach()
    for num_particles in (1, 4):
        weights = importance_weights(model, guide, batch, num_particles, form=form)
        assert weights.log_weights.shape == (num_particles, 3)
        assert torch.allclose(weights.log_weights, expected.expand(num_particles, 3), rtol=1e-12, atol=0)
        assert not weights.log_ratios.any()
        bound = estimate_bound(model, guide, [batch], num_particles, form=form)
        assert bound.elbo == pytest.approx(expected.mean().item(), rel=1e-12)
        assert bound.iw_bound == pytest.approx(bound.elbo, rel=1e-14)
        assert bound.kl == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", NETWORKS)
def test_loss_and_gradients_of_the_rnn_are_those_of_pytorchs_network(kind, num_layers, form):
    model, guide = pair_of(family="rnn", transition=kind, num_layers=num_layers)
    assert not list(guide.parameters())
    batch, plain, objective = bits_of(padding=2), PlainNetwork(model, NETWORKS[kind], num_layers), ZForcingELBO()
    loss, expected = objective(model, guide)(batch, form=form), -plain(batch).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert objective.last_terms.kl == 0
    loss.backward()
    expected.backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        same = theirs[name.replace("transition.network", "network").replace("emission.network", "head")]
        assert same.grad.any()
        assert torch.allclose(parameter.grad, same.grad, rtol=1e-12, atol=1e-13), name


@pytest.mark.parametrize("form", FORMS)
def test_longer_padding_and_what_stands_in_it_change_nothing_of_the_rnn(form):
    model, guide = pair_of(family="rnn")
    found = []
    for padding, junk in ((0, 0.0), (3, 0.0), (3, 1e3)):
        batch = bits_of(padding=padding)
        batch = replace(batch, inputs=batch.inputs.where(batch.mask.unsqueeze(-1), junk))
        model.zero_grad()
        loss = ZForcingELBO()(model, guide)(batch, form=form)
        loss.backward()
        gradients = [parameter.grad.flatten() for parameter in model.parameters()]
        found.append(torch.cat([importance_weights(model, guide, batch, 1, form=form).log_weights[0], *gradients]))
    for other in found[1:]:
        assert torch.allclose(found[0], other, rtol=1e-12, atol=1e-14)


def inner_of(kind):
    """A transition from three inputs and two latent units to four."""
    torch.manual_seed(0)
    options = {"learn_initial_state": True}
    makers = {
        "lstm": lambda: LSTMTransition(3, 2, 4, **options),
        "lstm with a layer on z": lambda: LSTMTransition(3, 2, 4, latent_hidden=5, **options),
        "gru": lambda: GRUTransition(3, 2, 4, **options),
        "gru with a layer on z": lambda: GRUTransition(3, 2, 4, latent_hidden=5, **options),
        "layer norm": lambda: LayerNormLSTMTransition(3, 2, 4, latent_hidden=5, **options),
        "stacked": lambda: StackedTransition([LSTMTransition(3, 2, 4, **options), GRUTransition(3, 4, 4, **options)]),
    }
    return perturbed(makers[kind]())[0]


INNER = ("lstm", "lstm with a layer on z", "gru", "gru with a layer on z", "layer norm", "stacked")


def random(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("particles", [(), (3,)], ids=["alone", "particles"])
@pytest.mark.parametrize("kind", INNER)
def test_the_delayed_transition_is_the_inner_one_given_the_latent_of_the_step_before(kind, particles):
    inner = inner_of(kind)
    delayed = DelayedTransition(inner, 2).double()
    u, z = random(5, 6, 3), random(5, *particles, 6, 2, seed=2)
    state = expand_state(delayed.initial(6), (*particles, 6))
    expected, before = expand_state(inner.initial(6), (*particles, 6)), torch.zeros(*particles, 6, 2).double()
    for embedded, latent in zip(u, z, strict=True):
        context = delayed.predict(state, delayed.prepare(embedded))
        state, feature = delayed.update(state, context, latent)
        expected, hidden = inner.update(expected, inner.predict(expected, inner.prepare(embedded)), before)
        assert torch.equal(context.hidden, hidden)
        assert torch.equal(context.latent, before)
        assert torch.equal(context.input, embedded)
        assert torch.equal(feature, torch.cat([hidden, latent], -1))
        before = latent


@pytest.mark.parametrize("form", FORMS)
def test_the_vrnn_is_pytorchs_cell_whose_emission_reads_its_state_and_the_latent(form):
    model, _ = pair_of(family="vrnn", prior="standard-normal", transition_mlp=False)
    batch, z = bits_of(padding=1), random(6, 3, 2)
    ours = model.transition.inner
    cell = nn.LSTMCell(4 + 2, 6).double()
    cell.weight_ih.data = torch.cat([ours.from_input.weight, ours.from_latent.weight], 1).detach()
    cell.weight_hh.data, cell.bias_ih.data = ours.recurrent.weight.detach(), ours.from_input.bias.detach()
    cell.bias_hh.data.zero_()
    state, before, expected = None, torch.zeros_like(z[0]), torch.zeros(3).double()
    for u, x, latent, real in zip(batch.inputs, batch.targets, z, batch.mask, strict=True):
        state = cell(torch.cat([model.embedding(u), before], 1), state)
        scores = model.emission.network(torch.cat([state[0], latent], 1))
        score = -nn.functional.binary_cross_entropy_with_logits(scores, x, reduction="none").sum(1)
        score -= 0.5 * (latent.square() + math.log(2 * math.pi)).sum(1)
        expected += score * real
        before = latent
    values = {"z": z.transpose(0, 1)} if form == "path" else {f"z_{t}": each for t, each in enumerate(z, 1)}
    trace = poutine.trace(poutine.condition(model, values)).get_trace(batch, form=form)
    trace.compute_log_prob()
    found = sum(site["log_prob"] for name, site in trace.nodes.items() if name[0] in "zx")
    assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("particles", [(), (3,)], ids=["alone", "particles"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", NETWORKS)
def test_what_the_deterministic_network_knows_is_its_steps_one_after_another_and_pytorchs_network(
    kind, num_layers, particles
):
    torch.manual_seed(0)
    options = {"kind": kind, "num_layers": num_layers, "learn_initial_state": True}
    (transition,) = perturbed(DeterministicTransition(3, 2, 4, **options))
    embedded, z = random(*particles, 5, 6, 3), random(5, *particles, 6, 2, seed=2)
    known = transition.known(embedded)
    assert torch.equal(known.input, embedded)
    state, latent = transition.initial(6), transition.initial_latent
    for t, prepared in enumerate(transition.over_steps(embedded, known)):
        context = transition.predict(state, transition.prepare(embedded[..., t, :, :]))
        at_once = transition.predict(state, prepared)
        for found in (context, at_once):
            assert torch.allclose(found.hidden, known.hidden[..., t, :, :], rtol=0, atol=1e-14)
            assert torch.equal(found.input, embedded[..., t, :, :])
            assert (found.latent == latent).all()
        state, feature = transition.update(state, context, z[t])
        latent = z[t]
        assert torch.equal(feature, torch.cat([context.hidden, latent], -1))
    expected = pytorchs_states(transition, embedded.reshape(-1, 5, 6, 3))
    assert torch.allclose(known.hidden, expected.reshape(known.hidden.shape), rtol=0, atol=1e-14)


def pytorchs_states(transition, embedded):
    """The network over each part of (K, T, B, E) on its own, from the learned first state."""
    parts, layers = transition.parts
    first = transition.initial_network.view(parts, layers, 1, 4).expand(-1, -1, embedded.shape[2], -1).contiguous()
    return torch.stack([transition.network(each, tuple(first) if parts == 2 else first[0])[0] for each in embedded])


@pytest.mark.parametrize("reads_latent", [False, True])
def test_the_gru_is_pytorchs_cell(reads_latent):
    """Without V, and with z beside the input; PyTorch's second bias, inside the reset, is zero."""
    ours = inner_of("gru")
    if not reads_latent:
        nn.init.zeros_(ours.from_latent.weight)
    cell = nn.GRUCell(5 if reads_latent else 3, 4).double()
    shares = [ours.from_input.weight, ours.from_latent.weight][: 1 + reads_latent]
    cell.weight_ih.data, cell.weight_hh.data = torch.cat(shares, 1).detach(), ours.recurrent.weight.detach()
    cell.bias_ih.data = ours.from_input.bias.detach()
    cell.bias_hh.data.zero_()
    state = ours.initial(6)
    expected = state.hidden
    for u, z in zip(random(4, 6, 3), random(4, 6, 2, seed=2), strict=True):
        context = ours.predict(state, ours.prepare(u))
        assert context.hidden is state.hidden
        state, feature = ours.update(state, context, z)
        expected = cell(torch.cat([u, z], 1) if reads_latent else u, expected)
        assert torch.allclose(feature, expected, rtol=0, atol=1e-14)
        assert state.hidden is feature


def test_two_stacked_layers_are_pytorchs_cells_one_above_the_other():
    torch.manual_seed(0)
    lower, upper = perturbed(LSTMTransition(3, 2, 4), LSTMTransition(3, 4, 5))
    stacked = StackedTransition([lower, upper])
    cells = [nn.LSTMCell(5, 4).double(), nn.LSTMCell(7, 5).double()]
    for cell, ours in zip(cells, (lower, upper), strict=True):
        cell.weight_ih.data = torch.cat([ours.from_input.weight, ours.from_latent.weight], 1).detach()
        cell.weight_hh.data, cell.bias_ih.data = ours.recurrent.weight.detach(), ours.from_input.bias.detach()
        cell.bias_hh.data.zero_()
    state = stacked.initial(6)
    expected, before = [None, None], torch.zeros(6, 2).double()
    hidden = torch.zeros(6, 5).double()
    for u, z in zip(random(4, 6, 3), random(4, 6, 2, seed=2), strict=True):
        context = stacked.predict(state, stacked.prepare(u))
        assert torch.allclose(context.hidden, hidden, rtol=0, atol=1e-14)
        assert torch.equal(context.latent, before)
        assert torch.equal(context.input, u)
        state, feature = stacked.update(state, context, z)
        expected[0] = cells[0](torch.cat([u, z], 1), expected[0])
        expected[1] = cells[1](torch.cat([u, expected[0][0]], 1), expected[1])
        hidden, before = expected[1][0], z
        assert torch.allclose(feature, hidden, rtol=0, atol=1e-14)


def normalised(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("conditioned", [False, True])
def test_the_layer_normalised_lstm_by_hand(conditioned):
    """A plain one where the perceptron on z gives nothing, else shifted and scaled by z within plus and minus 3."""
    ours = inner_of("layer norm")
    for parameter in ours.from_latent[2].parameters():
        parameter.data *= 20 * conditioned
    linear, norm = ours.from_input
    state = ours.initial(6)
    hidden, cell = state.hidden, state.cell
    clipped = []
    for u, z in zip(random(4, 6, 3), random(4, 6, 2, seed=2), strict=True):
        state, feature = ours.update(state, ours.predict(state, ours.prepare(u)), z)
        clipped.append(ours.from_latent(z).clamp(-3, 3))
        gain, shift = clipped[-1].split(16, -1)
        gates = normalised(u @ linear.weight.T) * norm.weight + norm.bias
        gates = gates + (1 + gain) * normalised(hidden @ ours.recurrent.weight.T) + shift
        enter, forget, candidate, leave = gates.split(4, -1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        assert torch.allclose(feature, hidden, rtol=0, atol=1e-13)
        assert torch.allclose(state.cell, cell, rtol=0, atol=1e-13)
    size = torch.stack(clipped).abs()
    assert (size.max(), (size < 3).any()) == (3 if conditioned else 0, True)


def transition_of(kind):
    torch.manual_seed(0)
    if kind in INNER:
        return inner_of(kind)
    makers = {
        "delayed": lambda: DelayedTransition(inner_of("lstm with a layer on z"), 2),
        "deterministic gru": lambda: DeterministicTransition(3, 2, 4, kind="gru", learn_initial_state=True),
        "deterministic lstm": lambda: DeterministicTransition(
            3, 2, 4, kind="lstm", num_layers=2, learn_initial_state=True
        ),
        "markov": lambda: MarkovTransition(2, learn_initial_state=True),
    }
    return perturbed(makers[kind]())[0]


def along(transition, state, embedded, latents, prepared):
    """What the contexts and features of all steps come to, and the gradients of that by all that goes in."""
    read = []
    for each, latent in zip(prepared, latents, strict=True):
        context = transition.predict(state, each)
        state, feature = transition.update(state, context, latent)
        fields = (context.hidden, context.latent, context.input, feature)
        read.append([field.expand(*latents.shape[1:-1], -1) for field in fields if field is not None])
    read = torch.stack([torch.cat(fields, -1) for fields in read])
    leaves = [embedded, latents, *transition.parameters()]
    return read.detach(), torch.autograd.grad((read + 1).square().sin().sum(), leaves)


@pytest.mark.parametrize(
    ("of_inputs", "of_latents"), [((), ()), ((), (3,)), ((3,), (3,))], ids=["alone", "particles", "particles of inputs"]
)
@pytest.mark.parametrize("kind", [*INNER, "delayed", "deterministic gru", "deterministic lstm", "markov"])
def test_preparing_all_steps_at_once_is_preparing_each(kind, of_inputs, of_latents, monkeypatch):
    """Contexts, features and gradients, those of the weights taken after the loop; as path form and step form do it."""
    monkeypatch.setattr(loops, "LARGE", 0)
    collected = []
    monkeypatch.setattr(loops.Record, "take_gradients", counted(loops.Record.take_gradients, collected))
    transition = transition_of(kind)
    embedded = random(*of_inputs, 5, 6, 3).requires_grad_()
    latents = random(5, *of_latents, 6, 2, seed=2).requires_grad_()
    state = expand_state(transition.initial(6), (*of_latents, 6))
    prepared = transition.over_steps(embedded, transition.known(embedded))
    at_once, gradients = along(transition, state, embedded, latents, prepared)
    assert bool(collected) == (kind in INNER or kind == "delayed")
    prepared = map(transition.prepare, embedded.unbind(-3))
    expected, by_steps = along(transition, transition.initial(6), embedded, latents, prepared)
    assert torch.allclose(at_once, expected, rtol=0, atol=1e-13)
    for ours, theirs in zip(gradients, by_steps, strict=True):
        assert theirs.any()
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def counted(function, calls):
    def counting(*args):
        calls.append(args)
        return function(*args)

    return counting


def test_a_mixture_of_gaussians_is_the_sum_of_its_parts_and_integrates_to_one():
    torch.manual_seed(0)
    (prior,) = perturbed(GaussianMixture({"hidden": 2}, 1, components=2, hidden=4))
    context = Context(hidden=random(3, 2))
    law = prior(context)
    grid = torch.linspace(-40, 40, 20_001, dtype=torch.float64)
    density = law.log_prob(grid[:, None, None].expand(-1, 3, 1)).exp()
    scores, numbers = prior.network(context.hidden).detach().tensor_split([2], -1)
    mean, log_variance = numbers[:, 0::2], numbers[:, 1::2]
    assert numbers.abs().max() < 8
    parts = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = (scores.softmax(-1) * parts.log_prob(grid[:, None, None]).exp()).sum(-1)
    assert torch.allclose(density, expected, rtol=1e-10)
    assert torch.allclose(torch.trapezoid(density, grid, dim=0), torch.ones(3).double(), rtol=1e-10)


def flow_of(members=slice(3)):
    """A law of three members over the plane, or of some of them, far from a Gaussian."""
    torch.manual_seed(0)
    (flow,) = perturbed(CouplingFlow({"hidden": 2}, 2, layers=3, hidden=8))
    with torch.no_grad():
        return flow(Context(hidden=random(3, 2)[members]))


@pytest.mark.parametrize("member", range(3))
def test_a_flow_integrates_to_one(member):
    law = flow_of(slice(member, member + 1))
    torch.manual_seed(0)
    drawn = law.sample((20_000,)).squeeze(1)
    low, high = drawn.amin(0), drawn.amax(0)
    margin = 0.3 * (high - low)
    sides = [torch.linspace(*ends, 801, dtype=torch.float64) for ends in zip(low - margin, high + margin, strict=True)]
    density = law.log_prob(torch.cartesian_prod(*sides).unsqueeze(1)).exp().view(801, 801)
    total = torch.trapezoid(torch.trapezoid(density, sides[1]), sides[0])
    assert total.item() == pytest.approx(1, abs=1e-3)


def test_the_density_of_a_flows_draw_is_that_of_its_noise_over_the_jacobian():
    law = flow_of()
    torch.manual_seed(7)
    drawn = law.rsample()
    torch.manual_seed(7)
    base = law.base.rsample()

    def numbers(eps):
        return reparametrised(law, lambda like: eps)

    eps = (base - law.base.base_dist.loc) / law.base.base_dist.scale
    assert torch.allclose(numbers(eps), drawn, rtol=1e-12)
    jacobian = torch.autograd.functional.jacobian(numbers, eps)
    assert not torch.allclose(jacobian[0, 0, 0], jacobian[1, 0, 1])
    assert all(jacobian[b, :, b].abs().min() > 1e-6 for b in range(3))
    determinants = torch.stack([jacobian[b, :, b].det().abs().log() for b in range(3)])
    expected = -0.5 * (eps.square() + math.log(2 * math.pi)).sum(-1) - determinants
    assert determinants.abs().min() > 1e-3
    for value in (drawn, drawn.clone()):
        assert torch.allclose(law.log_prob(value), expected, rtol=1e-10)


def test_a_flow_scores_a_value_of_fewer_dimensions():
    law, value = flow_of(), random(2)
    assert torch.equal(law.log_prob(value), law.log_prob(value.expand(3, 2)))


def test_expanding_a_flow_keeps_its_law():
    law = flow_of()
    larger = law.expand(torch.Size((4, 3)))
    assert (larger.batch_shape, larger.event_shape) == ((4, 3), (2,))
    value = random(4, 3, 2)
    assert torch.allclose(larger.log_prob(value), law.log_prob(value), rtol=1e-12)
    found, expected = (reparametrised(each, lambda like: value) for each in (larger, law))
    assert found.shape == (4, 3, 2)
    assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (3, 4, 6)])
def test_the_gated_transition_is_its_formula(shape):
    torch.manual_seed(0)
    fresh = GatedTransition(2, 5)
    assert torch.equal(fresh.linear(torch.eye(2)), torch.eye(2))
    (prior,) = perturbed(GatedTransition(2, 5, clamp=2.0))
    z = 3 * random(*shape, 2)

    def mlp(network):
        first, _, last = network
        layer = z @ first.weight.T + first.bias
        return layer.maximum(layer / 3).clamp(-3, 3) @ last.weight.T + last.bias

    gate, proposal = 1 / (1 + (-mlp(prior.gate)).exp()), mlp(prior.proposal)
    mean = (1 - gate) * (z @ prior.linear.weight.T + prior.linear.bias) + gate * proposal
    score = proposal.maximum(proposal / 3).clamp(-3, 3) @ prior.variance.weight.T + prior.variance.bias
    law = prior(Context(latent=z))
    assert (law.batch_shape, law.event_shape) == (shape, (2,))
    assert torch.allclose(law.base_dist.loc, mean, rtol=1e-12, atol=1e-14)
    assert torch.allclose(law.base_dist.scale.square(), (1 + score.exp()).log() + math.exp(-2), rtol=1e-12)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_deterministic_network_takes_particles_in_its_state_alone(kind):
    (transition,) = perturbed(DeterministicTransition(3, 2, 4, kind=kind))
    state, u = transition.initial(6), random(6, 3)
    alone = transition.predict(state, transition.prepare(u))
    together = transition.predict(expand_state(state, torch.Size((7, 6))), transition.prepare(u))
    assert together.hidden.shape == (7, 6, 4)
    assert torch.allclose(together.hidden, alone.hidden.expand(7, 6, 4), rtol=0, atol=1e-14)


def test_a_stack_over_a_network_without_latents_is_the_same_in_both_forms():
    torch.manual_seed(0)
    layers = [DeterministicTransition(3, 2, 4), LSTMTransition(3, 6, 4)]
    emission = DiagonalGaussian({"feature": 4}, 3)
    model = StochasticRNN(
        nn.Identity(), StackedTransition(layers), DiagonalGaussian({"hidden": 4}, 2), emission
    ).double()
    batch = SequenceBatch.from_sequences([random(4, 3), random(2, 3)])
    batch = replace(batch, inputs=batch.inputs.double(), targets=batch.targets.double())
    weights = []
    for form in ("step", "path"):
        with noise(1):
            weights.append(importance_weights(model, Guide(model, None, PriorPosterior()), batch, 3, form=form))
    assert torch.allclose(weights[0].log_weights, weights[1].log_weights, rtol=1e-12)
